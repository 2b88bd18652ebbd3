"""What is at risk: the tape never leaves out a commit that did not reach the other site."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from replication.etcd import KeyValue, Snapshot
from replication.exposure import (
    COUNTS_MOST,
    MARKS_MOST,
    Count,
    Exposure,
    ExposureTape,
    Mark,
    SiteExposures,
    is_exposed,
)
from replication.exposure_keeper import plan_exposures
from replication.grants import EXPOSURES, parse_world
from replication.model import CopyId, Grant, GrantSeen, Mode, Site
from tests.unit.replication.test_decide import ALONE, CLOUD, IDC, MOVING, SYNC, TAKING

LOCAL = CopyId.parse("a-idc-1-cccc")
OWNER = (IDC, 5)
KNOWN = Exposure(
    IDC, 5, 900, 500, "2026-11-22T12:00:00+00:00", 7, 1234, "10:12:", "2026-11-22T12:00:30+00:00"
)


def mark(lsn: int) -> Mark:
    return Mark(lsn, f"{lsn}:{lsn}:", lsn)


def test_exposed_is_whoever_has_no_sync_copy_at_the_other_site():
    local_only = Grant("a", 5, IDC, frozenset({LOCAL}), Mode.SYNC)
    both = Grant("a", 5, IDC, frozenset({LOCAL, CLOUD}), Mode.SYNC)
    assert [is_exposed(grant) for grant in (ALONE, local_only)] == [True, True]
    assert [is_exposed(grant) for grant in (SYNC, both, MOVING, TAKING)] == [False] * 4


def test_the_base_is_the_last_look_whose_end_was_flushed_elsewhere():
    tape = ExposureTape()
    for lsn, flushed in ((100, 0), (200, 150), (300, 299)):
        tape.note(OWNER, mark(lsn), flushed, first=False)
    assert tape.base == mark(200)
    assert tape.count_from() == "200:200:"


def test_nothing_is_known_of_what_was_before_a_restart_until_a_copy_elsewhere_confirms():
    tape = ExposureTape()
    tape.note(OWNER, mark(300), 0, first=False)
    assert (tape.base, tape.count_from(), tape.totals()) == (None, None, None)


def test_a_restarted_agent_goes_on_from_what_it_had_published():
    tape = ExposureTape()
    tape.note(OWNER, mark(950), 0, first=False)
    tape.resume(KNOWN, 42)
    assert tape.base == Mark(500, "10:12:", 42)
    assert tape.count_from() == "10:12:"
    assert tape.totals() == Count(900, "10:12:", 7, 1234)


def test_a_restarted_agent_believes_nothing_published_of_another_epoch_or_copy():
    for foreign in (replace(KNOWN, epoch=4), replace(KNOWN, copy=CLOUD)):
        tape = ExposureTape()
        tape.note(OWNER, mark(950), 0, first=False)
        tape.resume(foreign, 42)
        assert tape.base is None


def test_another_epoch_forgets_everything():
    tape = ExposureTape()
    tape.note(OWNER, mark(100), 100, first=False)
    tape.note((IDC, 7), mark(200), 0, first=False)
    assert tape.base is None


def test_a_count_that_began_elsewhere_is_dropped():
    tape = ExposureTape()
    tape.note(OWNER, mark(100), 100, first=False)
    tape.add("somewhere else", Count(200, "200:200:", 5, 500))
    assert tape.totals() is None


def test_many_counts_and_marks_are_folded_without_losing_a_commit():
    tape = ExposureTape()
    tape.note(OWNER, mark(1), 1, first=False)
    for lsn in range(2, 3 * COUNTS_MOST):
        tape.note(OWNER, mark(lsn), 1, first=False)
        began_at = tape.count_from()
        assert began_at is not None
        tape.add(began_at, Count(lsn, f"{lsn}:{lsn}:", 2, 10))
    total = tape.totals()
    assert total is not None
    assert (total.commits, total.moved_fen) == (2 * (3 * COUNTS_MOST - 2), 10 * (3 * COUNTS_MOST - 2))
    assert len(tape._pending) <= MARKS_MOST
    assert len(tape._counts) <= COUNTS_MOST


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=80))
def test_never_fewer_commits_are_shown_than_the_other_site_lacks(steps: list[tuple[int, int, bool]]):
    """Commits append; the copy elsewhere flushes any part; counts happen now and then."""
    tape, end, flushed, counted = ExposureTape(), 0, 0, 0
    tape.note(OWNER, mark(0), 0, first=True)
    for commits, catch_up, counts in steps:
        end += commits
        flushed = min(end, flushed + catch_up)
        tape.note(OWNER, mark(end), flushed, first=False)
        began_at = tape.count_from()
        assert began_at is not None
        if counts:
            began = int(began_at.split(":")[0])
            tape.add(began_at, Count(end, f"{end}:{end}:", end - began, end - began))
            counted = end
            total = tape.totals()
            assert total is not None
            assert total.commits >= counted - flushed
            assert total.commits <= end


def test_what_is_published_reads_back_and_stands_in_the_world():
    published = SiteExposures(Site.IDC, {"a": KNOWN})
    assert SiteExposures.from_json(published.to_json()) == published
    world = parse_world(Snapshot(9, {EXPOSURES + "idc": KeyValue(published.to_json(), 9)}))
    assert world.exposures == {Site.IDC: {"a": KNOWN}}
    assert json.loads(published.to_json())["cells"]["a"]["copy"] == str(IDC)


def test_figures_of_a_primary_that_is_gone_are_kept_until_its_cell_is_settled_without_it():
    def planned(grant: Grant) -> dict[str, Exposure]:
        return plan_exposures({"a": KNOWN}, {}, {"a": GrantSeen(grant, 77)})

    assert planned(ALONE) == {"a": KNOWN}
    taking = replace(ALONE, epoch=6, mode=Mode.TAKING, candidate=CLOUD)
    assert planned(taking) == {"a": KNOWN}
    assert planned(SYNC) == {}
    assert planned(replace(ALONE, epoch=6, primary=CLOUD)) == {}
    assert planned(replace(ALONE, epoch=6)) == {}
    newer = replace(KNOWN, commits=8)
    assert plan_exposures({"a": KNOWN}, {"a": newer}, {"a": GrantSeen(ALONE, 77)}) == {"a": newer}
