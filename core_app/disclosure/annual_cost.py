"""All-in annual cost of a loan by internal rate of return, simple and compound. Pure.

The law's line (24 %) is compared with this figure, fees included, not with the stated rate. Which
of the two units the line means is not settled, so both are computed.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import pairwise

_DIGITS = 28
_HALVINGS = 60
"""Halvings of an interval of one: the rate is exact to 2^-60. Source: our choice, far below a basis point."""
_YEAR_DAYS = 365
"""Days of a year for dated payments. Source: the XIRR convention (actual/365)."""


@dataclass(frozen=True, slots=True)
class AnnualCost:
    """Yearly cost as a share (0.18 is 18 %): `simple` is 12 x monthly, `compound` is effective."""

    simple: Decimal
    compound: Decimal

    def in_unit(self, unit: str) -> Decimal:
        """Return the figure in `simple` or `compound` unit, to a basis point.

        Rounding payments to fen moves a rate by less than that: lines are drawn on whole ones.
        """
        return (self.compound if unit == "compound" else self.simple).quantize(Decimal("0.0001"))


@dataclass(frozen=True, slots=True)
class DatedPayment:
    """What the borrower pays on a day, in fen."""

    on: dt.date
    amount_fen: int


def to_compound(simple: Decimal) -> Decimal:
    """Return the effective yearly rate of a simple one that is charged monthly.

    >>> to_compound(Decimal("0.24")).quantize(Decimal("0.0001"))
    Decimal('0.2682')
    """
    return (1 + simple / 12) ** 12 - 1


def compute_annual_cost(paid_out_fen: int, payments_fen: Sequence[int]) -> AnnualCost:
    """Return the cost of `paid_out_fen` against monthly payments; ValueError when it cannot be positive."""
    monthly = _solve(paid_out_fen, tuple((fen, 1) for fen in payments_fen))
    return AnnualCost(simple=monthly * 12, compound=(1 + monthly) ** 12 - 1)


def compute_dated_cost(start: dt.date, paid_out_fen: int, payments: Sequence[DatedPayment]) -> AnnualCost:
    """Return the cost by days (XIRR, actual/365); `simple` is 12 times the equal monthly rate.

    ValueError when the cost cannot be positive or payments are not in the order of their days.
    """
    gaps = [(after - before).days for before, after in pairwise([start, *(p.on for p in payments)])]
    if any(gap < 0 for gap in gaps):
        raise ValueError("annual cost: needs payments in the order of their days, after the pay-out")
    daily = _solve(paid_out_fen, tuple(zip((p.amount_fen for p in payments), gaps, strict=True)))
    compound = (1 + daily) ** _YEAR_DAYS - 1
    return AnnualCost(simple=((1 + compound) ** (Decimal(1) / 12) - 1) * 12, compound=compound)


def compute_daily_cost(rate_annual: Decimal, day_count: int) -> AnnualCost:
    """Return the cost of daily interest without fees: simple over 365 days, compound day by day."""
    daily = rate_annual / day_count
    return AnnualCost(simple=daily * _YEAR_DAYS, compound=(1 + daily) ** _YEAR_DAYS - 1)


@lru_cache(maxsize=4096)
def _solve(paid_out_fen: int, payments: tuple[tuple[int, int], ...]) -> Decimal:
    """Return the rate of one step at which the payments are worth the pay-out.

    `payments` are amounts in fen, each with the steps (months or days) since the one before. Bisection:
    the present value falls strictly with the rate, so it cannot miss.
    """
    amounts = [fen for fen, _ in payments]
    if paid_out_fen <= 0 or sum(amounts) < paid_out_fen or any(fen < 0 for fen in amounts):
        raise ValueError("annual cost: needs a positive pay-out and payments that cover it")
    with localcontext() as context:
        context.prec = _DIGITS
        low, high = Decimal(0), Decimal(1)
        while _present_value(payments, high) > paid_out_fen:
            high *= 2
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if _present_value(payments, middle) > paid_out_fen:
                low = middle
            else:
                high = middle
        return high


def _present_value(payments: Sequence[tuple[int, int]], rate: Decimal) -> Decimal:
    value, growth = Decimal(0), 1 + rate
    for amount_fen, steps in reversed(payments):
        value = (value + amount_fen) / growth**steps
    return value
