"""A loan as it is stored, with the instalments that are looked at, and what a payment makes of it. Pure."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from core_app.loans.allocation import Allocation, Due, PenaltyTerms, sum_parts
from core_app.loans.daily import DailyRate
from core_app.loans.schedule import Instalment
from core_app.loans.standing import (
    DailyInterest,
    Line,
    count_fallen,
    dues_on,
    find_days_past_due,
    in_grace,
    pay_line,
)
from core_app.loans.terms import penalty_terms
from core_app.products.model import Product

_NOTHING_PAID = Allocation(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of core.read_loan, column by column (core_app/sql/migrations/060_fees.sql)."""

    today: dt.date
    contract_id: str
    customer_id: str
    product: str
    product_version: int
    drawn_on: dt.date
    rate_annual: Any
    principal_fen: int
    interest_fen: int
    principal_paid_fen: int
    interest_paid_fen: int
    penalty_paid_fen: int
    plan_version: int
    open_period: int
    anytime: bool
    interest_fen_days: int
    interest_to: dt.date | None
    settled_on: dt.date | None
    written_off_on: dt.date | None
    periods: Sequence[int] | None = None
    begins: Sequence[dt.date] = ()
    dues: Sequence[dt.date] = ()
    principals: Sequence[int] = ()
    interests: Sequence[int] = ()
    principals_before: Sequence[int] = ()
    interests_before: Sequence[int] = ()
    fen_days: Sequence[int] = ()
    counted_to: Sequence[dt.date] = ()
    penalties_paid: Sequence[int] = ()
    fee_fen: int = 0
    fee_paid_fen: int = 0
    fees: Sequence[int] = ()
    fees_before: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Loan:
    """A loan on a business date. `lines` are its first open ones; `complete` when no further one is left.

    All that has fallen due is among the lines: whoever reads a loan reads on until that is so.
    """

    loan_id: str
    row: Row
    terms: PenaltyTerms
    lines: tuple[Line, ...]
    dues: tuple[Due, ...]
    """What is to be paid of each line today."""
    daily: DailyInterest | None
    complete: bool

    @property
    def today(self) -> dt.date:
        """Return the business date of the read."""
        return self.row.today

    @property
    def balance_fen(self) -> int:
        """Return the open principal."""
        return self.row.principal_fen - self.row.principal_paid_fen

    @property
    def fallen(self) -> int:
        """Return how many lines have fallen due."""
        return count_fallen(self.lines, self.today)

    @property
    def days_past_due(self) -> int:
        """Return the days since the oldest unpaid due date."""
        return find_days_past_due(self.lines, self.today)

    @property
    def penalty_fen(self) -> int:
        """Return the penalty that is open."""
        return sum(due.penalty_fen for due in self.dues)

    @property
    def outstanding_fen(self) -> int:
        """Return all that is still to be paid, due or not, planned interest and fees included."""
        planned_fen = self.row.interest_fen - self.row.interest_paid_fen
        fees_fen = self.row.fee_fen - self.row.fee_paid_fen
        return self.balance_fen + planned_fen + fees_fen + self.penalty_fen

    def covers(self, amount_fen: int) -> bool:
        """Say whether the lines suffice to book `amount_fen` and to tell what falls due after it."""
        if self.complete:
            return True
        in_reach_fen = sum(due.total_fen for due in self.dues)
        return self.lines[-1].due > self.today and amount_fen < in_reach_fen


def make_loan(loan_id: str, row: Row, product: Product, most_lines: int) -> Loan:
    """Return the loan of a row that was read with at most so many lines."""
    terms = replace(penalty_terms(product), rate_annual=row.rate_annual)
    lines = _open_lines(row)
    daily = None
    if row.anytime and row.interest_to is not None and lines:
        rate = DailyRate(row.rate_annual, product.pricing.day_count)
        daily = DailyInterest(rate, lines[0].due, row.interest_to, row.interest_fen_days)
        daily = daily.count(lines[0].principal_fen, row.today)
        row = replace(row, interest_fen=daily.interest_fen)
        open_fen = daily.interest_fen - row.interest_paid_fen
        lines = (replace(lines[0], interest_fen=open_fen),)
    dues = dues_on(lines, row.today, terms)
    return Loan(loan_id, row, terms, lines, dues, daily, complete=len(lines) < most_lines)


def with_lines(loan: Loan, row: Row, lines: tuple[Line, ...]) -> Loan:
    """Return the loan with another row and other lines."""
    return replace(loan, row=row, lines=lines, dues=dues_on(lines, row.today, loan.terms))


