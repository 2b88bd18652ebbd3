"""Histories made by hand for the matrix's checkers: a good one, to be spoilt by each test."""

from dataclasses import replace
from typing import Any

from runbooks.drills.records import Outcome
from runbooks.faults.records import Action, Op
from runbooks.faults.rows import AccountRow, DoneRow, KeptRows, RegisterRow

SECOND = 1_000_000_000
OPENING_FEN = 1000


def make_op(number: int, action: Action, **changes: Any) -> Op:
    """An acknowledged operation that takes from second `number` to half a second later."""
    arguments: dict[str, Any] = {}
    if action in (Action.WRITE, Action.CAS, Action.READ, Action.PEEK):
        arguments = {"key": "k"}
    known: dict[str, Any] = {
        "op_id": number, "batch": 0, "action": action, "token": f"t-{number}", "cell": "a", "entrance": "idc",
        "invoked_ns": number * SECOND, "completed_ns": number * SECOND + SECOND // 2, "outcome": Outcome.OK,
        "epoch": 1, "arguments": arguments, "answer": {"done": True},
    }  # fmt: skip
    return Op(**{**known, **changes})


def make_write(number: int, version: int, **changes: Any) -> Op:
    return make_op(number, Action.WRITE, answer={"done": True, "version": version, "key": "k"}, **changes)


def make_cas(number: int, expected: int, version: int, *, done: bool = True, **changes: Any) -> Op:
    answer = {"done": done, "version": version, "key": "k"}
    return make_op(number, Action.CAS, arguments={"key": "k", "expected": expected}, answer=answer, **changes)


def make_read(number: int, version: int, value: str, action: Action = Action.READ, **changes: Any) -> Op:
    return make_op(number, action, answer={"version": version, "value": value}, **changes)


def make_row(op: Op, **changes: Any) -> DoneRow:
    legs = (-10, 10) if op.action is Action.TRANSFER else ()
    row = DoneRow(
        op.token,
        op.batch,
        str(op.action),
        op.epoch,
        f"a-idc-0-{op.epoch}",
        op.invoked_ns // 1000,
        op.answer,
        legs,
    )
    return replace(row, **changes)


ADD = make_op(1, Action.ADD)
TRANSFER = make_op(2, Action.TRANSFER, arguments={"source": 0, "target": 1, "moved_fen": 10})
FIRST = make_write(3, 1)
READ = make_read(4, 1, "t-3")
SECOND_WRITE = make_cas(5, 1, 2, epoch=2)
REFUSED = make_cas(6, 1, 2, done=False, epoch=2)
TOTAL = make_op(7, Action.TOTAL, answer={"total_fen": 2 * OPENING_FEN, "least_fen": 990})
FAILED = make_op(8, Action.ADD, outcome=Outcome.FAIL, answer={}, epoch=0)
LATE_ADD = make_op(9, Action.ADD, epoch=2)
GOOD = (ADD, TRANSFER, FIRST, READ, SECOND_WRITE, REFUSED, TOTAL, FAILED, LATE_ADD)


def make_kept(ops: tuple[Op, ...] = GOOD) -> KeptRows:
    return KeptRows(
        "a",
        2,
        tuple(make_row(op) for op in ops if op.is_write and op.outcome is Outcome.OK),
        (AccountRow(0, OPENING_FEN - 10, -10), AccountRow(1, OPENING_FEN + 10, 10)),
        (RegisterRow("k", 2, "t-5"),),
    )
