"""What a cell does in doubt: stand-ins for a lost sync copy, never writing alone, going on without etcd."""

import itertools
from dataclasses import replace

import pytest

from replication.failover.decide import decide
from replication.failover.states import CopyState, FollowerSeen, OwnCopy, Seen, Step, Stream, Why
from replication.model import CopyId, Grant, Mode, Site
from tests.unit.replication.test_decide import (
    ALONE,
    CLOUD,
    IDC,
    LIMITS,
    SYNC,
    TAKING,
    own_copy,
    seen,
    serving,
    standby,
)

BESIDE = CopyId.parse("a-idc-1-cccc")
BOTH = Grant("a", 5, IDC, frozenset({CLOUD, BESIDE}), Mode.SYNC)
STAND_IN = Grant("a", 5, IDC, frozenset({BESIDE}), Mode.SYNC)
SITE_SILENT = {"silent_for_ms": {Site.IDC: 0, Site.CLOUD: 1000}}


def three(*names: CopyId, lost: CopyId | None = None, **facts: object) -> OwnCopy:
    """The primary at idc with a copy at cloud and one beside it, of which one may be gone."""
    followers = tuple(FollowerSeen(c, True, 200) for c in (CLOUD, BESIDE) if c is not lost)
    return serving(sync_names=frozenset(names), followers=followers, **facts)


def cloud_lost(own: OwnCopy, grant: Grant, silent_ms: int, **facts: object) -> Seen:
    return seen(own, grant, sync_silent_for_ms={CLOUD: silent_ms, BESIDE: 0}, **facts)


def test_the_copy_beside_the_primary_stays_out_while_the_one_far_away_is_fit():
    assert decide(seen(three(CLOUD)), LIMITS).why is Why.SERVING
    joined = decide(seen(three(), ALONE), LIMITS)
    assert (joined.step, joined.copy) == (Step.SET_NAMES, CLOUD)


def test_the_copy_beside_comes_in_before_the_silent_one_leaves_so_nobody_is_alone():
    named = decide(cloud_lost(three(CLOUD, lost=CLOUD), SYNC, 1000, **SITE_SILENT), LIMITS)
    assert (named.step, named.names) == (Step.SET_NAMES, {CLOUD, BESIDE})
    granted = decide(cloud_lost(three(CLOUD, BESIDE, lost=CLOUD), SYNC, 1000, **SITE_SILENT), LIMITS)
    assert (granted.step, granted.next_grant) == (Step.JOIN, BOTH)
    left = decide(cloud_lost(three(CLOUD, BESIDE, lost=CLOUD), BOTH, 1000, **SITE_SILENT), LIMITS)
    assert (left.step, left.next_grant, left.names) == (Step.LEAVE, STAND_IN, {BESIDE})


def test_a_stand_in_that_does_not_get_in_holds_nobody_up_for_longer_than_degrade_after():
    late = decide(cloud_lost(three(CLOUD, lost=CLOUD), SYNC, 2500, **SITE_SILENT), LIMITS)
    assert (late.step, late.next_grant.mode) == (Step.LEAVE, Mode.ALONE)


def test_a_silent_site_is_left_at_once_when_nobody_can_stand_in():
    lagging = replace(three(CLOUD, lost=CLOUD), wal_flush_lsn=10**9)
    for own in (serving(), lagging):
        left = decide(cloud_lost(own, SYNC, 1000, **SITE_SILENT), LIMITS)
        assert (left.step, left.next_grant.mode) == (Step.LEAVE, Mode.ALONE)


def test_the_stand_in_leaves_once_the_copy_far_away_is_in_again():
    back = decide(seen(three(BESIDE), STAND_IN), LIMITS)
    assert (back.step, back.copy) == (Step.SET_NAMES, CLOUD)
    left = decide(seen(three(CLOUD, BESIDE), BOTH), LIMITS)
    assert (left.why, left.next_grant, left.names) == (Why.BETTER_COPY_IN_SYNC, SYNC, {CLOUD})
    unneeded = decide(seen(three(CLOUD, BESIDE), SYNC), LIMITS)
    assert (unneeded.step, unneeded.next_grant, unneeded.names) == (Step.LEAVE, SYNC, {CLOUD})


def test_the_loss_of_the_primarys_server_promotes_the_stand_in():
    beside = own_copy(BESIDE, CopyState.STANDBY, upstream="a-idc-0", stream=Stream.GONE)
    taken = decide(seen(beside, STAND_IN, declared_down=frozenset({str(IDC)})), LIMITS)
    assert (taken.why, taken.next_grant.candidate) == (Why.PRIMARY_DECLARED_DOWN, BESIDE)


def test_the_loss_of_the_site_promotes_nobody_outside_the_sync_set():
    dead = {"silent_for_ms": {Site.IDC: 60_000}, "probe_answered": False}
    decision = decide(seen(standby(stream=Stream.GONE), STAND_IN, **dead), LIMITS)
    assert (decision.step, decision.why) == (Step.HOLD, Why.NOT_IN_SYNC_SET)


