"""A loan's journal of events, and the balances that follow from it. Pure.

Events are never changed: a reversal names the event it takes back, a back-dated one is added late
with an earlier day. Balances are always those of all standing events in the order of their days, so
the order in which they were written down cannot matter. What was booked by an earlier replay and
comes out otherwise is corrected by reversing its split and booking the new one.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from core_app.loans.allocation import (
    Allocation,
    Due,
    Order,
    OrderRule,
    PenaltyTerms,
    allocate_each,
    sum_parts,
)
from core_app.loans.schedule import Plan
from core_app.loans.standing import (
    DailyInterest,
    Line,
    count_fallen,
    dues_on,
    find_days_past_due,
    make_lines,
    pay_line,
)


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
    """What stays the same: the plan, the penalty, the order of allocation, the day interest runs from.

    `daily` is the interest by day of a loan that is repaid anytime: its plan is one line without interest.
    """

    plan: Plan
    penalty: PenaltyTerms
    order: OrderRule
    start: dt.date | None = None
    daily: DailyInterest | None = None


@dataclass(frozen=True, slots=True)
class Balances:
    """Where the loan stands on a day, and how each standing repayment was split, by its number."""

    day: dt.date
    lines: tuple[Line, ...]
    dues: tuple[Due, ...]
    splits: Mapping[int, Allocation]
    days_past_due: int
    daily: DailyInterest | None = None

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
    first_due = contract.plan[0].due if contract.plan else day
    lines = make_lines(contract.plan, contract.start or first_due)
    daily = contract.daily
    splits: dict[int, Allocation] = {}
    for event in standing_repayments(journal):
        if event.on > day:
            break
        lines, daily = run_interest(lines, daily, event.on)
        order = contract.order.choose(find_days_past_due(lines, event.on))
        lines, splits[event.number] = _pay(lines, event, order, contract.penalty)
    lines, daily = run_interest(lines, daily, day)
    dues = tuple(due for due in dues_on(lines, day, contract.penalty) if due.total_fen)
    return Balances(day, lines, dues, splits, find_days_past_due(lines, day), daily)


def run_interest(
    lines: tuple[Line, ...], daily: DailyInterest | None, day: dt.date
) -> tuple[tuple[Line, ...], DailyInterest | None]:
    """Let interest by day run on the one line of a loan that is repaid anytime; others stay as they are."""
    if daily is None or not lines:
        return lines, daily
    (line,) = lines
    after = daily.count(line.principal_fen, day)
    more_fen = after.interest_fen - daily.interest_fen
    return (replace(line, interest_fen=line.interest_fen + more_fen),), after


def _pay(
    lines: Sequence[Line], event: Repaid, order: Order, terms: PenaltyTerms
) -> tuple[tuple[Line, ...], Allocation]:
    try:
        each = allocate_each(
            dues_on(lines, event.on, terms), event.amount_fen, order, count_fallen(lines, event.on)
        )
    except ValueError as error:
        raise JournalInvalid(f"event {event.number}: {error}") from error
    paid = tuple(pay_line(line, part, event.on, terms) for line, part in zip(lines, each, strict=True))
    return paid, sum_parts(each)


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
