"""The journal keeps enough to decide again."""

import json
from pathlib import Path

import pytest

from replication.failover.decide import decide
from replication.failover.states import Decision, Step, Why
from replication.journal import Journal, JournalUnreadable, read_decisions
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


def write_changed(path: Path, change) -> None:
    """Journal one decision and change its line."""
    Journal(path, "a").decision(seen(serving(), SYNC), Decision(Step.HOLD, Why.SERVING, 5))
    entry = json.loads(path.read_text())
    change(entry)
    path.write_text(json.dumps(entry) + "\n")


def test_a_line_of_a_program_without_policies_still_replays(tmp_path: Path):
    path = tmp_path / "a-idc-0.jsonl"

    def forget(entry) -> None:
        for name in (
            "holders",
            "peer_waits_for_ms",
            "promised_for_ms",
            "degrade",
            "degrade_after_ms",
            "without_etcd",
        ):
            del entry["seen"][name]
        del entry["seen"]["grant"]["grant"]["reserved_timeline"]

    write_changed(path, forget)
    assert [s for s, _ in read_decisions(path)] == [seen(serving(), SYNC)]


@pytest.mark.parametrize(
    ("place", "value"),
    [(("decided", "why"), "primary_directory_lost"), (("seen", "degrade"), "maybe"), (("seen", "mood"), 1)],
)
def test_a_line_with_words_this_program_does_not_know_is_refused_by_number(tmp_path: Path, place, value):
    path = tmp_path / "a-idc-0.jsonl"
    write_changed(path, lambda entry: entry[place[0]].update({place[1]: value}))
    with pytest.raises(JournalUnreadable, match=r"line 1: .*version of Biyi"):
        list(read_decisions(path))
