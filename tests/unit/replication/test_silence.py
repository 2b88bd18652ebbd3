"""A site's silence counts only over etcd reads that succeeded."""

from replication.failover.silence import Silence


def test_a_changed_beat_ends_the_silence():
    silence = Silence("x/1", 900, 1000).after_read("x/2", 1100, 500)
    assert silence == Silence("x/2", 0, 1100)


def test_an_unchanged_beat_adds_the_time_between_reads():
    assert Silence("x/1", 100, 1000).after_read("x/1", 1100, 500).silent_for_ms == 200


def test_a_gap_in_the_reads_counts_only_up_to_the_cap():
    assert Silence("x/1", 0, 1000).after_read("x/1", 61_000, 500).silent_for_ms == 500


def test_a_beat_that_vanished_with_its_lease_is_silence():
    assert Silence("x/1", 900, 1000).after_read(None, 1100, 500) == Silence("x/1", 1000, 1100)
