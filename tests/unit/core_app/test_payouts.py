"""What is done with a payout order: never a second payment while a first one may exist."""

import datetime as dt
import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.funding.breaker import Breaker, BreakerRule
from core_app.funding.channel import Fate, Said
from core_app.funding.payout import (
    Ask,
    Doubt,
    GiveUp,
    Look,
    Order,
    Pay,
    State,
    Wait,
    after_ask,
    after_pay,
    decide_next,
)

NOON = dt.datetime(2026, 1, 15, 12, tzinfo=dt.UTC)
EARLY, LATE = NOON - dt.timedelta(seconds=1), NOON + dt.timedelta(seconds=1)
BOTH = ("bank_a", "bank_b")
ORDER = Order(
    "P000-0", "L000-0", 100, "borrower", "C0", ("bank_transfer",), State.ORDERED, None, (), None, 7, LATE
)
SENT = replace(ORDER, state=State.SENT, channel="bank_a", valid_until=NOON)


def look(closed: tuple[str, ...]) -> Look:
    return Look(BOTH, frozenset(closed), 7, NOON)


RULE = BreakerRule(failures=3, probe_every_s=1.0)


@pytest.mark.parametrize(
    ("order", "closed", "action"),
    [
        (ORDER, BOTH, Pay("bank_a")),
        (ORDER, ("bank_b",), Pay("bank_b")),
        (ORDER, (), Wait("bank_a, bank_b: no answer at present")),
        (replace(ORDER, refused_by=("bank_a",)), BOTH, Pay("bank_b")),
        (replace(ORDER, refused_by=BOTH), BOTH, GiveUp("refused by bank_a, bank_b")),
        (replace(ORDER, epoch=6), BOTH, Doubt()),
        (replace(ORDER, give_up_at=NOON), BOTH, GiveUp("no channel took it in time")),
        (replace(SENT, give_up_at=NOON), BOTH, Ask(("bank_a",))),
        (SENT, BOTH, Ask(("bank_a",))),
        (SENT, ("bank_b",), Wait("bank_a: no answer at present")),
        (replace(SENT, state=State.UNKNOWN, channel=None), BOTH, Ask(BOTH)),
    ],
)
def test_what_is_done_next(order: Order, closed: tuple[str, ...], action: object) -> None:
    assert decide_next(order, look(closed)) == action


def test_every_small_case_pays_only_what_is_ordered_and_in_this_epoch() -> None:
    spaces = (State, (None, *BOTH), (6, 7), ((), ("bank_a",), BOTH), ((), ("bank_a",), BOTH))
    paid = 0
    for state, channel, epoch, refused, closed in itertools.product(*spaces):
        order = replace(ORDER, state=state, channel=channel, epoch=epoch, refused_by=refused)
        if state in (State.PAID, State.FAILED):
            with pytest.raises(ValueError, match="nothing is left"):
                decide_next(order, look(closed))
            continue
        action = decide_next(order, look(closed))
        if isinstance(action, Pay):
            paid += 1
            assert (state, epoch) == (State.ORDERED, 7)
            assert action.channel in closed
            assert action.channel not in refused
    assert paid


@pytest.mark.parametrize(
    ("fate", "state", "refused_by"),
    [
        (Fate.PAID, State.PAID, ()),
        (Fate.REFUSED, State.ORDERED, ("bank_a",)),
        (Fate.NOT_TAKEN, State.ORDERED, ()),
        (Fate.UNKNOWN, State.UNKNOWN, ()),
        (Fate.NOT_FOUND, State.UNKNOWN, ()),
    ],
)
def test_what_an_answer_to_a_payment_makes_of_it(
    fate: Fate, state: State, refused_by: tuple[str, ...]
) -> None:
    after = after_pay(SENT, "bank_a", Said(fate))
    assert (after.state, after.refused_by) == (state, refused_by)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([Said(Fate.PAID, as_of=EARLY)], State.PAID),
        ([Said(Fate.NOT_FOUND, as_of=EARLY)], State.UNKNOWN),
        ([Said(Fate.NOT_FOUND, as_of=NOON)], State.UNKNOWN),
        ([Said(Fate.NOT_FOUND, as_of=LATE)], State.ORDERED),
        ([Said(Fate.REFUSED, as_of=EARLY)], State.ORDERED),
        ([Said(Fate.UNKNOWN)], State.UNKNOWN),
        ([Said(Fate.NOT_TAKEN)], State.UNKNOWN),
        ([], State.UNKNOWN),
        ([Said(Fate.NOT_FOUND, as_of=LATE), Said(Fate.PAID, as_of=EARLY)], State.PAID),
        ([Said(Fate.NOT_FOUND, as_of=LATE), Said(Fate.UNKNOWN)], State.UNKNOWN),
        ([Said(Fate.NOT_FOUND, as_of=LATE), Said(Fate.NOT_FOUND, as_of=LATE)], State.ORDERED),
    ],
)
def test_an_order_is_free_again_only_when_nothing_can_change_any_more(said: list[Said], state: State) -> None:
    after = after_ask(SENT, dict(zip(BOTH, said, strict=False)), epoch=8)
    assert after.state is state
    if state is not State.PAID:
        assert (after.epoch, after.channel) == ((8, None) if state is State.ORDERED else (7, "bank_a"))


def test_three_failures_in_a_row_open_a_breaker_and_one_answer_closes_it() -> None:
    breaker = Breaker().failed(RULE, 0.0).failed(RULE, 0.1)
    assert breaker.is_closed
    assert breaker.answered().failed(RULE, 0.2).failed(RULE, 0.3).is_closed
    opened = breaker.failed(RULE, 0.2)
    assert (opened.is_closed, opened.wants_probe(1.1), opened.wants_probe(1.2)) == (False, False, True)
    again = opened.failed(RULE, 1.2)
    assert (again.is_closed, again.wants_probe(2.1), again.wants_probe(2.2)) == (False, False, True)
    assert again.answered().is_closed


@given(st.lists(st.booleans(), max_size=40))
def test_an_open_breaker_is_probed_each_second_and_a_closed_one_never(answers: list[bool]) -> None:
    breaker = Breaker()
    for second, answered in enumerate(answers):
        breaker = breaker.answered() if answered else breaker.failed(RULE, second)
        failures = len(answers[: second + 1]) - max(
            (n + 1 for n, one in enumerate(answers[: second + 1]) if one), default=0
        )
        assert breaker.is_closed == (failures < RULE.failures)
        assert breaker.wants_probe(second + 1) == (not breaker.is_closed)
