"""Paying before it is due: all of it, or a part that keeps the term or keeps the instalment. Pure."""

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from core_app.loans.schedule import (
    Instalment,
    Method,
    Plan,
    PlanRule,
    Terms,
    compute_level_fen,
    plan_schedule,
    share_of_year,
)
from core_app.money import round_half_up


class Mode(enum.StrEnum):
    """What a prepayment changes: ends the loan, lowers the instalment, or shortens the term."""

    FULL = "full"
    KEEP_TERM = "keep_term"
    KEEP_INSTALMENT = "keep_instalment"


@dataclass(frozen=True, slots=True)
class PrepaymentRule:
    """What a product allows. The fee is a share of the prepaid principal until so many periods are due."""

    modes: frozenset[Mode]
    min_fen: int = 0
    fee_share: Decimal = Decimal(0)
    fee_free_after_periods: int = 0
    locked_periods: int = 0


@dataclass(frozen=True, slots=True)
class Prepayment:
    """A wish to prepay: `periods_due` have fallen due and are paid, the balance is after them."""

    mode: Mode
    balance_fen: int
    periods_due: int
    amount_fen: int

    @property
    def principal_fen(self) -> int:
        """Return the principal that is prepaid."""
        return self.balance_fen if self.mode is Mode.FULL else self.amount_fen


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a prepayment is not taken: the product's parameter, what was found, what it needs."""

    parameter: str
    found: str
    needed: str


def find_fault(wish: Prepayment, rule: PrepaymentRule) -> Fault | None:
    """Return the first parameter of the product that forbids the prepayment, None when none does."""
    if wish.mode not in rule.modes:
        allowed = ", ".join(sorted(rule.modes)) or "none"
        return Fault("prepayment.modes", wish.mode, f"one of: {allowed}")
    if wish.periods_due < rule.locked_periods:
        return Fault("prepayment.locked_periods", str(wish.periods_due), f">= {rule.locked_periods}")
    if wish.mode is Mode.FULL:
        return None
    if not rule.min_fen <= wish.amount_fen < wish.balance_fen or wish.amount_fen <= 0:
        needed = f"at least {rule.min_fen} and less than the balance of {wish.balance_fen} fen"
        return Fault("prepayment.min_fen", str(wish.amount_fen), needed)
    return None


def compute_fee_fen(wish: Prepayment, rule: PrepaymentRule) -> int:
    """Return the fee for prepaying."""
    free = wish.periods_due >= rule.fee_free_after_periods
    return 0 if free else round_half_up(wish.principal_fen * Fraction(rule.fee_share))


@dataclass(frozen=True, slots=True)
class Running:
    """The plan a prepayment changes, the rate and rule it was made by, and the day of the draw."""

    plan: Plan
    rate_annual: Decimal
    rule: PlanRule
    drawn_on: dt.date

    def day_after_periods(self, periods_due: int) -> dt.date:
        """Return the last due date after so many periods: the day interest runs from."""
        return self.plan[periods_due - 1].due if periods_due else self.drawn_on


def plan_after_partial(loan: Running, wish: Prepayment) -> Plan:
    """Return the instalments that follow a partial prepayment made on the due date of the last paid one.

    Keeping the term plans the rest anew over the periods left. Keeping the instalment shortens it: the
    payment (or principal part) stays, the last one is what remains. ValueError for a full prepayment.
    """
    if wish.mode is Mode.FULL:
        raise ValueError("a full prepayment leaves no plan")
    left = loan.plan[wish.periods_due :]
    balance_fen = wish.balance_fen - wish.amount_fen
    if wish.mode is Mode.KEEP_INSTALMENT:
        return _plan_at_level(loan, wish, balance_fen)
    start = loan.day_after_periods(wish.periods_due)
    return renumber(plan_schedule(Terms(balance_fen, loan.rate_annual, len(left)), start, loan.rule), left)


def _plan_at_level(loan: Running, wish: Prepayment, balance_fen: int) -> Plan:
    principal_fen = sum(line.principal_fen for line in loan.plan)
    whole = Terms(principal_fen, loan.rate_annual, len(loan.plan))
    level_fen = compute_level_fen(whole, loan.rule.method)
    left = loan.plan[wish.periods_due :]
    before = loan.day_after_periods(wish.periods_due)
    plan = []
    for line in left:
        share = share_of_year(loan.rule.day_count, (line.due - before).days)
        interest_fen = round_half_up(balance_fen * Fraction(loan.rate_annual) * share)
        part_fen = level_fen - interest_fen if loan.rule.method is Method.EQUAL_INSTALMENT else level_fen
        ends = balance_fen <= part_fen or line is left[-1]
        plan.append(Instalment(line.period, line.due, balance_fen if ends else part_fen, interest_fen))
        if ends:
            break
        balance_fen -= part_fen
        before = line.due
    return tuple(plan)


def renumber(plan: Sequence[Instalment], like: Sequence[Instalment]) -> Plan:
    """Return `plan` with the period numbers and due dates of the instalments it takes the place of."""
    return tuple(replace(line, period=old.period, due=old.due) for line, old in zip(plan, like, strict=True))
