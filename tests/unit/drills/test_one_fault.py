"""What each one-fault drill must keep, on hand-made histories: the good one holds, each bad one is red."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from replication.model import Site
from runbooks.drills.cache_loss import WARM_LIMIT_S, judge_cache_loss
from runbooks.drills.checkers import Finding, Verdict
from runbooks.drills.link_cut import judge_link_cut
from runbooks.drills.peak_load import judge_peak_load
from runbooks.drills.primary_crash import judge_primary_crash
from runbooks.drills.records import GrantNote, History, Mark, Op, Outcome
from runbooks.drills.restore_drill import ARCHIVED_LIMIT_S, judge_restore
from runbooks.drills.site_evacuation import judge_evacuation
from runbooks.drills.site_isolation import judge_isolation
from runbooks.drills.witness_loss import judge_witness_loss
from tests.unit.drills.making import SECOND, make_grant, make_op

HOMES = {"a": "idc", "b": "cloud"}
FAULT_S = 10
END_S = 40


def _ops(cell: str, epoch_from: dict[int, int], gaps: Sequence[tuple[float, float]] = ()) -> list[Op]:
    """One write each 0.5 s; `epoch_from`: an epoch's first second; what is due in a gap ends with it."""
    made = []
    for number in range(2, 2 * END_S):
        at_s = number / 2
        done_s = next((end for begin, end in gaps if begin <= at_s < end), at_s + 0.01)
        epoch = max(epoch for since, epoch in epoch_from.items() if since <= at_s)
        made.append(
            make_op(
                number * 2 + (cell == "b"),
                cell=cell,
                epoch=epoch,
                phase="load",
                scheduled_ns=int(at_s * SECOND),
                invoked_ns=int(at_s * SECOND),
                completed_ns=int(done_s * SECOND),
            )
        )
    return made


def _history(
    ops: Sequence[Op], grants: Sequence[GrantNote], *more: Mark, without: Sequence[str] = ()
) -> History:
    marks = [
        Mark(FAULT_S * SECOND, "fault", "", ""),
        Mark(20 * SECOND, "healed", "", ""),
        Mark(30 * SECOND, "home", "", ""),
        Mark(END_S * SECOND, "load_stop", "", ""),
        *more,
    ]
    kept = tuple(mark for mark in marks if mark.name not in without)
    return History(None, tuple(ops), grants=tuple(grants), marks=kept)


def _red(findings: Sequence[Finding]) -> set[str]:
    return {finding.name for finding in findings if finding.verdict is not Verdict.HOLDS}


BOTH = [*_ops("a", {0: 1}), *_ops("b", {0: 1})]
AT_REST = [make_grant(0, "a", "idc", "cloud"), make_grant(0, "b", "cloud", "idc")]
ALONE = [make_grant(11.2, "a", "idc", mode="ALONE"), make_grant(11.2, "b", "cloud", mode="ALONE")]


def test_a_cut_line_that_leaves_every_cell_alone_at_home_holds() -> None:
    assert _red(judge_link_cut(_history(BOTH, [*AT_REST, *ALONE]), HOMES)) == set()


def test_a_cut_line_after_which_a_copy_was_promoted_is_red() -> None:
    promoted = [make_grant(13, "a", "cloud", epoch=2, mode="ALONE")]
    found = judge_link_cut(_history(BOTH, [*AT_REST, *ALONE, *promoted]), HOMES)
    assert _red(found) == {"nothing_was_promoted"}


def test_a_cut_line_that_no_cell_noticed_is_red() -> None:
    """The cut did nothing: a drill in which nothing broke shows nothing."""
    assert _red(judge_link_cut(_history(BOTH, AT_REST), HOMES)) == {"went_on_alone"}


def test_writes_that_waited_too_long_are_red() -> None:
    slow = [*_ops("a", {0: 1}, [(10.5, 16)]), *_ops("b", {0: 1})]
    assert _red(judge_link_cut(_history(slow, [*AT_REST, *ALONE]), HOMES)) == {"write_pauses_in_limit"}


def test_a_witness_that_dies_unnoticed_holds() -> None:
    assert _red(judge_witness_loss(_history(BOTH, AT_REST), HOMES)) == set()


@pytest.mark.parametrize(
    ("ops", "grants", "red"),
    [
        (BOTH, [make_grant(12, "a", "idc", mode="ALONE")], {"stayed_in_sync"}),
        (BOTH, [make_grant(12, "a", "cloud", "idc", epoch=2)], {"nothing_was_promoted"}),
        ([replace(BOTH[30], outcome=Outcome.FAIL), *BOTH], [], {"no_failed_request"}),
        ([replace(BOTH[30], outcome=Outcome.UNKNOWN), *BOTH], [], {"no_failed_request"}),
        ([*_ops("a", {0: 1}, [(11, 12.5)]), *_ops("b", {0: 1})], [], {"write_pauses_in_limit"}),
    ],
)
def test_a_witness_whose_loss_was_felt_is_red(ops: list[Op], grants: list[GrantNote], red: set[str]) -> None:
    assert _red(judge_witness_loss(_history(ops, [*AT_REST, *grants]), HOMES)) == red


CRASH = partial(judge_primary_crash, cell="a")
TAKEN = [make_grant(11, "a", "cloud", epoch=2, mode="ALONE")]