def test_a_cell_in_sync_with_a_stand_in_at_home_does_not_move_to_it():
    assert (
        decide(seen(three(BESIDE, lost=CLOUD), STAND_IN, home_in_sync_for_ms=60_000), LIMITS).why
        is Why.SERVING
    )


def every_snapshot_of_a_blocked_primary() -> list[Seen]:
    """A primary that never writes alone, in every state of its copies."""
    return [
        seen(
            serving(open=is_open, sync_names=grant.sync_set | named, followers=followers),
            grant, degrade="block", sync_silent_for_ms={CLOUD: silent, BESIDE: silent},
            silent_for_ms={Site.IDC: 0, Site.CLOUD: site_silent},
        )
        for is_open, grant, named, followers, silent, site_silent in itertools.product(
            (True, False), (SYNC, ALONE, BOTH, STAND_IN), (frozenset(), frozenset({BESIDE})),
            ((), (FollowerSeen(CLOUD, True, 200),), three().followers),
            (0, 1000, 60_000), (0, 60_000),
        )
    ]  # fmt: skip


def test_a_cell_that_never_writes_alone_neither_opens_nor_gets_alone():
    for snapshot in every_snapshot_of_a_blocked_primary():
        decision, grant = decide(snapshot, LIMITS), snapshot.grant.grant
        if decision.step is Step.OPEN:
            assert grant.sync_set
        if decision.step is Step.LEAVE:
            assert decision.next_grant.sync_set or not grant.sync_set
            assert decision.names >= decision.next_grant.sync_set


def test_a_cell_that_never_writes_alone_says_why_it_waits_and_takes_a_copy_in_while_shut():
    alone = seen(serving(open=False, followers=(), sync_names=frozenset()), ALONE, degrade="block")
    assert decide(alone, LIMITS).why is Why.BLOCKED_WITHOUT_COPY
    assert decide(replace(alone, degrade="after"), LIMITS).step is Step.OPEN
    silent = seen(serving(), sync_silent_for_ms={CLOUD: 60_000}, degrade="block")
    assert decide(silent, LIMITS).why is Why.BLOCKED_WITHOUT_COPY
    copy = FollowerSeen(CLOUD, True, 200)
    joining = seen(serving(open=False, followers=(copy,), sync_names=frozenset()), ALONE, degrade="block")
    assert decide(joining, LIMITS).step is Step.SET_NAMES


def test_a_candidate_of_a_cell_that_never_writes_alone_stays_shut():
    promoted = seen(own_copy(CLOUD, timeline=3), TAKING)
    assert decide(promoted, LIMITS).step is Step.FINISH_TAKING
    assert decide(replace(promoted, degrade="block"), LIMITS).step is Step.FINISH_SHUT


def test_a_cells_own_patience_replaces_the_sites():
    snapshot = seen(serving(), sync_silent_for_ms={CLOUD: 1500})
    assert decide(snapshot, LIMITS).why is Why.SERVING
    assert decide(replace(snapshot, degrade_after_ms=1500), LIMITS).why is Why.SYNC_SET_SILENT


def without_etcd(**facts: object) -> Seen:
    """A primary past its fence whose sync copy acknowledges and whose peer has promised to wait."""
    usual: dict[str, object] = {
        "read_ok": False, "confirmed_age_ms": 60_000, "without_etcd": "peer", "peer_waits_for_ms": 1,
        "sync_silent_for_ms": {CLOUD: 2499},
    }  # fmt: skip
    return seen(**({"own": serving()} | usual | facts))  # type: ignore[arg-type]


def test_a_primary_without_etcd_goes_on_while_its_copies_and_its_peer_agree():
    assert decide(without_etcd(), LIMITS).why is Why.KEPT_BY_PEER


@pytest.mark.parametrize(
    "facts",
    [
        {"without_etcd": "stop"},
        {"peer_waits_for_ms": 0},
        {"sync_silent_for_ms": {CLOUD: 2500}},
        {"own": serving(followers=())},
        {"own": serving(followers=(FollowerSeen(CLOUD, False, 200),))},
        {"own": serving(sync_names=frozenset())},
        {"own": replace(serving(), state=CopyState.MUTE)},
        {"grant": ALONE},
        {"grant": TAKING},
        {"grant": replace(SYNC, mode=Mode.MOVING, candidate=CLOUD)},
        {"grant": None},
    ],
    ids=str,
)
def test_a_primary_without_etcd_stops_when_one_of_them_does_not(facts: dict[str, object]):
    assert decide(without_etcd(**facts), LIMITS).why is Why.GRANT_UNCONFIRMED


def test_an_agent_that_promised_to_wait_takes_nothing_over_until_then():
    dead = seen(standby(stream=Stream.GONE), silent_for_ms={Site.IDC: 60_000}, probe_answered=False)
    assert decide(replace(dead, promised_for_ms=1), LIMITS).why is Why.PROMISED_TO_WAIT
    assert decide(dead, LIMITS).step is Step.TAKE
