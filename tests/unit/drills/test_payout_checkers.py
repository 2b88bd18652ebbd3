"""Each checker of payouts holds on a good run and breaks on each defect that was planted."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from runbooks.drills.checkers import Verdict
from runbooks.drills.payout_checkers import (
    BookLine,
    CellPayouts,
    EventRow,
    Loss,
    OrderRow,
    check_payouts,
    check_switch,
    measure_switch,
)
from runbooks.drills.records import Kind, Op, Outcome

NOON = dt.datetime(2026, 1, 15, 12, tzinfo=dt.UTC)
ORDERS = (
    OrderRow("P1", "L1", 100, "paid", "bank_a"),
    OrderRow("P2", "L2", 200, "paid", "bank_b"),
)
BOOKS = (BookLine("bank_a", "P1", 100, 1), BookLine("bank_b", "P2", 200, 1))
DRAWS = tuple(
    Op(
        n,
        Kind.DRAW,
        f"k{n}",
        "idc",
        "a",
        0,
        0,
        0,
        Outcome.OK,
        answer={"loan_id": f"L{n}", "balance_fen": fen},
    )
    for n, fen in ((1, 100), (2, 200))
)


def at(seconds: float) -> dt.datetime:
    return NOON + dt.timedelta(seconds=seconds)


def verdicts(orders: Any = ORDERS, books: Any = BOOKS, ops: Any = DRAWS) -> dict[str, Verdict]:
    cells = {"a": CellPayouts(tuple(orders), ()), "b": CellPayouts((), ())}
    return {finding.name: finding.verdict for finding in check_payouts(ops, cells, books)}


def test_a_good_run_holds() -> None:
    assert set(verdicts().values()) == {Verdict.HOLDS}


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"orders": ORDERS[:1], "books": BOOKS[:1]}, {"each_draw_is_ordered"}),
        (
            {"orders": (replace(ORDERS[0], amount_fen=99), ORDERS[1])},
            {"each_draw_is_ordered", "every_order_is_paid", "no_payment_is_unknown_to_us"},
        ),
        (
            {"books": (*BOOKS, BookLine("bank_b", "P1", 100, 1))},
            {"nothing_is_paid_twice", "no_payment_is_unknown_to_us"},
        ),
        ({"books": BOOKS[:1]}, {"every_order_is_paid"}),
        ({"books": (*BOOKS, BookLine("bank_b", "P9", 1, 1))}, {"no_payment_is_unknown_to_us"}),
        ({"orders": (replace(ORDERS[0], state="failed"), ORDERS[1])}, {"no_payment_is_unknown_to_us"}),
        (
            {"orders": (replace(ORDERS[0], channel="bank_b"), ORDERS[1])},
            {"every_order_is_paid", "no_payment_is_unknown_to_us"},
        ),
    ],
)
def test_each_defect_is_found_and_only_by_the_checks_it_concerns(
    changes: dict[str, Any], broken: set[str]
) -> None:
    assert {name for name, verdict in verdicts(**changes).items() if verdict is Verdict.BROKEN} == broken


def test_an_order_that_is_not_final_and_a_cell_that_was_not_read_are_no_proof() -> None:
    orders = (replace(ORDERS[0], state="unknown"), ORDERS[1])
    assert verdicts(orders, BOOKS[1:])["every_order_is_paid"] is Verdict.UNKNOWN
    cells = {"a": CellPayouts(ORDERS, ()), "b": None}
    assert {finding.verdict for finding in check_payouts(DRAWS, cells, BOOKS)} == {Verdict.UNKNOWN}


def events(order_id: str, *steps: tuple[float, str, str | None]) -> list[EventRow]:
    return [EventRow(order_id, state, channel, at(seconds)) for seconds, state, channel in steps]


LOSS = Loss("bank_a", at(0), at(15))
QUIET = [
    *events("P1", (-2.0, "ordered", None), (-1.9, "sent", "bank_a"), (-1.8, "paid", "bank_a")),
    *events("P2", (-0.1, "ordered", None), (-0.05, "sent", "bank_a"), (0.2, "unknown", "bank_a")),
    *events("P2", (16.0, "paid", "bank_a")),
    *events("P3", (0.5, "ordered", None), (0.6, "sent", "bank_a"), (0.7, "ordered", None)),
    *events("P3", (0.8, "sent", "bank_b"), (1.1, "paid", "bank_b")),
    *events("P4", (3.0, "ordered", None), (3.1, "sent", "bank_b"), (3.2, "paid", "bank_b")),
]


def test_the_switch_is_measured_from_the_last_order_for_the_dead_and_the_first_paid_elsewhere() -> None:
    switch = measure_switch({"a": CellPayouts((), tuple(QUIET))}, LOSS)
    assert (switch.last_sent_s, switch.first_paid_s, switch.seconds) == (0.6, 1.1, 1.1)
    assert (switch.in_doubt, switch.paid_while_dead) == (1, 2)
    assert (switch.wait_p50_s, switch.wait_max_s) == (0.2, 0.6)
    assert check_switch(switch).verdict is Verdict.HOLDS


@pytest.mark.parametrize(
    "late",
    [
        events("P5", (10.5, "sent", "bank_a")),
        events("P5", (1.0, "ordered", None), (11.5, "paid", "bank_b")),
    ],
)
def test_traffic_that_goes_on_to_the_dead_or_money_that_comes_late_breaks_the_limit(
    late: list[EventRow],
) -> None:
    switch = measure_switch({"a": CellPayouts((), (*QUIET, *late))}, LOSS)
    assert check_switch(switch).verdict is Verdict.BROKEN


def test_without_a_payment_elsewhere_nothing_has_moved() -> None:
    switch = measure_switch({"a": CellPayouts((), tuple(QUIET[:5]))}, LOSS)
    assert switch.seconds is None
    assert check_switch(switch).verdict is Verdict.BROKEN
