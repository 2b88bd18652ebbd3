"""What was written to a history file is what is read back, also after a crash of the writer."""

from pathlib import Path

import pytest

from runbooks.drills.history import HistoryWriter, read_history
from runbooks.drills.records import GrantNote, Header, Invoke, Kind, Mark, Outcome, Resolution
from tests.unit.drills.making import make_op


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def test_reads_back_every_kind_of_record(path: Path) -> None:
    header = Header("site-loss", "idc", 7, 40.0, "t", "2026-11-22T00:00:00+00:00", 1)
    grant = GrantNote(5, "a", 2, "SYNC", "a-cloud-0-x", ("a-idc-0-y",))
    mark = Mark(3, "kill", "kill idc")
    writer = HistoryWriter(path)
    for record in (header, make_op(1), grant, mark):
        writer.write(record)
    writer.close()
    history = read_history(path)
    assert (history.header, history.ops, history.grants, history.marks) == (
        header,
        (make_op(1),),
        (grant,),
        (mark,),
    )


def test_each_line_is_on_its_way_before_the_next_thing_happens(path: Path) -> None:
    writer = HistoryWriter(path)
    writer.write(make_op(1))
    assert read_history(path).ops == (make_op(1),)
    writer.close()


def test_an_operation_whose_end_was_never_written_is_unknown(path: Path) -> None:
    writer = HistoryWriter(path)
    writer.write(Invoke(1, Kind.REPAYMENT, "t-1", "idc", "a", 10, 10, 100, "L1"))
    writer.close()
    (op,) = read_history(path).ops
    assert (op.key, op.outcome) == ("t-1", Outcome.UNKNOWN)


def test_leaves_out_a_torn_last_line(path: Path) -> None:
    writer = HistoryWriter(path)
    writer.write(make_op(1))
    writer.close()
    with path.open("a") as file:
        file.write('{"type":"op","op_')
    assert len(read_history(path).ops) == 1


def test_refuses_a_file_torn_in_the_middle(path: Path) -> None:
    path.write_text('{"type":\n{"type":"mark","at_ns":1,"name":"kill"}\n')
    with pytest.raises(ValueError, match=r"history\.jsonl:1"):
        read_history(path)


def test_resolving_settles_an_unknown_at_the_time_it_was_resolved(path: Path) -> None:
    writer = HistoryWriter(path)
    unknown = make_op(1, outcome=Outcome.UNKNOWN, epoch=0, answer={})
    writer.write(unknown)
    writer.write(Resolution(1, Outcome.OK, 99, "a", 3, 201, True, {"balance_fen": 5}))
    writer.close()
    (op,) = read_history(path).settled()
    assert (op.outcome, op.epoch, op.answer, op.completed_ns) == (
        Outcome.OK,
        3,
        {"balance_fen": 5},
        99,
    )


def test_resolving_cannot_change_what_was_already_known(path: Path) -> None:
    writer = HistoryWriter(path)
    writer.write(make_op(1))
    writer.write(Resolution(1, Outcome.FAIL, 99))
    writer.close()
    assert read_history(path).settled()[0].outcome is Outcome.OK
