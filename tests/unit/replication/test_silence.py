"""An agent's silence counts only over etcd reads that succeeded."""

from replication.failover.silence import Hearing
from replication.model import Beat, Site

CAP_MS = 500


def _said(count: int, agent: str = "x") -> Beat:
    return Beat(Site.IDC, agent, count)


def _heard_once() -> Hearing:
    hearing = Hearing(1000)
    hearing.read(1100, CAP_MS)
    hearing.hear("key", _said(1))
    return hearing


def test_a_new_beat_ends_the_silence():
    hearing = _heard_once()
    hearing.read(1400, CAP_MS)
    hearing.hear("key", _said(2))
    assert hearing.silent_for_ms("key") == 0


def test_the_same_count_of_another_agent_is_a_new_beat():
    hearing = _heard_once()
    hearing.read(1400, CAP_MS)
    hearing.hear("key", _said(1, "y"))
    assert hearing.silent_for_ms("key") == 0


def test_an_unchanged_beat_adds_the_time_between_reads():
    hearing = _heard_once()
    for now_ms in (1200, 1350):
        hearing.read(now_ms, CAP_MS)
        hearing.hear("key", _said(1))
    assert hearing.silent_for_ms("key") == 250


def test_a_gap_in_the_reads_counts_only_up_to_the_cap():
    hearing = _heard_once()
    hearing.read(61_000, CAP_MS)
    hearing.hear("key", _said(1))
    assert hearing.silent_for_ms("key") == CAP_MS


def test_a_beat_that_vanished_with_its_lease_is_silence():
    hearing = _heard_once()
    hearing.read(1200, CAP_MS)
    hearing.hear("key", None)
    assert hearing.silent_for_ms("key") == 100


def test_a_beat_that_came_back_unchanged_is_silence():
    hearing = _heard_once()
    hearing.read(1200, CAP_MS)
    hearing.hear("key", None)
    hearing.read(1300, CAP_MS)
    hearing.hear("key", _said(1))
    assert hearing.silent_for_ms("key") == 200


def test_a_key_that_was_never_heard_has_been_silent_since_the_first_read():
    assert _heard_once().silent_for_ms("other") == 100
