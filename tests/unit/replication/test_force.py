"""Forced promotion: what speaks against it over the whole small input space, and what it costs."""

import itertools
from dataclasses import replace

import pytest

from replication.exposure import Exposure
from replication.failover.decide import decide
from replication.failover.force import Objection, find_objection
from replication.failover.price import CopyStanding, compute_price
from replication.failover.states import CopyState, ForceAsked, OwnCopy, Seen, Step, Stream, Why
from replication.model import CopyId, Grant, GrantSeen, Mode, Site
from tests.unit.replication.test_decide import ALONE, CLOUD, IDC, LIMITS, MOVING, SYNC, TAKING

LOCAL = CopyId.parse("a-idc-1-cccc")
LOCAL_ONLY = Grant("a", 5, IDC, frozenset({LOCAL}), Mode.SYNC)
TAKEN_BY_LOCAL = replace(LOCAL_ONLY, epoch=6, mode=Mode.TAKING, candidate=LOCAL)
LONG_MS = LIMITS.force_after_ms
ASKED = ForceAsked(77, "duty officer")
KNOWN = Exposure(
    IDC, 5, 900, 500, "2026-11-22T12:00:00+00:00", 7, 1234, "10:12:", "2026-11-22T12:00:30+00:00"
)


def own_standby(**facts: object) -> OwnCopy:
    usual: dict[str, object] = {"timeline": 1, "received_lsn": 600, "stream": Stream.GONE}
    return OwnCopy(CLOUD.place, CLOUD.site, CopyState.STANDBY, CLOUD, **(usual | facts))  # type: ignore[arg-type]


def seen(grant: Grant | None = ALONE, own: OwnCopy | None = None, **facts: object) -> Seen:
    """The cloud copy of a cell at home in idc, whose site has been silent for long."""
    usual: dict[str, object] = {
        "read_ok": True, "silent_for_ms": {Site.IDC: LONG_MS, Site.CLOUD: 0}, "probe_answered": False,
        "force": ASKED,
    }  # fmt: skip
    return Seen(
        "a", Site.IDC, own or own_standby(), grant=GrantSeen(grant, 77) if grant else None, **(usual | facts)
    )  # type: ignore[arg-type]


def test_a_copy_of_a_dead_alone_primary_takes_the_next_epoch_as_asked():
    decision = decide(seen(), LIMITS)
    assert (decision.step, decision.why, decision.revision) == (Step.TAKE, Why.FORCED_BY_OPERATOR, 77)
    taking = decision.next_grant
    assert taking == ALONE.taking(CLOUD, frozenset())


def test_forces_only_when_asked_for_this_very_grant_and_only_past_the_dead():
    """Every combination: whoever is forced was asked for, past a primary that nothing shows alive."""
    forced = 0
    for state, stream, grant, silent, probe, down, read_ok, asked in itertools.product(
        CopyState, Stream, (SYNC, ALONE, TAKING, MOVING, LOCAL_ONLY, TAKEN_BY_LOCAL), (0, 1000, LONG_MS),
        (None, True, False), (frozenset(), frozenset({str(IDC)})), (True, False),
        (None, ASKED, replace(ASKED, revision=76)),
    ):  # fmt: skip
        snapshot = seen(
            grant, own_standby(stream=stream), silent_for_ms={Site.IDC: silent, Site.CLOUD: 0},
            probe_answered=probe, declared_down=down, read_ok=read_ok, force=asked,
        )  # fmt: skip
        snapshot = replace(snapshot, own=replace(snapshot.own, state=state))
        decision = decide(snapshot, LIMITS)
        if decision.why is not Why.FORCED_BY_OPERATOR:
            continue
        forced += 1
        assert decision.step is Step.TAKE
        assert asked is ASKED
        assert read_ok
        assert state is CopyState.STANDBY
        assert stream is not Stream.ALIVE
        assert down or (silent >= LONG_MS and probe is not True)
        assert CLOUD not in grant.sync_set
        assert grant.candidate != CLOUD
        assert decision.next_grant is not None
        assert decision.next_grant.epoch == grant.epoch + 1
    assert forced > 0


