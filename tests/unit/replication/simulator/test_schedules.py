"""The simulator finds nothing in the loop as it is, finds every broken rule, and repeats itself exactly."""

import subprocess
import sys

import pytest

from replication.failover.states import Step, Why
from replication.model import DATA_SITES, other_data_site
from replication.settings import CellSettings
from replication.simulator.faults import Fault, Kind
from replication.simulator.links import Line
from replication.simulator.mutations import MUTATIONS
from replication.simulator.report import compute_failure, run_seeds
from replication.simulator.schedule import Ran, Schedule, run_schedule
from replication.simulator.shape import Agents
from tests.unit.replication.simulator.directed import BY_COPY, directed_faults, directed_shape

SCHEDULES = 250
MOST_TRIES = 400


def first_broken(name: str) -> Ran | None:
    """Return the first schedule in which the mutation is found."""
    for seed in range(MOST_TRIES):
        faults = directed_faults(name, Schedule(seed).home)
        shape = directed_shape(name)
        ran = run_schedule(seed, faults=faults, break_rule=MUTATIONS[name].apply, **shape)
        if ran.found is not None:
            return ran
    return None


def test_no_rule_breaks_in_the_first_schedules_and_every_step_is_reached():
    tally = run_seeds(range(SCHEDULES), None)
    assert tally.failures == []
    assert tally.acknowledged > 10 * SCHEDULES
    assert (Step.TAKE, Why.FORCED_BY_OPERATOR) in tally.decisions
    assert set(tally.missing_steps()) <= {Step.ABANDON_MOVE}
    assert {"SYNC->TAKING", "TAKING->ALONE", "ALONE->SYNC", "ALONE->TAKING"}.isdisjoint(
        tally.missing_transitions()
    )


@pytest.mark.parametrize("name", MUTATIONS)
def test_finds_the_broken_rule(name: str):
    ran = first_broken(name)
    assert ran is not None
    assert ran.found is not None
    assert ran.found.rule in MUTATIONS[name].rules


@pytest.mark.parametrize("name", [n for n in MUTATIONS if directed_faults(n, "idc") is not None])
def test_directed_faults_break_nothing_by_themselves(name: str):
    for seed in range(40):
        faults = directed_faults(name, Schedule(seed).home)
        assert run_schedule(seed, faults=faults, **directed_shape(name)).found is None


def test_a_move_whose_target_falls_silent_is_abandoned():
    reached = set()
    for seed in range(90):
        home = Schedule(seed).home
        faults = (
            Fault(600, Kind.SPLIT, home, f"a-{home}-0", 1500, Line.HOLE),
            Fault(1140 + seed, Kind.MOVE, other_data_site(home), f"a-{home}-0", 400),
        )
        ran = run_schedule(seed, faults=faults)
        assert ran.found is None
        reached |= ran.coverage.decisions
    assert (Step.ABANDON_MOVE, Why.MOVE_TARGET_SILENT) in reached


def test_a_seed_replays_to_the_same_trace():
    for seed in (0, 7, 42):
        first, again = run_schedule(seed, trace=True), run_schedule(seed, trace=True)
        assert first.trace
        assert first == again


def test_a_seed_replays_to_the_same_trace_in_another_process():
    """Sets of strings have another order in each process; nothing may depend on it."""
    code = (
        "from replication.simulator.schedule import run_schedule\n"
        "for seed in range(60): print(run_schedule(seed, trace=True).trace)"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": salt}, capture_output=True, check=True
        ).stdout
        for salt in ("1", "2", "3")
    }
    assert len(runs) == 1
    assert len(runs.pop()) > 10_000


def test_a_trace_does_not_depend_on_being_written():
    assert run_schedule(7, trace=True).virtual_ms == run_schedule(7).virtual_ms


def test_a_failure_is_shrunk_to_faults_that_still_break_the_same_rule():
    name = "promote-alone"
    ran = next(r for s in range(100) if (r := run_schedule(s, break_rule=MUTATIONS[name].apply)).found)
    failure = compute_failure(ran, name)
    kept = [fault for fault in ran.faults if str(fault) in failure.faults]
    assert len(kept) == len(failure.faults) <= len(ran.faults)
    again = run_schedule(ran.seed, faults=tuple(kept), break_rule=MUTATIONS[name].apply)
    assert again.found is not None
    assert again.found.rule == failure.rule