def test_a_crashed_primary_that_is_back_in_time_holds_in_whichever_epoch() -> None:
    taken = [*_ops("a", {0: 1, 11: 2}, [(10, 11.2)]), *_ops("b", {0: 1})]
    assert _red(CRASH(_history(taken, [*AT_REST, *TAKEN]), HOMES)) == set()
    restarted = [*_ops("a", {0: 1}, [(10, 12)]), *_ops("b", {0: 1})]
    assert _red(CRASH(_history(restarted, AT_REST), HOMES)) == set()


@pytest.mark.parametrize("cell", ["a", "b"])
def test_a_crash_after_which_a_cell_waited_too_long_is_red(cell: str) -> None:
    ops = [op for name in HOMES for op in _ops(name, {0: 1}, [(10, 15.5)] if name == cell else [])]
    assert _red(CRASH(_history(ops, AT_REST), HOMES)) == {"write_pauses_in_limit"}


def test_a_crash_after_which_nothing_was_written_is_red() -> None:
    ops = [*_ops("a", {0: 1}, [(10, END_S)]), *_ops("b", {0: 1})]
    assert _red(CRASH(_history(ops, AT_REST), HOMES)) == {"write_pauses_in_limit"}


def test_a_peak_that_was_felt_only_while_it_lasted_holds() -> None:
    ops = [*_ops("a", {0: 1}, [(11, 24)]), *_ops("b", {0: 1})]
    assert _red(judge_peak_load(_history(ops, AT_REST), HOMES)) == set()


@pytest.mark.parametrize(
    ("ops", "grants", "red"),
    [
        ([*_ops("a", {0: 1}, [(11, 27)]), *_ops("b", {0: 1})], [], {"served_as_before"}),
        ([replace(BOTH[-2], outcome=Outcome.FAIL), *BOTH], [], {"served_as_before"}),
        ([op for op in BOTH if op.scheduled_ns < 25 * SECOND], [], {"served_as_before"}),
        (BOTH, [make_grant(12, "a", "cloud", epoch=2)], {"nothing_was_promoted"}),
    ],
)
def test_a_peak_that_was_felt_later_or_moved_a_cell_is_red(
    ops: list[Op], grants: list[GrantNote], red: set[str]
) -> None:
    assert _red(judge_peak_load(_history(ops, [*AT_REST, *grants]), HOMES)) == red


DARK = Mark(12 * SECOND, "dark", "", "")
EVACUATED = partial(judge_evacuation, site=Site.IDC)


def test_a_site_that_was_empty_when_it_went_dark_holds() -> None:
    away = [make_grant(11, "a", "cloud", "idc", epoch=2)]
    assert _red(EVACUATED(_history(BOTH, [*AT_REST, *away], DARK), HOMES)) == set()


def test_a_site_that_still_had_a_primary_is_red() -> None:
    late = [make_grant(13, "a", "cloud", epoch=2, mode="ALONE")]
    assert _red(EVACUATED(_history(BOTH, [*AT_REST, *late], DARK), HOMES)) == {"site_was_empty"}


def test_a_site_that_never_went_dark_is_red() -> None:
    away = [make_grant(11, "a", "cloud", "idc", epoch=2)]
    assert _red(EVACUATED(_history(BOTH, [*AT_REST, *away]), HOMES)) == {"site_was_empty"}


def _cache(warm_s: float | None) -> History:
    marks = [Mark(18 * SECOND, "restart", "", "")]
    if warm_s is not None:
        marks.append(Mark(int((18 + warm_s) * SECOND), "warm", "", ""))
    return _history(BOTH, AT_REST, *marks)


@pytest.mark.parametrize(
    ("warm_s", "red"),
    [
        (WARM_LIMIT_S - 0.1, set()),
        (WARM_LIMIT_S + 0.1, {"cache_was_warm_in_time"}),
        (None, {"cache_was_warm_in_time"}),
    ],
)
def test_a_lost_cache_has_to_be_warm_in_time(warm_s: float | None, red: set[str]) -> None:
    assert _red(judge_cache_loss(_cache(warm_s), HOMES)) == red


def _restored(lag_s: float, *names: str) -> History:
    marks = [Mark(13 * SECOND, "chosen", "", ""), Mark(int((13 + lag_s) * SECOND), "archived", "", "")]
    return _history(BOTH, AT_REST, *marks, *(Mark(19 * SECOND, name, "", "") for name in names))


@pytest.mark.parametrize(
    ("history", "red"),
    [
        (_restored(1.2, "restored"), set()),
        (_restored(ARCHIVED_LIMIT_S + 0.1, "restored"), {"archive_held_it_in_time"}),
        (_restored(1.2, "not_restored"), {"restore_is_that_second"}),
        (_restored(1.2), {"restore_is_that_second"}),
        (_history(BOTH, AT_REST), {"archive_held_it_in_time", "restore_is_that_second"}),
    ],
)
def test_a_restore_has_to_be_archived_in_time_and_right(history: History, red: set[str]) -> None:
    assert _red(judge_restore(history, HOMES)) == red


def test_an_isolated_site_has_to_be_taken_over_from_in_time() -> None:
    judge = partial(judge_isolation, site=Site.IDC)
    ops = [*_ops("a", {0: 1, 11: 2}, [(10, 11.2)]), *_ops("b", {0: 1})]
    assert _red(judge(_history(ops, [*AT_REST, *TAKEN]), HOMES)) == set()
    assert _red(judge(_history(BOTH, AT_REST), HOMES)) == {"took_over_in_time"}
    other_waited = [*_ops("a", {0: 1, 11: 2}, [(10, 11.2)]), *_ops("b", {0: 1}, [(10, 16)])]
    assert _red(judge(_history(other_waited, [*AT_REST, *TAKEN]), HOMES)) == {"write_pauses_in_limit"}
