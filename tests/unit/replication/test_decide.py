"""The failover decision: safety over the whole small input space, then each move as a sentence."""

import itertools
from dataclasses import replace

import pytest

from replication.failover.decide import decide, plan_down
from replication.failover.states import CopyState, FollowerSeen, OwnCopy, Seen, Step, Stream, Why
from replication.model import CopyId, Grant, GrantSeen, Mode, Site
from replication.settings import FailoverSettings

LIMITS = FailoverSettings()
IDC = CopyId.parse("a-idc-0-aaaa")
CLOUD = CopyId.parse("a-cloud-0-bbbb")
SYNC = Grant("a", 5, IDC, frozenset({CLOUD}), Mode.SYNC)
ALONE = Grant("a", 5, IDC, frozenset(), Mode.ALONE)
TAKING = replace(SYNC, epoch=6, mode=Mode.TAKING, candidate=CLOUD)
MOVING = replace(SYNC, mode=Mode.MOVING, candidate=CLOUD)
GRANTS = (SYNC, ALONE, TAKING, MOVING)


def own_copy(copy: CopyId = IDC, state: CopyState = CopyState.PRIMARY, **facts: object) -> OwnCopy:
    return OwnCopy(copy.place, copy.site, state, copy, **facts)  # type: ignore[arg-type]


def serving(**facts: object) -> OwnCopy:
    """The healthy primary at idc with its sync copy streaming."""
    usual: dict[str, object] = {
        "open": True, "epoch_marker": 5, "barrier_lsn": 100, "wal_flush_lsn": 200,
        "sync_names": frozenset({CLOUD}), "followers": (FollowerSeen(CLOUD, True, 200),),
    }  # fmt: skip
    return own_copy(**(usual | facts))  # type: ignore[arg-type]


def standby(**facts: object) -> OwnCopy:
    """The sync copy at cloud, streaming."""
    return own_copy(CLOUD, CopyState.STANDBY, **({"upstream": "a-idc-0", "stream": Stream.ALIVE} | facts))


def seen(own: OwnCopy, grant: Grant | None = SYNC, **facts: object) -> Seen:
    usual: dict[str, object] = {"read_ok": True, "silent_for_ms": {Site.IDC: 0, Site.CLOUD: 0}}
    grant_seen = GrantSeen(grant, 77) if grant else None
    return Seen("a", Site.IDC, own, grant=grant_seen, **(usual | facts))  # type: ignore[arg-type]


def every_snapshot_of_the_cloud_copy() -> list[Seen]:
    """All combinations of what the take-over rule looks at."""
    return [
        seen(
            own_copy(CLOUD, state, stream=stream, upstream="a-idc-0", epoch_marker=5),
            grant,
            silent_for_ms={Site.IDC: silent, Site.CLOUD: 0},
            probe_answered=probe,
            declared_down=down,
            read_ok=read_ok,
        )
        for state, stream, grant, silent, probe, down, read_ok in itertools.product(
            CopyState, Stream, GRANTS, (0, 999, 1000), (None, True, False),
            (frozenset(), frozenset({str(IDC)})), (True, False),
        )
    ]  # fmt: skip


def test_takes_over_only_from_the_sync_set_and_on_two_signs_of_death():
    for snapshot in every_snapshot_of_the_cloud_copy():
        decision = decide(snapshot, LIMITS)
        if decision.step is not Step.TAKE:
            continue
        grant = snapshot.grant.grant
        assert snapshot.read_ok
        assert snapshot.own.copy in grant.sync_set
        assert grant.mode in (Mode.SYNC, Mode.MOVING)
        declared = str(IDC) in snapshot.declared_down
        silent = snapshot.silent_for_ms[Site.IDC] >= LIMITS.silence_ms
        second = snapshot.own.stream is not Stream.ALIVE or snapshot.probe_answered is False
        assert declared or (silent and second)
        assert decision.next_grant.epoch == grant.epoch + 1
        assert decision.revision == 77


def test_every_taking_grant_keeps_the_primary_and_names_the_taker():
    takes = [d for s in every_snapshot_of_the_cloud_copy() if (d := decide(s, LIMITS)).step is Step.TAKE]
    assert takes
    for decision in takes:
        assert decision.next_grant.primary == IDC
        assert decision.next_grant.candidate == CLOUD
        assert decision.next_grant.sync_set == frozenset({CLOUD})


def test_promotes_only_as_the_candidate_of_the_current_grant():
    for snapshot in every_snapshot_of_the_cloud_copy():
        if decide(snapshot, LIMITS).step is Step.PROMOTE:
            grant = snapshot.grant.grant
            assert grant.mode is Mode.TAKING
            assert grant.candidate == CLOUD