@pytest.mark.parametrize(
    ("snapshot", "objection"),
    [
        (seen(), None),
        (seen(read_ok=False), Objection.ETCD_SILENT),
        (seen(confirmed_age_ms=LIMITS.fence_after_ms), Objection.ETCD_SILENT),
        (seen(None), Objection.NO_GRANT),
        (seen(replace(ALONE, primary=CLOUD)), Objection.IS_PRIMARY),
        (seen(TAKING), Objection.IS_PRIMARY),
        (seen(own=own_standby(stream=Stream.ALIVE)), Objection.PRIMARY_VISIBLE),
        (seen(probe_answered=True), Objection.PRIMARY_VISIBLE),
        (seen(silent_for_ms={Site.IDC: 999}), Objection.PRIMARY_VISIBLE),
        (seen(silent_for_ms={Site.IDC: LONG_MS - 1}), Objection.PRIMARY_NOT_SILENT_LONG_ENOUGH),
        (seen(silent_for_ms={Site.IDC: 0}, declared_down=frozenset({str(IDC)})), None),
        (seen(SYNC), Objection.SAFE_TAKE_OVER_POSSIBLE),
        (seen(LOCAL_ONLY), None),
        (
            seen(LOCAL_ONLY, silent_for_ms={Site.IDC: 0}, declared_down=frozenset({str(IDC)})),
            Objection.SAFE_TAKE_OVER_POSSIBLE,
        ),
        (
            seen(TAKEN_BY_LOCAL, silent_for_ms={Site.IDC: 0}, declared_down=frozenset({str(IDC)})),
            Objection.TAKE_OVER_UNDER_WAY,
        ),
        (seen(TAKEN_BY_LOCAL), None),
        (seen(own=own_standby(), force=None), None),
    ],
)
def test_says_what_speaks_against_it(snapshot: Seen, objection: Objection | None):
    assert find_objection(snapshot, LIMITS) is objection


def test_a_stopped_copy_is_not_promoted():
    stopped = replace(own_standby(), state=CopyState.STOPPED)
    assert find_objection(seen(own=stopped), LIMITS) is Objection.NOT_A_STANDBY


def test_the_price_is_what_the_primary_last_published_against_what_this_copy_has():
    price = compute_price(seen(), KNOWN, (), LIMITS)
    assert price is not None
    assert (price.gap_bytes, price.commits, price.moved_fen) == (300, 7, 1234)
    assert (price.objection, price.better) == (None, None)


@pytest.mark.parametrize("known", [None, replace(KNOWN, copy=LOCAL), replace(KNOWN, epoch=4)])
def test_what_is_not_known_is_none_and_never_zero(known: Exposure | None):
    price = compute_price(seen(), known, (), LIMITS)
    assert price is not None
    assert (price.gap_bytes, price.commits, price.moved_fen, price.known_at) == (None, None, None, None)


def test_a_copy_that_is_behind_where_counting_began_lacks_more_than_was_counted():
    price = compute_price(seen(own=own_standby(received_lsn=499)), KNOWN, (), LIMITS)
    assert price is not None
    assert (price.gap_bytes, price.commits, price.moved_fen) == (401, None, None)


def test_while_the_cell_is_being_taken_the_figures_of_the_epoch_before_hold():
    price = compute_price(seen(TAKEN_BY_LOCAL), KNOWN, (), LIMITS)
    assert price is not None
    assert price.commits == 7


def test_a_standby_that_has_more_is_named_and_one_of_an_older_history_is_not():
    better = CopyStanding("a-idc-1", LOCAL, CopyState.STANDBY, 1, 700)
    price = compute_price(seen(), KNOWN, (better,), LIMITS)
    assert price is not None
    assert (price.objection, price.better) == (Objection.BETTER_COPY, "a-idc-1")
    for worse in (
        replace(better, received_lsn=600),
        replace(better, timeline=0),
        replace(better, state=CopyState.STOPPED),
    ):
        price = compute_price(seen(), KNOWN, (worse,), LIMITS)
        assert price is not None
        assert price.objection is None


def test_the_token_changes_with_the_grant_and_with_every_figure_but_not_with_time():
    def token(snapshot: Seen, known: Exposure | None = KNOWN) -> str:
        price = compute_price(snapshot, known, (), LIMITS)
        assert price is not None
        return price.token

    usual = token(seen())
    assert token(seen(silent_for_ms={Site.IDC: 9 * LONG_MS})) == usual
    others = {
        token(replace(seen(), grant=GrantSeen(ALONE, 78))),
        token(seen(replace(ALONE, epoch=6)), replace(KNOWN, epoch=6)),
        token(seen(own=own_standby(received_lsn=601))),
        token(seen(), replace(KNOWN, commits=8)),
        token(seen(), replace(KNOWN, moved_fen=1235)),
        token(seen(), replace(KNOWN, wal_flush_lsn=901)),
        token(seen(), None),
    }
    assert len(others) == 7
    assert usual not in others
