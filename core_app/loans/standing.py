"""Where a loan stands on a day, line by line, and what a payment changes of it. Pure.

A line is an instalment with what is open of it. Its penalty is counted in fen times days, which are
whole numbers, and rounded once when it is asked for: however often and on whatever days a loan is
looked at, the figure is the same. What is not overdue, or within the days of grace, counts nothing;
when grace is over, what is still open counts from the due date on.

The SQL of day-end computes the same from the same rows (core_app/day_end); a test compares the two.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from core_app.loans.allocation import Allocation, Due, PenaltyTerms
from core_app.loans.daily import DailyRate
from core_app.loans.schedule import Instalment
from core_app.money import round_half_up


@dataclass(frozen=True, slots=True)
class Line:
    """What is open of an instalment, in fen; `fen_days` are counted up to `counted_to`, from `due` on."""

    period: int
    begins: dt.date
    due: dt.date
    principal_fen: int
    interest_fen: int
    counted_to: dt.date
    fen_days: int = 0
    penalty_paid_fen: int = 0
    fee_fen: int = 0

    def count(self, day: dt.date, terms: PenaltyTerms) -> int:
        """Return the fen times days that bear the penalty by `day`."""
        overdue_fen = self.principal_fen + (self.interest_fen if terms.on_interest else 0)
        return self.fen_days + overdue_fen * max(0, (day - self.counted_to).days)

    def penalty_fen(self, day: dt.date, terms: PenaltyTerms) -> int:
        """Return the penalty that is open on `day`."""
        if in_grace(self, day, terms):
            return 0
        return max(0, round_half_up(self.count(day, terms) * terms.daily) - self.penalty_paid_fen)

    def due_on(self, day: dt.date, terms: PenaltyTerms) -> Due:
        """Return what is to be paid of the line on `day`."""
        penalty_fen = self.penalty_fen(day, terms)
        return Due(self.period, penalty_fen, self.interest_fen, self.principal_fen, self.fee_fen)

    @property
    def planned_fen(self) -> int:
        """Return principal and interest that are open: what makes a loan past due."""
        return self.principal_fen + self.interest_fen


def in_grace(line: Line, day: dt.date, terms: PenaltyTerms) -> bool:
    """Say whether nothing counts yet: not overdue, or within the days of grace."""
    return (day - line.due).days <= terms.grace_days


@dataclass(frozen=True, slots=True)
class DailyInterest:
    """Interest by day of a loan that is repaid anytime, up to its end: fen times days up to `counted_to`."""

    rate: DailyRate
    ends: dt.date
    counted_to: dt.date
    fen_days: int = 0

    def count(self, balance_fen: int, day: dt.date) -> "DailyInterest":
        """Return it counted up to `day`, on a balance that has not changed since it was last counted."""
        until = max(self.counted_to, min(day, self.ends))
        more = balance_fen * (until - self.counted_to).days
        return replace(self, counted_to=until, fen_days=self.fen_days + more)

    @property
    def interest_fen(self) -> int:
        """Return the interest up to `counted_to`."""
        return self.rate.interest_fen(self.fen_days)


def make_lines(plan: Sequence[Instalment], start: dt.date) -> tuple[Line, ...]:
    """Return the lines of a plan of which nothing is paid; interest runs from `start` on."""
    begins = (start, *(instalment.due for instalment in plan))
    return tuple(
        Line(i.period, begin, i.due, i.principal_fen, i.interest_fen, i.due, fee_fen=i.fee_fen)
        for i, begin in zip(plan, begins, strict=False)
    )


def count_fallen(lines: Sequence[Line], day: dt.date) -> int:
    """Return how many lines, in order, have fallen due by `day`."""
    return sum(line.due <= day for line in lines)


def find_days_past_due(lines: Sequence[Line], day: dt.date) -> int:
    """Return the days since the oldest due date with principal or interest open, 0 when there is none."""
    unpaid = [line.due for line in lines if line.planned_fen]
    return max(0, (day - min(unpaid)).days) if unpaid else 0


def dues_on(lines: Sequence[Line], day: dt.date, terms: PenaltyTerms) -> tuple[Due, ...]:
    """Return what is to be paid of each line on `day`."""
    return tuple(line.due_on(day, terms) for line in lines)


def pay_line(line: Line, part: Allocation, day: dt.date, terms: PenaltyTerms) -> Line:
    """Return the line after `part` was paid on `day`; days within grace are not counted."""
    counted = line
    if not in_grace(line, day, terms):
        counted = replace(line, fen_days=line.count(day, terms), counted_to=max(line.counted_to, day))
    return replace(
        counted,
        principal_fen=line.principal_fen - part.principal_fen,
        interest_fen=line.interest_fen - part.interest_fen,
        penalty_paid_fen=line.penalty_paid_fen + part.penalty_fen,
        fee_fen=line.fee_fen - part.fee_fen,
    )


def earned_fen(line: Line, whole_fen: int, day: dt.date) -> int:
    """Return how much of a line's whole interest is earned by `day`, by the days of its period.

    >>> line = Line(1, dt.date(2026, 1, 15), dt.date(2026, 2, 15), 92_016, 18_000, dt.date(2026, 2, 15))
    >>> earned_fen(line, 18_000, dt.date(2026, 1, 25))
    5806
    """
    days = (min(day, line.due) - line.begins).days
    length = (line.due - line.begins).days
    return round_half_up(Fraction(whole_fen * max(0, days), length))


def receivable_fen(line: Line, whole_fen: int, day: dt.date) -> int:
    """Return what is earned by `day` and not paid; interest paid ahead of its day is no debt of ours."""
    return max(0, earned_fen(line, whole_fen, day) - (whole_fen - line.interest_fen))
