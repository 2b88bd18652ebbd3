"""Bad disks: a stalled primary gives its cell away, a full one warns, and nothing is moved to and fro."""

from dataclasses import replace

import pytest

from replication.failover.decide import decide, plan_down
from replication.failover.states import CopyState, FollowerSeen, Step, Stream, Why
from replication.model import Beat, Site
from tests.unit.replication.test_decide import (
    ALONE,
    CLOUD,
    IDC,
    LIMITS,
    MOVING,
    SYNC,
    TAKING,
    own_copy,
    seen,
    serving,
    standby,
)

STALLED = {"disk_stalled_for_ms": LIMITS.disk_stall_after_ms}
FULL = frozenset({str(IDC), str(CLOUD)})


def test_a_stalled_primary_is_ended_and_declared_down():
    snapshot = seen(serving(**STALLED))
    decision = decide(snapshot, LIMITS)
    assert (decision.step, decision.why) == (Step.STOP_HARD, Why.DISK_STALLED)
    assert plan_down(snapshot, LIMITS, 0) == IDC


def test_a_short_stall_is_borne():
    snapshot = seen(serving(disk_stalled_for_ms=LIMITS.disk_stall_after_ms - 1))
    assert decide(snapshot, LIMITS).why is Why.SERVING
    assert plan_down(snapshot, LIMITS, 0) is None


def test_an_ended_stalled_primary_stays_down_until_nobody_took_it_for_long():
    stopped = own_copy(state=CopyState.STOPPED, was_primary=True, **STALLED)
    assert decide(seen(stopped), LIMITS).why is Why.DISK_STALLED
    assert plan_down(seen(stopped), LIMITS, 0) == IDC
    long_ago = replace(stopped, disk_stalled_for_ms=LIMITS.disk_stall_after_ms + LIMITS.restart_patience_ms)
    assert decide(seen(long_ago), LIMITS).step is Step.START_PRIMARY


@pytest.mark.parametrize("grant", [SYNC, MOVING])
@pytest.mark.parametrize("state", [CopyState.PRIMARY, CopyState.MUTE])
def test_a_stalled_server_is_ended_also_when_mute_or_moving(grant, state):
    assert (
        decide(seen(own_copy(state=state, epoch_marker=5, **STALLED), grant), LIMITS).why is Why.DISK_STALLED
    )


def test_a_stalled_primary_that_nobody_can_take_from_waits_for_its_disk():
    """Alone, or its copy's site is silent, or that site's disk is full: ending it would help nobody."""
    alone = seen(serving(sync_names=frozenset(), followers=(), **STALLED), ALONE)
    silent = seen(serving(**STALLED), silent_for_ms={Site.IDC: 0, Site.CLOUD: LIMITS.silence_ms})
    full = seen(serving(**STALLED), disk_full=frozenset({str(CLOUD)}))
    for snapshot in (alone, silent, full):
        assert decide(snapshot, LIMITS).step is not Step.STOP_HARD
        assert plan_down(snapshot, LIMITS, 0) is None
    assert decide(alone, LIMITS).why is Why.DISK_STALLED


def test_a_candidate_on_a_stalled_disk_is_declared_down():
    promoted = own_copy(CLOUD, **STALLED)
    assert plan_down(seen(promoted, TAKING), LIMITS, 0) == CLOUD
    assert plan_down(seen(own_copy(CLOUD), TAKING), LIMITS, 0) is None


def test_a_primary_whose_disk_fills_moves_to_the_copy_with_room_in_time():
    decision = decide(seen(serving(disk_full=True), disk_full=frozenset({str(IDC)})), LIMITS)
    assert (decision.step, decision.why, decision.copy) == (Step.BEGIN_MOVE, Why.DISK_FULL, CLOUD)
    assert not decision.next_grant.pinned


def test_a_primary_whose_disk_fills_stays_where_moving_does_not_help():
    """The other site is full too, its copy is silent, there is none, or another cell is under way."""
    full = serving(disk_full=True)
    alone = serving(disk_full=True, sync_names=frozenset(), followers=())
    for snapshot in (
        seen(full, disk_full=FULL),
        seen(full, sync_silent_for_ms={CLOUD: LIMITS.silence_ms}),
        seen(alone, ALONE),
        seen(full, other_cell_moving=True),
    ):
        decision = decide(snapshot, LIMITS)
        assert (decision.step, decision.why) == (Step.HOLD, Why.DISK_FULL)


def test_a_server_that_ended_on_a_full_disk_gives_its_cell_to_a_copy_with_room():
    stopped = own_copy(state=CopyState.STOPPED, was_primary=True, disk_full=True)
    snapshot = seen(stopped, disk_full=frozenset({str(IDC)}))
    assert decide(snapshot, LIMITS).why is Why.DISK_FULL
    assert plan_down(snapshot, LIMITS, 0) == IDC


def test_two_full_sites_do_not_pass_a_cell_to_and_fro():
    stopped = own_copy(state=CopyState.STOPPED, was_primary=True, disk_full=True)
    assert decide(seen(stopped, disk_full=FULL), LIMITS).step is Step.START_PRIMARY
    copy = seen(standby(disk_full=True), disk_full=FULL, declared_down=frozenset({str(IDC)}))
    assert decide(copy, LIMITS).why is Why.DISK_FULL
    with_room = replace(copy, own=standby())
    assert decide(with_room, LIMITS).step is Step.TAKE


def test_a_lost_site_is_taken_over_from_on_a_full_disk_too():
    """Reads and small commits still work there; nothing else would."""
    silent = {Site.IDC: LIMITS.silence_ms, Site.CLOUD: 0}
    own = standby(disk_full=True, stream=Stream.GONE)
    assert (
        decide(seen(own, silent_for_ms=silent, disk_full=frozenset({str(CLOUD)})), LIMITS).step is Step.TAKE
    )


def test_a_copy_with_a_full_disk_does_not_join_and_no_cell_moves_to_it():
    full = frozenset({str(CLOUD)})
    alone = serving(sync_names=frozenset(), followers=(FollowerSeen(CLOUD, True, 200),))
    assert decide(seen(alone, ALONE), LIMITS).step is Step.SET_NAMES
    assert decide(seen(alone, ALONE, disk_full=full), LIMITS).why is Why.SERVING
    asked = seen(serving(), move_to=Site.CLOUD, disk_full=full)
    assert decide(asked, LIMITS).why is Why.DISK_FULL
    due = seen(serving(), home_in_sync_for_ms=LIMITS.home_after_ms)
    due = replace(due, home=Site.CLOUD)
    assert decide(due, LIMITS).why is Why.GOING_HOME
    assert decide(replace(due, disk_full=full), LIMITS).why is Why.SERVING


def test_a_server_that_lets_nobody_in_is_ended_and_started_again():
    decision = decide(seen(serving(door_shut_for_ms=LIMITS.disk_stall_after_ms)), LIMITS)
    assert (decision.step, decision.why) == (Step.STOP_HARD, Why.SERVER_MUTE)
    assert plan_down(seen(serving(door_shut_for_ms=LIMITS.disk_stall_after_ms)), LIMITS, 0) is None


def test_a_beat_carries_full_disks_and_one_of_an_older_agent_carries_none():
    beat = Beat(Site.IDC, "x", 1, frozenset({"down"}), frozenset({"full"}))
    assert Beat.from_json(beat.to_json()) == beat
    older = '{"site": "idc", "agent": "x", "count": 1, "down": []}'
    assert Beat.from_json(older).full == frozenset()
