"""Repayment schedules: equal instalments, equal principal, interest only. Pure; exact until the one
rounding to fen.

A loan that may be repaid anytime has no schedule: its interest is in `daily.py`.
"""

import datetime as dt
import enum
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from core_app.business_calendar import add_months
from core_app.money import round_half_up

MONTHS_PER_YEAR = 12


class Method(enum.StrEnum):
    """How principal is spread over the periods."""

    EQUAL_INSTALMENT = "equal_instalment"
    EQUAL_PRINCIPAL = "equal_principal"
    INTEREST_ONLY = "interest_only"


@dataclass(frozen=True, slots=True)
class Instalment:
    """What falls due on one day; `period` counts from 1."""

    period: int
    due: dt.date
    principal_fen: int
    interest_fen: int
    fee_fen: int = 0

    @property
    def total_fen(self) -> int:
        """Return principal, interest and fee together."""
        return self.principal_fen + self.interest_fen + self.fee_fen


Plan = tuple[Instalment, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a schedule is computed from: `rate_annual` is 0.18 for 18 %, simple, months of 1/12 year."""

    principal_fen: int
    rate_annual: Decimal
    periods: int

    def __post_init__(self) -> None:
        if self.principal_fen <= 0 or self.periods <= 0 or self.rate_annual < 0:
            raise ValueError(f"terms {self}: needs a positive principal, periods >= 1 and a rate >= 0")


@dataclass(frozen=True, slots=True)
class PlanRule:
    """How a product plans: by which method, with which interest, due on which days.

    `day_count` is None for months of 1/12 year, else the days of a year by which interest runs daily.
    `bill_day` is None when instalments fall due on the day of the draw; else the first bill day that
    is `first_due_min_days` or more after the draw is the first due date.
    """

    method: Method
    day_count: int | None = None
    bill_day: int | None = None
    first_due_min_days: int = 0

    def __post_init__(self) -> None:
        if self.bill_day is not None and self.day_count is None:
            raise ValueError("a bill day makes a first period of odd length: needs interest by day")


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


def compute_due_dates(start: dt.date, periods: int, rule: PlanRule) -> tuple[dt.date, ...]:
    """Return the due dates of a loan drawn on `start`: monthly on its day, or on the bill day.

    >>> compute_due_dates(dt.date(2026, 1, 31), 2, PlanRule(Method.INTEREST_ONLY))
    (datetime.date(2026, 2, 28), datetime.date(2026, 3, 31))
    """
    if rule.bill_day is None:
        return tuple(add_months(start, period) for period in range(1, periods + 1))
    earliest = start + dt.timedelta(days=max(1, rule.first_due_min_days))
    first = earliest.replace(day=rule.bill_day)
    if first < earliest:
        first = add_months(first, 1)
    return tuple(add_months(first, later) for later in range(periods))


def plan_schedule(terms: Terms, start: dt.date, rule: PlanRule) -> Plan:
    """Return the schedule of a loan drawn on `start`.

    Interest is on the opening balance, rounded each period; the last instalment clears the balance, so
    it alone takes the collected rounding. Principal parts sum to the principal exactly.
    """
    balance_fen = terms.principal_fen
    level_fen = compute_level_fen(terms, rule.method)
    before = start
    plan = []
    for period, due in enumerate(compute_due_dates(start, terms.periods, rule), 1):
        share = share_of_year(rule.day_count, (due - before).days)
        interest_fen = round_half_up(balance_fen * Fraction(terms.rate_annual) * share)
        wanted_fen = level_fen - interest_fen if rule.method is Method.EQUAL_INSTALMENT else level_fen
        # Tiny amounts over many periods: rounding up could pay out more than is left.
        principal_fen = balance_fen if period == terms.periods else max(0, min(balance_fen, wanted_fen))
        plan.append(Instalment(period, due, principal_fen, interest_fen))
        balance_fen -= principal_fen
        before = due
    return tuple(plan)


def compute_level_fen(terms: Terms, method: Method) -> int:
    """Return what stays the same from period to period: the payment, the principal part, or nothing."""
    match method:
        case Method.EQUAL_INSTALMENT:
            return compute_payment_fen(terms)
        case Method.EQUAL_PRINCIPAL:
            return round_half_up(Fraction(terms.principal_fen, terms.periods))
        case Method.INTEREST_ONLY:
            return 0


def share_of_year(day_count: int | None, days: int) -> Fraction:
    """Return the part of a year that a period bears interest for: a twelfth, or its days."""
    return Fraction(1, MONTHS_PER_YEAR) if day_count is None else Fraction(days, day_count)


def plan_equal_instalments(terms: Terms, start: dt.date) -> Plan:
    """Return the schedule by equal instalments, months of 1/12 year, due on the day of the draw."""
    return plan_schedule(terms, start, PlanRule(Method.EQUAL_INSTALMENT))


def show_plan(plan: Plan) -> list[dict[str, Any]]:
    """Return a schedule as the client reads it."""
    return [
        {
            "period": instalment.period,
            "due": instalment.due.isoformat(),
            "principal_fen": instalment.principal_fen,
            "interest_fen": instalment.interest_fen,
            "fee_fen": instalment.fee_fen,
            "total_fen": instalment.total_fen,
        }
        for instalment in plan
    ]
