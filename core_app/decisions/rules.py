"""The rules an application passes, in order. Pure: one snapshot in, one decision out.

Rules of the product stand here; what the law refuses comes from `core_app.rules` as refusals.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core_app.rules.engine import Refusal


@dataclass(frozen=True, slots=True)
class Limits:
    """What the product and the law allow; ages in completed years, amounts in fen."""

    min_age_years: int
    max_age_years: int
    product_max_fen: int
    product_limit_fen: int
    legal_line_fen: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The applicant as the rules see them: outstanding plus contracted, in all and in this product."""

    age_years: int
    exposure_fen: int
    product_exposure_fen: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an application is refused: the rule's id, the value it looked at, the limit it has.

    A rule of the law also has the day it was asked for and its source.
    """

    rule: str
    value: int | str
    limit: str
    on: str | None = None
    source: str | None = None

    def as_plain(self) -> dict[str, Any]:
        """Return the reason as it is stored and shown."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def reason_of(refusal: Refusal) -> Reason:
    """Return the reason that a rule's refusal gives."""
    found = refusal.found
    value = int(found) if found.isdecimal() else found
    return Reason(refusal.rule, value, refusal.limit, refusal.on.isoformat(), refusal.source)


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome; `limit_fen` is the largest single loan the applicant could have now."""

    approved: bool
    reasons: tuple[Reason, ...]
    limit_fen: int


def find_limit_breaches(standing: Standing, limits: Limits, amount_fen: int) -> tuple[Reason, ...]:
    """Return the product's limits that `amount_fen` more would break; also asked at the contract."""
    in_product = standing.product_exposure_fen + amount_fen
    if in_product <= limits.product_limit_fen:
        return ()
    return (Reason("product.limit_per_customer", in_product, f"<= {limits.product_limit_fen}"),)


def decide_application(
    standing: Standing, limits: Limits, amount_fen: int, others: Sequence[Reason]
) -> Decision:
    """Decide by age first, then by the product's limits, then by `others`: the law, the product's uses.

    Every rule that fails gives its reason.
    """
    reasons: list[Reason] = []
    old_enough = limits.min_age_years <= standing.age_years <= limits.max_age_years
    if not old_enough:
        allowed = f"{limits.min_age_years} to {limits.max_age_years}"
        reasons.append(Reason("age", standing.age_years, allowed))
    reasons.extend(find_limit_breaches(standing, limits, amount_fen))
    reasons.extend(others)
    room_fen = min(
        limits.product_max_fen,
        limits.product_limit_fen - standing.product_exposure_fen,
        limits.legal_line_fen - standing.exposure_fen,
    )
    return Decision(not reasons, tuple(reasons), max(0, room_fen) if old_enough else 0)