def test_alone_is_never_promoted_however_dead_the_primary_looks():
    snapshot = seen(
        standby(stream=Stream.GONE), ALONE, silent_for_ms={Site.IDC: 60_000}, probe_answered=False
    )
    assert decide(snapshot, LIMITS).why is Why.ALONE_NEVER_PROMOTES


@pytest.mark.parametrize("grant", [ALONE, replace(SYNC, sync_set=frozenset({CopyId.parse("a-idc-1-cccc")}))])
def test_a_stopped_copy_of_a_dead_primary_is_started_although_it_may_not_take_over(grant: Grant):
    """A rewind stops the copy first and fails when the primary's site is lost meanwhile."""
    snapshot = seen(
        own_copy(CLOUD, CopyState.STOPPED), grant, silent_for_ms={Site.IDC: 60_000}, probe_answered=False
    )
    decision = decide(snapshot, LIMITS)
    assert (decision.step, decision.copy) == (Step.START_STANDBY, IDC)


def test_an_etcd_hiccup_with_a_living_stream_moves_nothing():
    snapshot = seen(standby(), silent_for_ms={Site.IDC: 5000}, probe_answered=True)
    assert decide(snapshot, LIMITS).why is Why.SILENT_BUT_STREAM_ALIVE


def test_the_old_primary_stops_when_it_sees_another_candidate():
    assert decide(seen(serving(), TAKING), LIMITS).step is Step.STOP_HARD


def test_the_old_primary_stops_when_another_copy_was_granted():
    granted = Grant("a", 6, CLOUD, frozenset(), Mode.ALONE)
    assert decide(seen(serving(), granted), LIMITS).why is Why.SUPERSEDED


def test_a_recloned_directory_is_not_the_copy_that_was_granted():
    stranger = CopyId.parse("a-idc-0-ffff")
    assert decide(seen(own_copy(stranger)), LIMITS).step is Step.STOP_HARD


@pytest.mark.parametrize(("age_ms", "step"), [(3999, Step.HOLD), (4000, Step.STOP_HARD)])
def test_a_primary_that_cannot_confirm_its_grant_fences_itself(age_ms: int, step: Step):
    assert decide(seen(serving(), read_ok=False, confirmed_age_ms=age_ms), LIMITS).step is step


def test_a_standby_without_etcd_holds_still():
    snapshot = seen(standby(), read_ok=False, confirmed_age_ms=60_000)
    assert decide(snapshot, LIMITS) == decide(replace(snapshot, probe_answered=False), LIMITS)
    assert decide(snapshot, LIMITS).step is Step.HOLD


def test_a_restarted_primary_opens_only_when_the_sync_set_has_the_end_of_its_wal():
    behind = serving(open=False, followers=(FollowerSeen(CLOUD, True, 99),))
    level = serving(open=False, followers=(FollowerSeen(CLOUD, True, 100),))
    assert decide(seen(behind), LIMITS).why is Why.WAITING_FOR_SYNC_SET
    assert decide(seen(level), LIMITS).step is Step.OPEN


def test_a_primary_opens_only_under_the_epoch_written_in_its_database():
    assert decide(seen(serving(open=False, epoch_marker=4)), LIMITS).step is Step.MARK_EPOCH


def test_leaving_takes_the_copy_out_of_the_grant_before_its_name_goes():
    decision = decide(seen(serving(), sync_silent_for_ms={CLOUD: 2500}), LIMITS)
    assert decision.step is Step.LEAVE
    assert decision.next_grant.mode is Mode.ALONE
    assert decision.names == frozenset()


def test_a_copy_of_a_silent_site_is_left_sooner_than_one_behind_a_cut_link():
    silent_copy = seen(serving(), sync_silent_for_ms={CLOUD: 1000})
    silent_site = replace(silent_copy, silent_for_ms={Site.CLOUD: 1000})
    assert decide(silent_copy, LIMITS).why is Why.SERVING
    assert decide(silent_site, LIMITS).why is Why.SYNC_SITE_SILENT
    beating_copy = replace(silent_site, sync_silent_for_ms={CLOUD: 999})
    assert decide(beating_copy, LIMITS).why is Why.SERVING


def test_a_silent_name_goes_only_with_a_swap_even_when_the_grant_leaves_it_out_already():
    decision = decide(seen(serving(), ALONE, sync_silent_for_ms={CLOUD: 2500}), LIMITS)
    assert decision.step is Step.LEAVE
    assert decision.next_grant == ALONE


def test_a_copy_is_named_before_it_is_granted():
    unnamed = serving(sync_names=frozenset())
    assert decide(seen(unnamed, ALONE), LIMITS).step is Step.SET_NAMES
    decision = decide(seen(serving(), ALONE), LIMITS)
    assert decision.step is Step.JOIN
    assert decision.next_grant.sync_set == frozenset({CLOUD})