def test_a_primary_that_lost_etcd_is_kept_by_its_peer_which_then_keeps_its_promise():
    """The quorum is lost; then the primary's site dies while the peer is bound by its promise."""
    reached = set()
    for seed in range(60):
        home = Schedule(seed).home
        faults = (
            Fault(400, Kind.QUORUM_LOSS, home, f"a-{home}-0", 1100),
            Fault(1480 + seed, Kind.SITE_CRASH, home, f"a-{home}-0", 900),
        )
        cell = CellSettings("a", home, without_etcd="peer")
        ran = run_schedule(seed, faults=faults, cell=cell, copies=2)
        assert ran.found is None
        reached |= {why for _, why in ran.coverage.decisions}
    assert {Why.KEPT_BY_PEER, Why.PROMISED_TO_WAIT, Why.PRIMARY_SITE_SILENT} <= reached


def test_a_stand_in_is_promoted_when_the_server_is_lost_after_the_other_site():
    reached = set()
    for seed in range(40):
        home = Schedule(seed).home
        faults = (
            Fault(300, Kind.SITE_CRASH, other_data_site(home), f"a-{home}-0", 2400),
            Fault(1300, Kind.DISK_LOSS, home, f"a-{home}-0", 60),
        )
        ran = run_schedule(seed, faults=faults, cell=CellSettings("a", home), copies=3)
        assert ran.found is None
        reached |= ran.coverage.decisions
    assert {(Step.LEAVE, Why.SYNC_SITE_SILENT), (Step.TAKE, Why.PRIMARY_DECLARED_DOWN)} <= reached


def test_a_cell_that_never_writes_alone_waits_and_is_whole_again():
    reached = set()
    for seed in range(40):
        home = Schedule(seed).home
        cell = CellSettings("a", home, degrade="block")
        faults = (Fault(300, Kind.SITE_CRASH, home, f"a-{home}-0", 1500),)
        ran = run_schedule(seed, faults=faults, cell=cell, copies=2)
        assert ran.found is None
        reached |= ran.coverage.decisions
        assert ("SYNC", "ALONE") not in ran.coverage.transitions
    assert {(Step.FINISH_SHUT, Why.CANDIDATE), (Step.HOLD, Why.BLOCKED_WITHOUT_COPY)} <= reached


@pytest.mark.parametrize("kind", [Kind.POD_LOSS, Kind.AGENT_CRASH, Kind.AGENT_PAUSE])
@pytest.mark.parametrize("copies", [2, 3])
def test_a_copy_whose_own_agent_is_dead_is_taken_over_although_its_site_beats(kind: Kind, copies: int):
    for seed in range(20):
        home = Schedule(seed).home
        faults = (Fault(600, kind, home, f"a-{home}-0", 2500, number=seed),)
        ran = run_schedule(seed, faults=faults, agents=BY_COPY, copies=copies, cell=CellSettings("a", home))
        assert ran.found is None
        assert (Step.TAKE, Why.PRIMARY_AGENT_SILENT) in ran.coverage.decisions
        assert not any(why is Why.PRIMARY_SITE_SILENT for _, why in ran.coverage.decisions)


@pytest.mark.parametrize("kind", [Kind.POD_LOSS, Kind.AGENT_CRASH, Kind.AGENT_PAUSE])
def test_a_dead_neighbour_changes_no_grant(kind: Kind):
    for seed in range(20):
        home = Schedule(seed).home
        faults = tuple(Fault(600 + n, kind, site, f"n-{site}-0", 2500) for n, site in enumerate(DATA_SITES))
        ran = run_schedule(seed, faults=faults, agents=BY_COPY, copies=2, cell=CellSettings("a", home))
        assert ran.found is None
        changed = ran.coverage.transitions - {("none", "ALONE"), ("ALONE", "SYNC")}
        assert changed == set()


@pytest.mark.parametrize("old", [False, True])
def test_one_agent_a_site_and_one_a_copy_look_after_a_cell_together(old: bool):
    for seed in range(60):
        home = Schedule(seed).home
        for site in DATA_SITES:
            agents = Agents(frozenset({site}), frozenset({other_data_site(site)}) if old else frozenset())
            faults = (Fault(600, Kind.SITE_CRASH, home, f"a-{home}-0", 1500),)
            cell = CellSettings("a", home)
            ran = run_schedule(seed, faults=faults, agents=agents, cell=cell, copies=2)
            assert ran.found is None
            assert (Step.TAKE, Why.PRIMARY_SITE_SILENT) in ran.coverage.decisions
