"""A judged drill says what happened in the made drill, and what limits it kept."""

from dataclasses import replace

import pytest

from runbooks.drills.checkers import Verdict, check_all
from runbooks.drills.records import History, Kind, Op, Outcome
from runbooks.drills.rows import CellRows
from runbooks.drills.verdict import SiteLossResult, judge_site_loss, render_site_loss
from tests.unit.drills.made_drill import HOME_S, HOMES, KILL_S, REJOIN_S, RESTART_S, make_history, make_result


@pytest.fixture(scope="module")
def history() -> History:
    return make_history()


@pytest.fixture(scope="module")
def result(history: History) -> SiteLossResult:
    return make_result(history)


def red(result: SiteLossResult) -> set[str]:
    return {finding.name for finding in result.findings if finding.verdict is not Verdict.HOLDS}


def judged(history: History) -> SiteLossResult:
    checks = check_all((), {cell: CellRows(cell, 1) for cell in HOMES}, "t")
    return judge_site_loss(history, checks, HOMES, "idc")


def test_a_good_drill_keeps_every_limit(result: SiteLossResult) -> None:
    assert (result.verdict, red(result)) == (Verdict.HOLDS, set())


def test_only_the_cell_that_lost_its_primary_has_an_rto(result: SiteLossResult) -> None:
    assert result.cells["a"].rto_seconds == pytest.approx(1.6, abs=0.1)
    assert (result.cells["b"].rto_seconds, result.cells["b"].lost_primary) == (None, False)


def test_epochs_before_and_after_are_those_around_the_kill(result: SiteLossResult) -> None:
    assert (result.cells["a"].epoch_before, result.cells["a"].epoch_after) == (1, 2)
    assert (result.cells["b"].epoch_before, result.cells["b"].epoch_after) == (1, 1)


def test_the_surviving_cells_pause_is_its_wait_for_the_degrade(result: SiteLossResult) -> None:
    assert result.cells["b"].pause_seconds == pytest.approx(2.3, abs=0.2)


def test_rejoin_runs_from_the_restart_to_the_last_cell(result: SiteLossResult) -> None:
    assert result.rejoin_seconds == pytest.approx(REJOIN_S - RESTART_S)


def test_never_back_home_is_red(history: History) -> None:
    away = replace(history, grants=tuple(g for g in history.grants if g.at_ns < (HOME_S - 1) * 1e9))
    assert red(judged(away)) == {"went_home"}


def test_never_back_in_sync_is_red(history: History) -> None:
    alone = replace(history, grants=tuple(g for g in history.grants if g.at_ns < RESTART_S * 1e9))
    assert {"rejoined_in_time", "went_home"} <= red(judged(alone))


def test_a_failed_request_of_a_surviving_cell_is_red(history: History) -> None:
    def spoil(op: Op) -> Op:
        hit = op.cell == "b" and op.scheduled_ns > (KILL_S + 1) * 1e9 and op.kind is Kind.BALANCE
        return replace(op, outcome=Outcome.FAIL) if hit else op

    assert red(judged(replace(history, ops=tuple(map(spoil, history.ops))))) == {"survivors_kept_serving"}


def test_a_cell_that_never_wrote_again_is_red(history: History) -> None:
    dead = tuple(op for op in history.ops if op.cell != "a" or op.completed_ns < KILL_S * 1e9)
    assert red(judged(replace(history, ops=dead))) == {"took_over_in_time"}


def test_the_object_for_programs_has_the_promised_keys(history: History, result: SiteLossResult) -> None:
    plain = render_site_loss(result, history, 0)
    promised = {
        "drill", "site", "cells", "requests", "acknowledged", "lost", "unknown", "unknown_unresolved",
        "failed", "trial_balance_fen", "overlapping_epochs", "rejoin_seconds", "failed_back",
    }  # fmt: skip
    assert promised <= plain.keys()
    assert {"rto_seconds", "epoch_before", "epoch_after"} <= plain["cells"]["a"].keys()