def test_a_copy_that_lags_does_not_join():
    lagging = serving(sync_names=frozenset(), wal_flush_lsn=10**9)
    assert decide(seen(lagging, ALONE), LIMITS).why is Why.SERVING


def test_a_copy_that_just_fell_silent_is_not_taken_back_though_it_looks_connected():
    unnamed = seen(serving(sync_names=frozenset()), ALONE)
    assert decide(replace(unnamed, sync_silent_for_ms={CLOUD: 1000}), LIMITS).why is Why.SERVING
    assert decide(replace(unnamed, silent_for_ms={Site.CLOUD: 1000}), LIMITS).why is Why.SERVING


def test_sync_set_stays_inside_the_names_postgresql_waits_for():
    decision = decide(seen(serving(sync_names=frozenset())), LIMITS)
    assert decision.step is Step.SET_NAMES
    assert decision.names >= SYNC.sync_set


def at_cloud(**facts: object) -> Seen:
    """The cell was taken over by cloud; its home copy streams again."""
    grant = Grant("a", 6, CLOUD, frozenset({IDC}), Mode.SYNC)
    own = own_copy(
        CLOUD, open=True, epoch_marker=6, barrier_lsn=1, wal_flush_lsn=200,
        sync_names=frozenset({IDC}), followers=(FollowerSeen(IDC, True, 200),),
    )  # fmt: skip
    return replace(seen(own, grant, home_in_sync_for_ms=8000), **facts)


def test_a_cell_goes_home_by_itself_once_home_has_been_in_the_sync_set():
    assert decide(at_cloud(), LIMITS).why is Why.GOING_HOME
    assert decide(at_cloud(home_in_sync_for_ms=7999), LIMITS).why is Why.SERVING


@pytest.mark.parametrize("reason", ["hold", "other_cell_moving"])
def test_going_home_waits_for_the_operator_and_for_other_cells(reason: str):
    assert decide(at_cloud(**{reason: True}), LIMITS).why is Why.SERVING


def test_a_cell_moved_away_by_the_operator_stays_there():
    pinned = replace(at_cloud().grant.grant, pinned=True)
    assert decide(at_cloud(grant=GrantSeen(pinned, 1)), LIMITS).why is Why.SERVING
    moved = decide(seen(serving(), move_to=Site.CLOUD), LIMITS)
    assert (moved.why, moved.next_grant.pinned) == (Why.OPERATOR_ASKED, True)


def test_a_move_to_a_copy_outside_the_sync_set_is_refused():
    snapshot = seen(serving(followers=()), ALONE, move_to=Site.CLOUD)
    assert decide(snapshot, LIMITS).why is Why.MOVE_TARGET_NOT_IN_SYNC


def test_a_move_hands_over_only_after_a_clean_stop():
    clean = own_copy(IDC, CopyState.STOPPED, was_primary=True, clean=True)
    crashed = replace(clean, clean=False)
    assert decide(seen(serving(), MOVING), LIMITS).step is Step.DRAIN_AND_STOP
    handed = decide(seen(clean, MOVING), LIMITS)
    assert (handed.step, handed.next_grant.epoch, handed.next_grant.mode) == (Step.HAND_OVER, 6, Mode.TAKING)
    assert decide(seen(crashed, MOVING), LIMITS).step is Step.START_PRIMARY


def test_a_move_towards_a_silent_copy_is_abandoned():
    decision = decide(seen(serving(), MOVING, sync_silent_for_ms={CLOUD: 2500}), LIMITS)
    assert decision.step is Step.ABANDON_MOVE
    assert decision.next_grant == SYNC


def test_the_old_primary_takes_back_from_a_failed_candidate_and_leaves_it_out():
    stopped = own_copy(IDC, CopyState.STOPPED, was_primary=True)
    dead = {"silent_for_ms": {Site.CLOUD: 1000}, "probe_answered": False}
    decision = decide(seen(stopped, TAKING, **dead), LIMITS)
    assert (decision.step, decision.why) == (Step.TAKE, Why.CANDIDATE_FAILED)
    assert decision.next_grant.epoch == 7
    assert CLOUD not in decision.next_grant.sync_set
    assert decide(seen(stopped, TAKING), LIMITS).why is Why.OTHER_CANDIDATE


def test_a_candidate_finishes_alone_and_opens_under_its_own_epoch():
    promoted = own_copy(CLOUD, timeline=3)
    decision = decide(seen(promoted, TAKING), LIMITS)
    assert decision.step is Step.FINISH_TAKING
    assert (decision.next_grant.primary, decision.next_grant.sync_set) == (CLOUD, frozenset())


def test_a_grant_that_vanished_is_never_made_up_again():
    snapshot = seen(own_copy(epoch_marker=5), None)
    assert decide(snapshot, LIMITS).why is Why.GRANT_LOST


