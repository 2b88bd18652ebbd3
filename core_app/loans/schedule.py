"""Repayment schedules by equal instalments. Pure; exact until the one rounding to fen."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from core_app.business_calendar import add_months
from core_app.money import round_half_up

MONTHS_PER_YEAR = 12


@dataclass(frozen=True, slots=True)
class Instalment:
    """What falls due on one day; `period` counts from 1."""

    period: int
    due: dt.date
    principal_fen: int
    interest_fen: int

    @property
    def total_fen(self) -> int:
        """Return principal and interest together."""
        return self.principal_fen + self.interest_fen


@dataclass(frozen=True, slots=True)
class Terms:
    """What a schedule is computed from: `rate_annual` is 0.18 for 18 %, simple, months of 1/12 year."""

    principal_fen: int
    rate_annual: Decimal
    periods: int

    def __post_init__(self) -> None:
        if self.principal_fen <= 0 or self.periods <= 0 or self.rate_annual < 0:
            raise ValueError(f"terms {self}: needs a positive principal, periods >= 1 and a rate >= 0")


def compute_payment_fen(terms: Terms) -> int:
    """Return the equal monthly payment P·r(1+r)^n / ((1+r)^n - 1), rounded once.

    >>> compute_payment_fen(Terms(1_200_000, Decimal("0.18"), 12))
    110016
    """
    monthly = Fraction(terms.rate_annual) / MONTHS_PER_YEAR
    if monthly == 0:
        return round_half_up(Fraction(terms.principal_fen, terms.periods))
    growth = (1 + monthly) ** terms.periods
    return round_half_up(terms.principal_fen * monthly * growth / (growth - 1))


def plan_equal_instalments(terms: Terms, start: dt.date) -> tuple[Instalment, ...]:
    """Return the schedule of a loan drawn on `start`: due monthly on its day, first after one month.

    Interest is on the opening balance, rounded each period; the last instalment clears the balance,
    so it alone may differ by the collected rounding. Principal parts sum to the principal exactly.
    """
    monthly = Fraction(terms.rate_annual) / MONTHS_PER_YEAR
    payment_fen = compute_payment_fen(terms)
    balance_fen = terms.principal_fen
    plan = []
    for period in range(1, terms.periods + 1):
        interest_fen = round_half_up(balance_fen * monthly)
        is_last = period == terms.periods
        # Tiny amounts over many periods: rounding up could pay out more than is left.
        principal_fen = balance_fen if is_last else max(0, min(balance_fen, payment_fen - interest_fen))
        plan.append(Instalment(period, add_months(start, period), principal_fen, interest_fen))
        balance_fen -= principal_fen
    return tuple(plan)
