"""The linearizability check: good histories pass, each way of breaking one is caught, and it agrees with
trying every order on small random histories."""

import itertools
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from runbooks.drills.records import Outcome
from runbooks.faults.records import Action, Op
from runbooks.faults.registers import find_register_defects
from runbooks.faults.rows import DoneRow, RegisterRow
from tests.unit.faults.making import SECOND, make_cas, make_read, make_row, make_write

W1, W2, W3 = make_write(1, 1), make_write(3, 2), make_cas(5, 2, 3)
R2 = make_read(4, 2, "t-3")


def defects(
    *ops: Op, rows: tuple[DoneRow, ...] | None = None, final: tuple[int, str] | None = None
) -> list[str]:
    kept = [make_row(op) for op in ops if op.is_write] if rows is None else list(rows)
    last = max((row for row in kept if row.answer["done"]), key=lambda row: int(row.answer["version"]))
    stands = final or (int(last.answer["version"]), last.token)
    return find_register_defects(ops, kept, [RegisterRow("k", *stands)])


def test_passes_what_is_linearizable() -> None:
    assert defects(W1, W2, R2, W3, make_read(6, 3, "t-5"), make_cas(7, 1, 3, done=False)) == []


def test_passes_a_read_that_overlaps_the_write_it_missed_or_saw() -> None:
    slow = replace(W2, completed_ns=9 * SECOND)
    assert defects(W1, slow, make_read(4, 1, "t-1")) == []
    assert defects(W1, slow, make_read(4, 2, "t-3")) == []


def test_catches_a_stale_confirmed_read() -> None:
    (text,) = defects(W1, W2, make_read(4, 1, "t-1"))
    assert "saw version 1 after 2 was known" in text


def test_catches_reads_that_go_back_while_a_write_is_under_way() -> None:
    slow = replace(W2, completed_ns=9 * SECOND)
    assert defects(W1, slow, make_read(4, 2, "t-3"), make_read(5, 1, "t-1"))


def test_catches_a_write_that_lands_before_one_that_had_ended() -> None:
    assert defects(make_write(1, 2), make_write(3, 1))


def test_catches_a_read_of_a_write_that_had_not_begun() -> None:
    assert defects(W1, make_read(2, 2, "t-3"), W2)


def test_catches_a_refusal_that_saw_an_older_version() -> None:
    assert defects(W1, W2, W3, make_cas(8, 1, 2, done=False))


def test_catches_an_acknowledged_write_that_is_gone() -> None:
    assert defects(W1, W2, rows=(make_row(W1),))


def test_catches_a_read_of_a_value_that_nobody_kept() -> None:
    assert defects(W1, make_read(4, 1, "t-99"))


def test_catches_a_gap_in_the_versions() -> None:
    assert defects(W1, W3, rows=(make_row(W1), make_row(W3))) == ["k: version 2 is gone"]


def test_catches_two_writes_of_one_version() -> None:
    assert defects(W1, make_write(3, 1))


def test_catches_a_register_that_does_not_stand_where_its_rows_end() -> None:
    assert defects(W1, W2, final=(1, "t-1"))


def test_catches_a_swap_from_another_version_than_expected() -> None:
    assert defects(W1, make_cas(3, 0, 2))


def test_an_unknown_write_that_took_effect_may_have_done_so_at_any_time() -> None:
    unknown = replace(W2, outcome=Outcome.UNKNOWN, completed_ns=0, answer={})
    assert defects(W1, unknown, make_read(9, 2, "t-3"), rows=(make_row(W1), make_row(W2))) == []
    assert defects(
        W1, unknown, make_read(9, 2, "t-3"), make_read(11, 1, "t-1"), rows=(make_row(W1), make_row(W2))
    )


Drawn = tuple[bool, int, int, int]


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 6), st.integers(1, 4), st.integers(0, 3)),
        min_size=1,
        max_size=5,
    )
)
def test_agrees_with_trying_every_order(drawn: list[Drawn]) -> None:
    """With arbitrary times: the fast check finds a defect exactly when no order explains the history."""
    ops: list[Op] = []
    version = 0
    for number, (is_write, start, length, seen) in enumerate(drawn, start=1):
        times = {"invoked_ns": start * SECOND, "completed_ns": (start + length) * SECOND - 1}
        if is_write:
            version += 1
            ops.append(make_write(number, version, **times))
        else:
            ops.append(make_read(number, seen, "", **times))
    names = {int(op.answer["version"]): op.token for op in ops if op.action is Action.WRITE}
    ops = [
        replace(op, answer={**op.answer, "value": names.get(int(op.answer["version"]), "")})
        if op.action is Action.READ
        else op
        for op in ops
    ]
    rows = [make_row(op) for op in ops if op.is_write]
    final = [RegisterRow("k", version, names[version])] if version else []
    found = find_register_defects(ops, rows, final)
    assert bool(found) == (not any(_explains(order) for order in itertools.permutations(ops)))


def _explains(order: tuple[Op, ...]) -> bool:
    """Whether an order keeps real time and is what a single register would have answered."""
    for earlier, later in itertools.combinations(order, 2):
        if later.completed_ns < earlier.invoked_ns:
            return False
    version = 0
    for op in order:
        if op.action is Action.WRITE:
            version += 1
        if op.answer["version"] != version:
            return False
    return True
