"""Journals of repayments, reversals and back-dated events, and the balances that follow."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.loans.allocation import Order, OrderRule, PenaltyTerms
from core_app.loans.replay import (
    Balances,
    Contract,
    Correction,
    Event,
    JournalInvalid,
    Repaid,
    Reversed,
    plan_corrections,
    replay,
)
from core_app.loans.schedule import Terms, plan_equal_instalments
from core_app.loans.terms import order_rule, penalty_terms
from tests.unit.core_app.product_documents import START, make_product

PLAN = plan_equal_instalments(Terms(1_200_000, Decimal("0.18"), 12), START)
PENALTY = PenaltyTerms(Decimal("0.18"), Decimal("1.5"), 360)
CONTRACT = Contract(PLAN, PENALTY, OrderRule(Order.BY_INSTALMENT, Order.PRINCIPAL_FIRST, 90))
END = dt.date(2026, 12, 31)
PLANNED_FEN = sum(line.total_fen for line in PLAN)

days = st.dates(START, END)
repayments = st.lists(st.tuples(days, st.integers(1, 120_000)), max_size=10).map(
    lambda pairs: [Repaid(number, on, fen) for number, (on, fen) in enumerate(pairs, 1)]
)
orders = st.builds(OrderRule, st.sampled_from(Order), st.sampled_from(Order), st.integers(0, 120))


def paid_fen(balances: Balances) -> int:
    return sum(split.total_fen for split in balances.splits.values())


@given(repayments, orders, st.integers(0, 5), st.booleans())
def test_money_is_conserved_whatever_the_order(
    journal: list[Repaid], order: OrderRule, grace: int, on_interest: bool
) -> None:
    penalty = PenaltyTerms(Decimal("0.18"), Decimal("1.5"), 360, on_interest, grace)
    balances = replay(Contract(PLAN, penalty, order), journal, END)
    assert paid_fen(balances) == sum(event.amount_fen for event in journal)
    planned_paid = sum(s.interest_fen + s.principal_fen for s in balances.splits.values())
    planned_open = sum(due.interest_fen + due.principal_fen for due in balances.dues)
    assert planned_paid + planned_open == PLANNED_FEN
    assert balances.principal_fen + sum(s.principal_fen for s in balances.splits.values()) == 1_200_000


@given(repayments, days, st.integers(1, 120_000))
def test_a_reversal_leaves_balances_as_if_the_repayment_had_never_been(
    journal: list[Repaid], on: dt.date, amount_fen: int
) -> None:
    mistake = Repaid(100, on, amount_fen)
    with_mistake: list[Event] = [*journal, mistake, Reversed(101, 100)]
    assert replay(CONTRACT, with_mistake, END) == replay(CONTRACT, journal, END)


@given(repayments, st.randoms())
def test_a_back_dated_event_counts_as_if_written_on_its_day(journal: list[Repaid], dice: object) -> None:
    shuffled: list[Event] = list(journal)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert replay(CONTRACT, shuffled, END) == replay(CONTRACT, journal, END)


@given(repayments, days, st.integers(1, 120_000))
def test_corrections_turn_what_was_booked_into_what_is_right(
    journal: list[Repaid], on: dt.date, amount_fen: int
) -> None:
    booked = replay(CONTRACT, journal, END).splits
    right = replay(CONTRACT, [*journal, Repaid(100, on, amount_fen)], END).splits
    books = dict(booked)
    for correction in plan_corrections(booked, right):
        assert books.pop(correction.number, None) == correction.was
        if correction.becomes is not None:
            books[correction.number] = correction.becomes
    assert books == right
    assert plan_corrections(right, right) == ()


def test_a_late_found_repayment_takes_back_the_penalty_it_prevents() -> None:
    late = Repaid(1, dt.date(2026, 3, 25), 150_000)
    found = Repaid(2, dt.date(2026, 2, 15), 110_016)
    booked = replay(CONTRACT, [late], late.on)
    right = replay(CONTRACT, [late, found], late.on)
    (first, second) = plan_corrections(booked.splits, right.splits)
    assert first.was is not None
    assert first.becomes is not None
    assert (first.was.penalty_fen, first.becomes.penalty_fen) == (2_622 + 700, 700)
    assert second == Correction(2, None, right.splits[2])
    assert right.days_past_due == 0


def test_paid_on_the_day_nothing_is_overdue_and_no_penalty_runs() -> None:
    journal = [Repaid(line.period, line.due, line.total_fen) for line in PLAN]
    balances = replay(CONTRACT, journal, dt.date(2027, 12, 31))
    assert (balances.outstanding_fen, balances.days_past_due) == (0, 0)
    assert all(split.penalty_fen == 0 for split in balances.splits.values())


@pytest.mark.parametrize(("grace", "day", "penalty_fen"), [(0, 16, 69), (3, 18, 0), (3, 19, 276), (0, 15, 0)])
def test_days_of_grace_bear_no_penalty_and_count_when_they_are_over(
    grace: int, day: int, penalty_fen: int
) -> None:
    penalty = PenaltyTerms(Decimal("0.18"), Decimal("1.5"), 360, grace_days=grace)
    balances = replay(Contract(PLAN, penalty, CONTRACT.order), [], dt.date(2026, 2, day))
    assert balances.dues[0].penalty_fen == penalty_fen
    assert balances.days_past_due == day - 15


def test_after_ninety_days_principal_comes_first() -> None:
    due = PLAN[0].due
    for later, principal_fen in ((90, 0), (91, 1_000)):
        day = due + dt.timedelta(days=later)
        split = replay(CONTRACT, [Repaid(1, day, 1_000)], day).splits[1]
        assert split.principal_fen == principal_fen


@pytest.mark.parametrize(
    ("journal", "message"),
    [
        ([Reversed(2, 1)], "event 2: 1 is no standing repayment"),
        ([Repaid(1, START, 5), Reversed(2, 1), Reversed(3, 1)], "event 3: 1 is no standing repayment"),
        ([Repaid(1, START, 5), Repaid(1, START, 6)], "event 1: the number stands twice"),
        ([Repaid(1, START, PLANNED_FEN + 1)], "event 1: .*1 fen more than is due"),
        ([Repaid(1, START, 0)], "event 1: .*positive"),
    ],
)
def test_a_journal_nothing_can_follow_from_is_refused(journal: list[Event], message: str) -> None:
    with pytest.raises(JournalInvalid, match=message):
        replay(CONTRACT, journal, END)


def test_a_product_gives_the_terms_of_penalty_and_order() -> None:
    product = make_product({"penalty.base": "principal_and_interest", "tenor.grace_days": 2})
    assert penalty_terms(product) == PenaltyTerms(Decimal("0.18"), Decimal("1.5"), 360, True, 2)
    assert order_rule(product) == OrderRule(Order.BY_INSTALMENT, Order.PRINCIPAL_FIRST, 90)
