"""What an archive says it covers, across streams and changes of timeline."""

from datetime import UTC, datetime, timedelta

from replication.backup.coverage import Coverage, Progress
from replication.backup.plan import Ancestor

T0 = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
ONE = (Ancestor(1, 0, None),)
FORKED_AT_500 = (Ancestor(1, 0, 500), Ancestor(2, 500, None))
FORKED_AT_300 = (Ancestor(1, 0, 300), Ancestor(2, 300, None))


def second(n: float) -> datetime:
    return T0 + timedelta(seconds=n)


def said(coverage: Coverage) -> tuple[int, int, datetime | None]:
    progress = coverage.progress(T0)
    return progress.timeline, progress.archived_lsn, progress.covered_until


def covered_to_400() -> Coverage:
    coverage = Coverage("7")
    coverage.follow(ONE, 1)
    coverage.see(second(1), 400)
    assert coverage.settle(450)
    return coverage


def test_an_instant_is_covered_once_its_wal_is_on_disk() -> None:
    coverage = Coverage("7")
    coverage.follow(ONE, 1)
    coverage.see(second(1), 400)
    assert not coverage.settle(399)
    assert coverage.progress(second(9)) == Progress(1, 399, 400, None, second(9))
    assert coverage.settle(400)
    assert said(coverage) == (1, 400, second(1))


def test_looks_that_wait_for_the_disk_are_all_kept() -> None:
    coverage = Coverage("7")
    coverage.follow(ONE, 1)
    for n in range(1, 4):
        coverage.see(second(n), 100 * n)
    coverage.settle(250)
    assert said(coverage) == (1, 250, second(2))
    coverage.settle(300)
    assert said(coverage) == (1, 300, second(3))


def test_a_server_that_does_not_know_covers_nothing() -> None:
    coverage = covered_to_400()
    coverage.see(None, 900)
    assert not coverage.settle(900)
    coverage.see(second(5), None)
    assert not coverage.settle(900)
    assert said(coverage) == (1, 900, second(1))


def test_a_new_stream_of_the_timeline_takes_nothing_back() -> None:
    """Its begun segment is streamed anew; what holds more stays meanwhile."""
    coverage = covered_to_400()
    coverage.follow(ONE, 1)
    coverage.settle(0)
    assert said(coverage) == (1, 450, second(1))


def test_a_take_over_keeps_what_the_new_history_holds() -> None:
    """It is said of the old timeline until the new one's files hold as much: that one can be restored."""
    coverage = covered_to_400()
    coverage.see(second(2), 480)
    coverage.follow(FORKED_AT_500, 2)
    coverage.settle(256)
    assert said(coverage) == (1, 450, second(1))
    coverage.settle(420)
    assert said(coverage) == (2, 420, second(1))
    coverage.settle(500)
    assert said(coverage) == (2, 500, second(2))


def test_the_rest_of_an_old_timeline_counts() -> None:
    coverage = covered_to_400()
    coverage.see(second(2), 480)
    coverage.follow(FORKED_AT_500, 1)
    coverage.see(second(3), 900)
    coverage.settle(500)
    assert said(coverage) == (1, 500, second(2))
    coverage.follow(FORKED_AT_500, 2)
    coverage.settle(900)
    assert said(coverage) == (2, 900, second(3))


def test_what_the_new_history_lacks_is_covered_no_more() -> None:
    """An old primary's commits that nobody else had: after its rewind no archive may promise them."""
    coverage = covered_to_400()
    coverage.see(second(2), 480)
    coverage.follow(FORKED_AT_300, 2)
    assert said(coverage) == (2, 0, None)
    assert not coverage.settle(1000)
    assert said(coverage) == (2, 1000, None)


def test_it_is_covered_no_more_from_the_first_look_at_the_fork() -> None:
    """The rest of the old timeline comes first: what was said of it goes there already."""
    coverage = covered_to_400()
    coverage.follow(FORKED_AT_300, 1)
    assert said(coverage) == (1, 0, None)


def test_an_archive_far_behind_keeps_a_bounded_number_of_looks() -> None:
    coverage = Coverage("7")
    coverage.follow(ONE, 1)
    for n in range(1000):
        coverage.see(second(n), n + 1)
    coverage.settle(1000)
    assert said(coverage) == (1, 1000, second(63))
    coverage.see(second(1001), 1000)
    coverage.settle(1000)
    assert said(coverage) == (1, 1000, second(1001))
