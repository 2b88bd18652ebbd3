"""Where the projector stands, without a server: windows, the ring, what a new epoch asks for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.projection.position import (
    MAX_RUNNING,
    RING_ROWS,
    Applied,
    Floor,
    Look,
    Need,
    Position,
    Ring,
    RingEntry,
    Row,
    count_rows,
    decide_need,
    is_floor_proven,
    plan_apply,
    plan_begin,
    plan_roll_back,
    trim_ring,
)

POSITION = Position("g", 3, 100, 100, 0, 40, 0, Floor(90, 92), "", False)


def a_look(epoch: int = 3, xmin: int = 120, rows: tuple[Row, ...] = ()) -> Look:
    return Look(epoch, xmin, xmin + 2, False, "2026-01-01T00:00:00+00:00", rows)


def rows(*numbers: int, xid: int = 110) -> tuple[Row, ...]:
    return tuple(Row(number, xid, "t", f"k{number}", {}, "2026-01-01T00:00:00+00:00") for number in numbers)


def entry(first: int, count: int, *, closed: bool = True) -> RingEntry:
    held = tuple(Applied(n, n, "", f"k{n}", "") for n in range(first, first + count))
    return RingEntry(first + count, first + count, closed, held)


def test_a_position_and_a_ring_entry_survive_being_written():
    assert Position.from_json(POSITION.to_json()) == POSITION
    assert RingEntry.from_json(entry(5, 3).to_json()) == entry(5, 3)


@pytest.mark.parametrize(
    ("position", "look", "need"),
    [
        (None, a_look(), Need.BEGIN),
        (POSITION, a_look(), Need.APPLY),
        (POSITION, a_look(epoch=4), Need.RECHECK),
        (POSITION, a_look(epoch=2), Need.WAIT),
        (POSITION, a_look(xmin=99), Need.WAIT),
        (replace(POSITION, upto=125), a_look(), Need.WAIT),
        (replace(POSITION, upto=115), a_look(), Need.APPLY),
    ],
)
def test_what_a_look_asks_for(position: Position | None, look: Look, need: Need):
    assert decide_need(position, look) is need


def test_a_page_that_is_not_full_ends_its_window():
    after = plan_apply(POSITION, (), a_look(rows=rows(7, 8)), 3, {}).position
    assert (after.below, after.upto, after.applied) == (120, 120, 42)


def test_a_full_page_leaves_its_window_open_and_the_bound_where_it_was():
    after = plan_apply(POSITION, (), a_look(rows=rows(7, 8)), 2, {}).position
    assert (after.below, after.upto, after.after) == (100, 120, 8)
    later = plan_apply(after, (), a_look(xmin=300, rows=rows(9)), 2, {}).position
    assert (later.below, later.applied) == (120, 43)


def test_the_age_is_not_taken_from_a_look_later_than_the_windows_bound():
    opened = replace(POSITION, upto=115)
    assert plan_apply(opened, (), a_look(rows=rows(7)), 2, {}).position.as_of == ""


def test_a_reading_anew_has_a_floor_only_when_it_is_through():
    begun = plan_begin(a_look(), "new", 3)
    half = plan_apply(begun, (), a_look(rows=rows(1, 2)), 2, {})
    assert (half.position.floor, half.entry, half.position.total) == (None, None, 3)
    through = plan_apply(half.position, half.ring, a_look(xmin=140, rows=rows(3)), 2, {})
    assert (through.position.floor, through.position.total) == (Floor(120, 142), 0)


@given(st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=30))
def test_a_ring_keeps_enough_rows_and_its_floor_is_the_end_of_a_whole_window(
    sizes: list[tuple[int, bool]],
):
    floor: Floor | None = Floor(1, 1)
    ring: Ring = ()
    first = 1
    for size, closed in sizes:
        if floor is None:
            if closed:
                floor = Floor(first + size, first + size)
        else:
            floor, ring = trim_ring(floor, (*ring, entry(first, size, closed=closed)))
        first += size
        assert count_rows(ring) < RING_ROWS + 400
        assert floor is not None or ring == ()
        if ring and floor is not None:
            assert floor.upto == ring[0].rows[0].xid  # nothing is missing between floor and ring


def test_a_floor_is_proven_by_more_transactions_than_can_be_between_commit_and_end():
    ring = (entry(1000, 3 * MAX_RUNNING),)
    enough = frozenset(range(1000, 1000 + MAX_RUNNING + 1))
    assert is_floor_proven(Floor(1000, 1000), ring, enough)
    assert not is_floor_proven(Floor(1000, 1000), ring, enough - {1000})
    assert not is_floor_proven(Floor(1000, 1001), ring, enough), "a transaction before xmax proves nothing"
    assert not is_floor_proven(None, ring, enough)


def test_rows_of_one_transaction_prove_as_much_as_one():
    same = RingEntry(9, 9, True, tuple(Applied(n, 5, "", "k", "") for n in range(3 * MAX_RUNNING)))
    assert not is_floor_proven(Floor(1, 1), (same,), frozenset(range(3 * MAX_RUNNING)))


def test_rolling_back_counts_the_rings_rows_as_not_applied():
    back = plan_roll_back(POSITION, (entry(90, 7),), a_look(epoch=5))
    assert (back.epoch, back.below, back.upto, back.applied) == (5, 90, 90, 33)
    with pytest.raises(ValueError, match="without a floor"):
        plan_roll_back(replace(POSITION, floor=None), (), a_look(epoch=5))