def _open_lines(row: Row) -> tuple[Line, ...]:
    def still_open(before_fen: int, whole_fen: int, paid_fen: int) -> int:
        return min(whole_fen, max(0, before_fen + whole_fen - paid_fen))

    return tuple(
        Line(
            period,
            row.begins[n],
            row.dues[n],
            still_open(row.principals_before[n], row.principals[n], row.principal_paid_fen),
            still_open(row.interests_before[n], row.interests[n], row.interest_paid_fen),
            row.counted_to[n],
            row.fen_days[n],
            row.penalties_paid[n],
            still_open(row.fees_before[n], row.fees[n], row.fee_paid_fen),
        )
        for n, period in enumerate(row.periods or ())
    )


def pay_loan(loan: Loan, parts: Sequence[Allocation]) -> Loan:
    """Return the loan after each line was paid its part today."""
    today, terms = loan.today, loan.terms
    lines = tuple(pay_line(line, part, today, terms) for line, part in zip(loan.lines, parts, strict=True))
    dues = dues_on(lines, today, terms)
    closed = next((number for number, due in enumerate(dues) if due.total_fen), len(dues))
    split = sum_parts(parts)
    row = replace(
        loan.row,
        principal_paid_fen=loan.row.principal_paid_fen + split.principal_fen,
        interest_paid_fen=loan.row.interest_paid_fen + split.interest_fen,
        penalty_paid_fen=loan.row.penalty_paid_fen + split.penalty_fen,
        fee_paid_fen=loan.row.fee_paid_fen + split.fee_fen,
        open_period=lines[closed].period if closed < len(lines) else loan.row.open_period + len(lines),
        settled_on=today if loan.complete and closed == len(lines) else None,
    )
    return replace(loan, row=row, lines=lines[closed:], dues=dues[closed:])


def late_columns(before: Sequence[Line], parts: Sequence[Allocation], loan: Loan) -> dict[str, Any]:
    """Return the late lines that a payment changed, as columns; days within grace leave no row."""
    after = [
        pay_line(line, part, loan.today, loan.terms)
        for line, part in zip(before, parts, strict=True)
        if part.total_fen and not in_grace(line, loan.today, loan.terms)
    ]
    return as_late_columns(after)


def as_late_columns(lines: Sequence[Line]) -> dict[str, Any]:
    """Return the columns of late lines."""
    return {
        "late_periods": [line.period for line in lines],
        "late_fen_days": [line.fen_days for line in lines],
        "late_counted_to": [line.counted_to for line in lines],
        "late_paid": [line.penalty_paid_fen for line in lines],
    }


def plan_columns(
    plan: Sequence[Instalment], begins: dt.date, before: Allocation = _NOTHING_PAID
) -> dict[str, Any]:
    """Return a plan's columns; interest runs from `begins`, and so much was paid before its first line."""
    return {
        "periods": [line.period for line in plan],
        "begins": [begins, *(line.due for line in plan)][: len(plan)],
        "dues": [line.due for line in plan],
        "principals": [line.principal_fen for line in plan],
        "interests": [line.interest_fen for line in plan],
        "fees": [line.fee_fen for line in plan],
        "principals_before": _running_totals([line.principal_fen for line in plan], before.principal_fen),
        "interests_before": _running_totals([line.interest_fen for line in plan], before.interest_fen),
        "fees_before": _running_totals([line.fee_fen for line in plan], before.fee_fen),
    }


def _running_totals(amounts_fen: Sequence[int], first_fen: int) -> list[int]:
    return list(accumulate(amounts_fen[:-1], initial=first_fen)) if amounts_fen else []


def paid_so_far(loan: Loan) -> Allocation:
    """Return the totals paid on a loan."""
    row = loan.row
    return Allocation(row.penalty_paid_fen, row.interest_paid_fen, row.principal_paid_fen, row.fee_paid_fen)


def show_loan_row(loan: Loan) -> dict[str, Any]:
    """Return where a loan stands as the client reads it; also what the outbox tells of it."""
    open_dues = [due for due in loan.dues if due.total_fen]
    due_of = {line.period: line.due for line in loan.lines}
    status = "settled" if loan.row.settled_on else "written_off" if loan.row.written_off_on else "active"
    return {
        "loan_id": loan.loan_id,
        "customer_id": loan.row.customer_id,
        "status": status,
        "drawn_on": loan.row.drawn_on.isoformat(),
        "principal_fen": loan.row.principal_fen,
        "balance_fen": loan.balance_fen,
        "outstanding_fen": loan.outstanding_fen,
        "penalty_fen": loan.penalty_fen,
        "days_past_due": loan.days_past_due,
        "next_due": due_of[open_dues[0].period].isoformat() if open_dues else None,
        "next_due_fen": open_dues[0].total_fen if open_dues else 0,
        "as_of": loan.today.isoformat(),
    }