def test_without_etcd_a_promoted_copy_that_falls_mute_is_ended_whatever_grant_it_last_read():
    mute = own_copy(CLOUD, CopyState.MUTE, was_primary=True)
    blind = seen(mute, TAKING, read_ok=False, confirmed_age_ms=LIMITS.fence_after_ms)
    assert (decide(blind, LIMITS).step, decide(blind, LIMITS).why) == (Step.STOP_HARD, Why.GRANT_UNCONFIRMED)
    standby_yet = replace(blind, own=own_copy(CLOUD, CopyState.MUTE))
    assert decide(standby_yet, LIMITS).step is Step.HOLD


def test_only_the_home_place_bootstraps_a_cell():
    nothing = OwnCopy("a-idc-0", Site.IDC, CopyState.ABSENT)
    away = OwnCopy("a-cloud-0", Site.CLOUD, CopyState.ABSENT)
    assert decide(seen(nothing, None, holders=frozenset()), LIMITS).step is Step.INITIALISE
    assert decide(seen(away, None, holders=frozenset()), LIMITS).step is Step.HOLD


@pytest.mark.parametrize("own", [OwnCopy("a-idc-0", Site.IDC, CopyState.ABSENT), own_copy()])
def test_a_cell_is_made_anew_only_where_nobody_is_known_to_hold_data_of_it(own: OwnCopy):
    mine, others = frozenset({"a-idc-0"}), frozenset({"a-idc-0", "a-cloud-0"})
    assert decide(seen(own, None, holders=mine), LIMITS).why is Why.BOOTSTRAP
    assert decide(seen(own, None, holders=others), LIMITS).why is Why.GRANT_LOST
    assert decide(seen(own, None, holders=None), LIMITS).why is Why.EMPTINESS_NOT_PROVEN


@pytest.mark.parametrize("state", CopyState)
def test_a_cell_that_once_had_a_grant_is_never_made_anew(state: CopyState):
    """Though all its data be gone, or its first primary's first marker not written yet."""
    own = OwnCopy("a-idc-0", Site.IDC, state, IDC, was_primary=True)
    for holders in (None, frozenset(), frozenset({"a-idc-0"})):
        decision = decide(seen(own, None, holders=holders, born=True), LIMITS)
        assert (decision.step, decision.why) == (Step.HOLD, Why.GRANT_LOST)


def test_a_directory_in_the_sync_set_is_never_rewound():
    stuck = standby(stream=Stream.GONE, stuck_for_ms=60_000)
    assert decide(seen(stuck), LIMITS).step is Step.HOLD
    assert decide(seen(stuck, ALONE), LIMITS).step is Step.REWIND


def test_a_former_primary_rejoins_and_a_broken_directory_is_cloned():
    granted = Grant("a", 6, CLOUD, frozenset(), Mode.ALONE)
    stopped = own_copy(IDC, CopyState.STOPPED, was_primary=True)
    assert decide(seen(stopped, granted), LIMITS).step is Step.REJOIN
    broken = OwnCopy("a-idc-0", Site.IDC, CopyState.BROKEN)
    assert decide(seen(broken, granted), LIMITS).step is Step.CLONE


def test_a_primary_whose_directory_is_lost_is_declared_down_at_once():
    lost = OwnCopy("a-idc-0", Site.IDC, CopyState.ABSENT)
    assert plan_down(seen(lost), LIMITS, 0) == IDC
    assert plan_down(seen(own_copy(state=CopyState.STOPPED)), LIMITS, 7999) is None
    assert plan_down(seen(own_copy(state=CopyState.STOPPED)), LIMITS, 8000) == IDC


def test_every_snapshot_gets_a_decision():
    for state, grant, read_ok in itertools.product(CopyState, (*GRANTS, None), (True, False)):
        for copy in (IDC, CLOUD):
            decide(seen(own_copy(copy, state), grant, read_ok=read_ok), LIMITS)


def test_decides_nothing_on_a_look_older_than_the_fence():
    for snapshot in every_snapshot_of_the_cloud_copy():
        old = replace(snapshot, confirmed_age_ms=LIMITS.fence_after_ms)
        assert decide(old, LIMITS).step in ((Step.HOLD,) if old.read_ok else (Step.HOLD, Step.STOP_HARD))


def test_stops_a_superseded_server_that_does_not_answer_its_agent():
    newer = replace(SYNC, epoch=6, primary=CLOUD, sync_set=frozenset({CopyId.parse("a-idc-0-cccc")}))
    mute = own_copy(IDC, CopyState.MUTE, was_primary=True)
    decision = decide(seen(mute, newer), LIMITS)
    assert (decision.step, decision.why) == (Step.STOP_HARD, Why.SUPERSEDED)


def test_waits_for_a_standby_that_starts():
    mute = own_copy(CLOUD, CopyState.MUTE)
    assert decide(seen(mute), LIMITS).why is Why.SERVER_STARTING
