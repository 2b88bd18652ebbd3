"""The journal keeps enough to decide again."""

from pathlib import Path

from replication.failover.decide import decide
from replication.failover.states import Decision, Step, Why
from replication.journal import Journal, read_decisions
from replication.settings import FailoverSettings
from tests.unit.replication.test_decide import SYNC, at_cloud, seen, serving, standby


def test_a_journalled_incident_replays_through_decide(tmp_path: Path):
    path = tmp_path / "a-idc-0.jsonl"
    journal = Journal(path, "a")
    snapshots = [at_cloud(), seen(standby(), SYNC), seen(serving(open=False), SYNC)]
    for snapshot in snapshots:
        journal.decision(snapshot, decide(snapshot, FailoverSettings()))
    replayed = list(read_decisions(path))
    assert [s for s, _ in replayed] == snapshots
    assert all(decide(s, FailoverSettings()) == d for s, d in replayed)


def test_holding_on_for_the_same_reason_is_written_once(tmp_path: Path):
    journal = Journal(tmp_path / "a-idc-0.jsonl", "a")
    for _ in range(3):
        journal.decision(seen(serving(), SYNC), Decision(Step.HOLD, Why.SERVING, 5))
    assert len(list(read_decisions(tmp_path / "a-idc-0.jsonl"))) == 1


def test_a_torn_last_line_is_passed_over(tmp_path: Path):
    path = tmp_path / "a-idc-0.jsonl"
    journal = Journal(path, "a")
    journal.decision(seen(serving(), SYNC), Decision(Step.HOLD, Why.SERVING, 5))
    with path.open("a") as file:
        file.write('{"seen": {"ce')
    assert len(list(read_decisions(path))) == 1
