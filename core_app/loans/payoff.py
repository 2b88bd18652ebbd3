"""A prepayment of a loan as it stands: what it pays, what it costs, and the plan that is left. Pure.

In full it pays what has fallen due, the rest of the principal, interest by day since the last due date,
and of the fees what the running period has earned; those of later periods are not owed. In part it pays
principal, and interest and fees by day on that part; all that has fallen due must be paid before, and no
instalment be paid in part ahead of its day, since the plan is made anew from there.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from core_app.errors import Refused, refuse_conflict, refuse_field
from core_app.loans.allocation import Allocation
from core_app.loans.daily import DailyRate
from core_app.loans.fees import LoanFees
from core_app.loans.fees import Running as RunningFee
from core_app.loans.loan import Loan, with_lines
from core_app.loans.prepayment import (
    Mode,
    Prepayment,
    Running,
    compute_fee_fen,
    find_fault,
    plan_after_partial,
)
from core_app.loans.schedule import Instalment, Plan
from core_app.loans.standing import Line, make_lines
from core_app.loans.terms import fee_rule, plan_rule, prepayment_rule
from core_app.products.model import Product


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole plan of a loan's current version, and the day its interest runs from."""

    plan: Plan
    begins: dt.date


@dataclass(frozen=True, slots=True)
class Prepaid:
    """What a prepayment books, in fen, and the plan that takes the place of what was left."""

    split: Allocation
    prepayment_fee_fen: int
    plan: Plan
    begins: dt.date

    @property
    def total_fen(self) -> int:
        """Return all that is paid."""
        return self.split.total_fen + self.prepayment_fee_fen


def plan_payoff(loan: Loan, product: Product, whole: Whole) -> Prepaid:
    """Return what settles the loan today; Refused when the product does not take it."""
    fallen, ahead = loan.dues[: loan.fallen], loan.lines[loan.fallen :]
    left_fen = sum(line.principal_fen for line in ahead)
    wish = Prepayment(Mode.FULL, left_fen, _periods_due(loan), left_fen)
    if ahead:
        _refuse_fault(wish, product)
    interest_fen = fee_fen = 0
    if loan.daily is not None:
        interest_fen = sum(line.interest_fen for line in ahead)
    elif ahead:
        earned_fen = _interest_fen(left_fen, ahead[0], loan, product)
        interest_fen = max(0, earned_fen - _paid_ahead_fen(ahead[0], whole))
        running = _running_fee(ahead[0], whole)
        fee_fen = max(
            0,
            _fees(loan, product).earned_by_payoff(running, loan.today) - (running.fee_fen - ahead[0].fee_fen),
        )
    split = Allocation(
        sum(due.penalty_fen for due in fallen),
        sum(due.interest_fen for due in fallen) + interest_fen,
        sum(due.principal_fen for due in fallen) + left_fen,
        sum(due.fee_fen for due in fallen) + fee_fen,
    )
    return Prepaid(split, compute_fee_fen(wish, prepayment_rule(product)), (), loan.today)


def plan_part(loan: Loan, product: Product, whole: Whole, mode: Mode, amount_fen: int) -> Prepaid:
    """Return what prepaying so much principal books and leaves; Refused when that cannot be."""
    if any(due.total_fen for due in loan.dues[: loan.fallen]):
        raise refuse_conflict("body.loan_id", "a loan with payments due", "a repayment of what is due, first")
    ahead = loan.lines[loan.fallen :]
    if not ahead:
        raise refuse_conflict("body.loan_id", "a settled loan", "a loan with principal left")
    first = ahead[0]
    if first.planned_fen + first.fee_fen != _whole_of(first, whole).total_fen:
        found = "an instalment paid in part ahead of its day"
        raise refuse_conflict("body.loan_id", found, "a repayment of the rest of that instalment, first")
    periods_due = _periods_due(loan)
    wish = Prepayment(mode, loan.balance_fen, periods_due, amount_fen)
    _refuse_fault(wish, product)
    paid_periods = sum(instalment.period < first.period for instalment in whole.plan)
    running = Running(whole.plan, loan.row.rate_annual, plan_rule(product), whole.begins)
    plan = plan_after_partial(running, replace(wish, periods_due=paid_periods))
    plan = fee_rule(product).charge(plan, loan.row.principal_fen)
    interest_fen = _interest_fen(amount_fen, first, loan, product)
    fee_fen = _fees(loan, product).earned_by_part(_running_fee(first, whole), amount_fen, loan.today)
    split = Allocation(0, interest_fen, amount_fen, fee_fen)
    return Prepaid(split, compute_fee_fen(wish, prepayment_rule(product)), plan, first.begins)


def after_prepayment(loan: Loan, prepaid: Prepaid) -> Loan:
    """Return the loan after the prepayment: its plan is a new version of what is left."""
    interest_paid_fen = loan.row.interest_paid_fen + prepaid.split.interest_fen
    fee_paid_fen = loan.row.fee_paid_fen + prepaid.split.fee_fen
    lines = make_lines(prepaid.plan, prepaid.begins)
    row = replace(
        loan.row,
        principal_paid_fen=loan.row.principal_paid_fen + prepaid.split.principal_fen,
        interest_paid_fen=interest_paid_fen,
        penalty_paid_fen=loan.row.penalty_paid_fen + prepaid.split.penalty_fen,
        interest_fen=interest_paid_fen + sum(line.interest_fen for line in prepaid.plan),
        fee_paid_fen=fee_paid_fen,
        fee_fen=fee_paid_fen + sum(line.fee_fen for line in prepaid.plan),
        plan_version=loan.row.plan_version + 1,
        open_period=lines[0].period if lines else loan.row.open_period,
        settled_on=None if lines else loan.today,
    )
    return replace(with_lines(loan, row, lines), complete=True)


def _periods_due(loan: Loan) -> int:
    """Return how many periods have fallen due or are paid."""
    ahead = loan.lines[loan.fallen :]
    return (ahead[0].period if ahead else loan.row.open_period + len(loan.lines)) - 1


def _interest_fen(principal_fen: int, first: Line, loan: Loan, product: Product) -> int:
    rate = DailyRate(loan.row.rate_annual, product.pricing.day_count)
    return rate.interest_fen(principal_fen * max(0, (loan.today - first.begins).days))


def _fees(loan: Loan, product: Product) -> LoanFees:
    return LoanFees(fee_rule(product), loan.row.principal_fen)


def _running_fee(line: Line, whole: Whole) -> RunningFee:
    return RunningFee(line.period, line.begins, line.due, _whole_of(line, whole).fee_fen)


def _whole_of(line: Line, whole: Whole) -> Instalment:
    return next(instalment for instalment in whole.plan if instalment.period == line.period)


def _paid_ahead_fen(line: Line, whole: Whole) -> int:
    return _whole_of(line, whole).interest_fen - line.interest_fen


def _refuse_fault(wish: Prepayment, product: Product) -> None:
    fault = find_fault(wish, prepayment_rule(product))
    if fault is not None:
        raise _refused(fault.parameter, fault.found, fault.needed)


def _refused(parameter: str, found: str, needed: str) -> Refused:
    path = "body.amount_fen" if parameter == "prepayment.min_fen" else "body.mode"
    return refuse_field(path, found, f"{needed} ({parameter})")


def make_whole(rows: Sequence[tuple[int, dt.date, int, int, int, dt.date]]) -> Whole:
    """Return the plan of rows of period, due, principal, interest, fee and begin."""
    plan = tuple(Instalment(*row[:5]) for row in rows)
    return Whole(plan, rows[0][5])
