"""A loan's journal of events, and the balances that follow from it. Pure.

Events are never changed: a reversal names the event it takes back, a back-dated one is added late
with an earlier day. Balances are always those of all standing events in the order of their days, so
the order in which they were written down cannot matter. What was booked by an earlier replay and
comes out otherwise is corrected by reversing its split and booking the new one.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from core_app.loans.allocation import Allocation, Due, Order, OrderRule, PenaltyTerms, allocate_each
from core_app.loans.schedule import Plan
from core_app.money import round_half_up


@dataclass(frozen=True, slots=True)
class Repaid:
    """A repayment: `number` rises with each event written down, `on` is the day it counts for."""

    number: int
    on: dt.date
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Reversed:
    """A repayment taken back (a bounced debit, a mistake): it never counted."""

    number: int
    reverses: int


Event = Repaid | Reversed


class JournalInvalid(ValueError):
    """A journal that nothing can follow from: the message names the event."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What stays the same: the plan, the penalty and the order of allocation."""

    plan: Plan
    penalty: PenaltyTerms
    order: OrderRule


@dataclass(frozen=True, slots=True)
class Line:
    """One instalment as it stands. `penalty_exact` has run up to the last look, paid or not."""

    period: int
    due: dt.date
    interest_fen: int
    principal_fen: int
    penalty_exact: Fraction = Fraction(0)
    penalty_paid_fen: int = 0

    def open_penalty_fen(self, day: dt.date, grace_days: int) -> int:
        """Return the penalty to be paid on `day`."""
        in_grace = (day - self.due).days <= grace_days
        return 0 if in_grace else max(0, round_half_up(self.penalty_exact) - self.penalty_paid_fen)


@dataclass(frozen=True, slots=True)
class Balances:
    """Where the loan stands on a day, and how each standing repayment was split, by its number."""

    day: dt.date
    dues: tuple[Due, ...]
    splits: Mapping[int, Allocation]
    days_past_due: int

    @property
    def principal_fen(self) -> int:
        """Return the open principal."""
        return sum(due.principal_fen for due in self.dues)

    @property
    def outstanding_fen(self) -> int:
        """Return all that is open, due or not."""
        return sum(due.total_fen for due in self.dues)


def standing_repayments(journal: Iterable[Event]) -> tuple[Repaid, ...]:
    """Return the repayments that were not taken back, by day and number.

    JournalInvalid when a reversal names no repayment, or one that is taken back already.
    """
    repaid: dict[int, Repaid] = {}
    seen: set[int] = set()
    reversals: list[Reversed] = []
    for event in journal:
        if event.number in seen:
            raise JournalInvalid(f"event {event.number}: the number stands twice")
        seen.add(event.number)
        if isinstance(event, Reversed):
            reversals.append(event)
        else:
            repaid[event.number] = event
    for reversal in reversals:
        if repaid.pop(reversal.reverses, None) is None:
            raise JournalInvalid(f"event {reversal.number}: {reversal.reverses} is no standing repayment")
    return tuple(sorted(repaid.values(), key=lambda event: (event.on, event.number)))


def replay(contract: Contract, journal: Iterable[Event], day: dt.date) -> Balances:
    """Return where the loan stands on `day` by all events up to it; JournalInvalid on an overpayment."""
    lines = tuple(Line(i.period, i.due, i.interest_fen, i.principal_fen) for i in contract.plan)
    splits: dict[int, Allocation] = {}
    looked = min((line.due for line in lines), default=day)
    for event in standing_repayments(journal):
        if event.on > day:
            break
        lines = _accrue(lines, looked, event.on, contract.penalty)
        looked = max(looked, event.on)
        order = contract.order.choose(_days_past_due(lines, event.on))
        lines, splits[event.number] = _pay(lines, event, order, contract.penalty.grace_days)
    lines = _accrue(lines, looked, day, contract.penalty)
    dues = _dues(lines, day, contract.penalty.grace_days)
    return Balances(day, tuple(due for due in dues if due.total_fen), splits, _days_past_due(lines, day))


def _accrue(lines: Sequence[Line], since: dt.date, day: dt.date, penalty: PenaltyTerms) -> tuple[Line, ...]:
    """Let penalties run from `since` to `day` on what was overdue all that time."""
    grown = []
    for line in lines:
        days = (day - max(since, line.due)).days
        overdue_fen = line.principal_fen + (line.interest_fen if penalty.on_interest else 0)
        more = overdue_fen * penalty.daily * days if days > 0 else Fraction(0)
        grown.append(replace(line, penalty_exact=line.penalty_exact + more))
    return tuple(grown)


def _dues(lines: Sequence[Line], day: dt.date, grace_days: int) -> tuple[Due, ...]:
    return tuple(
        Due(line.period, line.open_penalty_fen(day, grace_days), line.interest_fen, line.principal_fen)
        for line in lines
    )


def _pay(
    lines: Sequence[Line], event: Repaid, order: Order, grace_days: int
) -> tuple[tuple[Line, ...], Allocation]:
    try:
        fallen = sum(line.due <= event.on for line in lines)
        each = allocate_each(_dues(lines, event.on, grace_days), event.amount_fen, order, fallen)
    except ValueError as error:
        raise JournalInvalid(f"event {event.number}: {error}") from error
    paid = tuple(_pay_line(line, part, event.on, grace_days) for line, part in zip(lines, each, strict=True))
    total = Allocation(
        sum(part.penalty_fen for part in each),
        sum(part.interest_fen for part in each),
        sum(part.principal_fen for part in each),
    )
    return paid, total


def _pay_line(line: Line, part: Allocation, day: dt.date, grace_days: int) -> Line:
    principal_fen = line.principal_fen - part.principal_fen
    interest_fen = line.interest_fen - part.interest_fen
    owed_fen = line.principal_fen + line.interest_fen
    exact = line.penalty_exact
    if owed_fen and (day - line.due).days <= grace_days:
        # What is paid within the days of grace bears none for the days before.
        exact = exact * (principal_fen + interest_fen) / owed_fen
    return replace(
        line,
        principal_fen=principal_fen,
        interest_fen=interest_fen,
        penalty_exact=exact,
        penalty_paid_fen=line.penalty_paid_fen + part.penalty_fen,
    )


def _days_past_due(lines: Sequence[Line], day: dt.date) -> int:
    unpaid = [line.due for line in lines if line.principal_fen or line.interest_fen]
    return max(0, (day - min(unpaid)).days) if unpaid else 0


@dataclass(frozen=True, slots=True)
class Correction:
    """One repayment whose booked split is not the right one: `was` is reversed, `becomes` is booked."""

    number: int
    was: Allocation | None
    becomes: Allocation | None


def plan_corrections(
    booked: Mapping[int, Allocation], right: Mapping[int, Allocation]
) -> tuple[Correction, ...]:
    """Return what has to be reversed and booked so that the books say what a replay says."""
    numbers = sorted(booked.keys() | right.keys())
    pairs = ((number, booked.get(number), right.get(number)) for number in numbers)
    return tuple(Correction(*pair) for pair in pairs if pair[1] != pair[2])
