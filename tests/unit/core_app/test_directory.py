"""Where slots are: the record everyone follows, and what may not be asked of it."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.directory import CHUNKS, BadDirectory, Directory, Moving, Phase, deal, read_directory
from core_app.moving.checks import MoveRefused, check_day, check_move, read_chunks
from core_app.moving.copying import RowsDiffer, Sums, require_equal
from core_app.moving.statements import DayOf
from core_app.moving.tables import CELL_TABLES, COMMANDS, MOVED, bounds, where
from core_app.read_models.loan_summary import map_row, summary_key
from core_app.slots import CHUNK_SLOTS, SLOTS, Home, cell_of_slot, chunk_of_slot, join_homes
from replication.projection.position import Change, Row

CELLS = ("a", "b", "c", "d")
CELL = st.sampled_from(CELLS)
MOVES = st.lists(st.tuples(st.integers(1, CHUNKS - 1), CELL), max_size=20)


def follow(moves: list[tuple[int, str]]) -> Directory:
    directory = deal(CELLS)
    for chunk, target in moves:
        source = directory.cell_of_chunk(chunk)
        epoch = directory.epochs.get(chunk, 0) + 1
        moving = Moving(chunk, source, target, epoch, Phase.COPYING, "me", "now")
        directory = directory.begin(moving)
        assert directory.cell_of_chunk(chunk) == source  # until it has arrived
        directory = directory.arrive(moving).end()
    return directory


@given(MOVES)
def test_every_slot_is_in_one_cell_whatever_moved(moves: list[tuple[int, str]]) -> None:
    directory = follow(moves)
    owned = {cell: directory.chunks_of_cell(cell) for cell in CELLS}
    assert sorted(chunk for chunks in owned.values() for chunk in chunks) == list(range(CHUNKS))
    last = dict(moves)
    for slot in range(SLOTS):
        chunk = chunk_of_slot(slot)
        assert directory.cell_of_slot(slot) == last.get(chunk, cell_of_slot(slot, CELLS))
        assert chunk in owned[directory.cell_of_slot(slot)]


@given(MOVES)
def test_the_record_reads_back_as_it_was_written(moves: list[tuple[int, str]]) -> None:
    directory = follow(moves)
    assert read_directory(directory.to_json(), ("x",)) == directory
    moving = Moving(9, "a", "b", 3, Phase.ARRIVED, "me", "now")
    assert read_directory(directory.begin(moving).to_json(), ()).moving == moving


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"dealt": [], "moved": 1, "epochs": {}, "moving": null}'])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(BadDirectory, match="/biyi/slots"):
        read_directory(text, CELLS)


def test_a_new_cell_is_dealt_nothing_once_a_record_stands() -> None:
    directory = read_directory(follow([(5, "b")]).to_json(), (*CELLS, "e"))
    assert directory.chunks_of_cell("e") == ()


def test_several_homes_are_one_only_where_each_is_known() -> None:
    joined = join_homes([Home("a", [7]), Home("a", [3, 7])])
    assert isinstance(joined, Home)
    assert (joined, joined.chunks) == ("a", (3, 7))
    assert not isinstance(join_homes([Home("a", [7]), "a"]), Home)


@given(st.sets(st.integers(1, CHUNKS - 1), min_size=1, max_size=5))
def test_slots_move_in_whole_chunks(chunks: set[int]) -> None:
    slots = [chunk * CHUNK_SLOTS + n for chunk in chunks for n in range(CHUNK_SLOTS)]
    assert read_chunks(slots) == tuple(sorted(chunks))
    with pytest.raises(MoveRefused, match=f"name {slots[0]} too"):
        read_chunks(slots[1:])


def test_what_the_directory_forbids() -> None:
    directory, moving = deal(CELLS), Moving(9, "a", "b", 1, Phase.COPYING, "me", "now")
    check_move(directory, CELLS, 1, "b")
    for chunk, target, now in ((0, "b", directory), (1, "e", directory), (256, "b", directory)):
        with pytest.raises(MoveRefused):
            check_move(now, CELLS, chunk, target)
    with pytest.raises(MoveRefused, match="biyi slot abort"):
        check_move(directory.begin(moving), CELLS, 1, "b")
    with pytest.raises(MoveRefused, match="whole chunks"):
        check_move(deal(("a", "b", "c")), CELLS, 1, "b")


def test_days_have_to_be_one_and_open() -> None:
    moving, day = Moving(9, "a", "b", 1, Phase.COPYING, "me", "now"), dt.date(2026, 1, 15)
    check_day(moving, DayOf(day, None, begun=False), DayOf(day, None, begun=False))
    check_day(moving, DayOf(None, None, begun=False), DayOf(None, None, begun=False))
    for ours, theirs in (
        (DayOf(day, None, begun=False), DayOf(None, None, begun=False)),
        (DayOf(day, None, begun=True), DayOf(day, None, begun=False)),
        (DayOf(day, None, begun=False), DayOf(day, None, begun=True)),
    ):
        with pytest.raises(MoveRefused):
            check_day(moving, ours, theirs)


def test_equal_counts_of_other_rows_are_no_equal_rows() -> None:
    one = Sums({"core.loans": (3, "aa")})
    require_equal(one, Sums({"core.loans": (3, "aa")}))
    with pytest.raises(RowsDiffer, match=r"core\.loans"):
        require_equal(one, Sums({"core.loans": (3, "ab")}))
    assert one.digest() != Sums({"core.loans": (3, "ab")}).digest()
    assert one.join(Sums({"core.loans": (2, "cc")})).tables == {"core.loans": (5, "aacc")}


def test_each_table_is_named_once_and_finds_rows_by_the_chunk() -> None:
    names = [moved.name for moved in MOVED]
    assert len(set(names)) == len(names)
    assert CELL_TABLES.isdisjoint(names)
    texts = {name: f"<{value}>" for name, value in bounds(5).items()}
    for moved in MOVED:
        found = where(moved, texts, 7, 9)
        assert "<" in found
        assert ("> 7" in found and "<= 9" in found) is (moved.numbered is not None)
    assert "o.outbox_id > 7" in where(COMMANDS, texts, 7, 9)


def test_a_loan_that_moved_is_taken_out_of_the_cache_of_the_cell_it_left() -> None:
    row = Row(7, 9, "loan.moved", "L004-00", {"to": "b"}, "2026-01-15T00:00:00+00:00")
    assert map_row(row) == Change(summary_key("L004-00"), None)
