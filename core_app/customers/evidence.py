"""Which evidence of identity a product needs before it gives a limit, and what of it is missing. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from core_app.products.model import Product

HELD_ID = "resident_id"
"""The identity document that registration takes (GB 11643), the only one."""
VALID_DAYS = 365
"""How long a check counts. Source: our choice; nothing in the rules of lending names a time."""


@dataclass(frozen=True, slots=True)
class Held:
    """The newest finding of a check: passed or not, by whom, under which number, how many days ago."""

    passed: bool
    vendor: str
    reference: str
    age_days: int


@dataclass(frozen=True, slots=True)
class Gap:
    """What stands between a customer and a limit: the check, what was found of it."""

    check: str
    found: str


def needed_checks(product: Product) -> tuple[str, ...]:
    """Return the checks without which the product gives no limit."""
    return product.eligibility.identity_checks


def find_gaps(product: Product, held: Mapping[str, Held]) -> tuple[Gap, ...]:
    """Return what is missing of what the product needs: no pass, no limit."""
    gaps = []
    if HELD_ID not in product.eligibility.id_kinds:
        gaps.append(Gap("id_kind", HELD_ID))
    for check in needed_checks(product):
        known = held.get(check)
        if known is None:
            gaps.append(Gap(check, "no check"))
        elif not known.passed:
            gaps.append(Gap(check, "failed"))
        elif known.age_days > VALID_DAYS:
            gaps.append(Gap(check, f"{known.age_days} days old"))
    return tuple(gaps)


def may_inquire(product: Product, authorisation: str | None) -> bool:
    """Say whether the bureau may be asked: the product wants it, and there is the written authorisation."""
    return product.eligibility.bureau_authorisation and authorisation is not None
