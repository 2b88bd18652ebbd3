"""Coupons: what a kind gives, whether one may be used, what it takes off a repayment's interest. Pure.

Whatever the kind, at most the interest that the repayment pays: a coupon hides no fee and pays no principal.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from core_app.loans.daily import DailyRate
from core_app.money import round_half_up
from core_app.products.model import Product
from core_app.products.parameters.shapes import Group, InTwoLanguages, Name, PositiveFen, Share


class FreeDays(Group):
    """So many days' interest on what is owed before the repayment."""

    gives: Literal["interest_free_days"]
    days: Annotated[int, Field(ge=1, le=90, strict=True)]


class RateCut(Group):
    """The interest of one repayment as if the rate were so many points a year lower."""

    gives: Literal["interest_reduction"]
    points: Share


class AmountOff(Group):
    """A fixed amount off the interest."""

    gives: Literal["amount_off_interest"]
    amount_fen: PositiveFen


Benefit = Annotated[FreeDays | RateCut | AmountOff, Field(discriminator="gives")]


class CouponKind(Group):
    """A kind of coupon, with the days on which it may be issued."""

    id: Name
    name: InTwoLanguages
    benefit: Benefit
    first_day: dt.date = Field(alias="from")
    last_day: dt.date | None = Field(alias="to", default=None)

    def holds_on(self, day: dt.date) -> bool:
        """Say whether coupons of the kind may be issued on `day`."""
        return self.first_day <= day and (self.last_day is None or day <= self.last_day)


def _need_distinct(kinds: tuple[CouponKind, ...]) -> tuple[CouponKind, ...]:
    if len({kind.id for kind in kinds}) != len(kinds):
        raise ValueError("needs distinct ids")
    return kinds


CouponKinds = Annotated[tuple[CouponKind, ...], AfterValidator(_need_distinct)]


def find_unknown_kinds(product: Product, kinds: Iterable[CouponKind]) -> Iterator[str]:
    """Yield each kind that a product names and that does not exist, with its path."""
    known = {kind.id for kind in kinds}
    for name in product.servicing.coupons:
        if name not in known:
            yield f"servicing.coupons: {name}, which is no kind of coupon"


@dataclass(frozen=True, slots=True)
class Coupon:
    """A coupon as it was issued; `used_by` is the repayment it was used in, None while it may be used."""

    coupon_id: str
    customer_id: str
    kind: str
    benefit: FreeDays | RateCut | AmountOff
    valid_from: dt.date
    valid_to: dt.date
    used_by: str | None


def find_fault(
    coupon: Coupon | None, customer_id: str, product: Product, day: dt.date
) -> tuple[str, str] | None:
    """Return what was found and what is needed if the coupon may not be used, None when it may."""
    if coupon is None or coupon.customer_id != customer_id:
        return "no such coupon of the customer", "a coupon of the borrower"
    if coupon.used_by is not None:
        return "a coupon that was used", "one that was not"
    if not coupon.valid_from <= day <= coupon.valid_to:
        return f"a coupon from {coupon.valid_from} to {coupon.valid_to}", f"one that is valid on {day}"
    if coupon.kind not in product.servicing.coupons:
        allowed = ", ".join(product.servicing.coupons) or "none: the product takes no coupons"
        return f"a coupon of kind {coupon.kind}", f"one of: {allowed}"
    return None


@dataclass(frozen=True, slots=True)
class InterestPaid:
    """The interest that a repayment pays, and what it is paid on."""

    interest_fen: int
    balance_fen: int
    rate_annual: Decimal
    day_count: int


def compute_discount_fen(benefit: FreeDays | RateCut | AmountOff, paid: InterestPaid) -> int:
    """Return what a coupon takes off, in fen: never more than the interest that is paid.

    >>> paid = InterestPaid(18_000, 1_200_000, Decimal("0.18"), 360)
    >>> compute_discount_fen(RateCut(gives="interest_reduction", points="0.02"), paid)
    2000
    """
    match benefit:
        case FreeDays(days=days):
            found_fen = DailyRate(paid.rate_annual, paid.day_count).interest_fen(paid.balance_fen * days)
        case RateCut(points=points):
            rate = Fraction(paid.rate_annual)
            found_fen = round_half_up(paid.interest_fen * Fraction(points) / rate) if rate else 0
        case AmountOff(amount_fen=amount_fen):
            found_fen = amount_fen
    return min(found_fen, paid.interest_fen)
