"""One copy's next step from one snapshot. Pure, total, and every answer carries its reason.

Safety rests on compare-and-swap and on what PostgreSQL waits for, never on a clock: a wrong or late
`silent_for_ms` can cost an unneeded failover, not a commit. Doubt never promotes.
"""

from dataclasses import replace

from replication.failover.force import is_forced
from replication.failover.silence import agent_answered
from replication.failover.states import (
    CopyState,
    Decision,
    Seen,
    Step,
    Stream,
    Why,
)
from replication.failover.sync_set import (
    decide_join,
    decide_leave,
    degrade_after_ms,
    is_blocked,
    is_silent,
    is_site_silent,
)
from replication.model import CopyId, Grant, Mode, Site, other_data_site
from replication.settings import FailoverSettings


def decide(seen: Seen, limits: FailoverSettings) -> Decision:
    """Choose this copy's one next step."""
    own = seen.own
    if not seen.read_ok:
        return _without_etcd(seen, limits)
    if seen.confirmed_age_ms >= limits.fence_after_ms:
        # The look is older than a grant may be unconfirmed (this process stood still): the next one decides.
        return Decision(Step.HOLD, Why.GRANT_UNCONFIRMED, seen.grant.grant.epoch if seen.grant else 0)
    if seen.grant is None:
        return _without_grant(seen)
    grant, revision = seen.grant.grant, seen.grant.revision
    if own.copy is not None and own.copy == grant.primary:
        decision = _as_primary(seen, grant, limits)
    else:
        decision = _as_other(seen, grant, limits)
    return Decision(
        decision.step, decision.why, grant.epoch, revision, decision.next_grant, decision.names, decision.copy
    )


def plan_down(seen: Seen, limits: FailoverSettings, stopped_for_ms: int) -> CopyId | None:
    """Return the copy that this agent must declare down: granted here, and not to be got running."""
    if seen.grant is None:
        return None
    grant, own = seen.grant.grant, seen.own
    holder = grant.candidate if grant.mode is Mode.TAKING and grant.candidate else grant.primary
    if holder.place != own.place:
        return None
    lost = own.copy != holder or own.state in (CopyState.ABSENT, CopyState.BROKEN)
    if lost or stopped_for_ms >= limits.restart_patience_ms or _unfit_disk(seen, grant, limits):
        return holder
    return None


def _without_etcd(seen: Seen, limits: FailoverSettings) -> Decision:
    epoch = seen.grant.grant.epoch if seen.grant else 0
    running = seen.own.state in (CopyState.PRIMARY, CopyState.MUTE)
    if not running or _was_standby(seen) or seen.confirmed_age_ms < limits.fence_after_ms:
        return Decision(Step.HOLD, Why.ETCD_SILENT, epoch)
    if seen.without_etcd == "peer" and _kept_by_peer(seen, limits):
        return Decision(Step.HOLD, Why.KEPT_BY_PEER, epoch)
    return Decision(Step.STOP_HARD, Why.GRANT_UNCONFIRMED, epoch)


def _kept_by_peer(seen: Seen, limits: FailoverSettings) -> bool:
    """The sync copies acknowledge, and the other copies' agents, without etcd too, have promised to wait.

    No commit depends on that: who is promoted against the promise takes its acknowledgement away (I4).
    """
    own, grant = seen.own, seen.grant.grant if seen.grant else None
    if grant is None or grant.mode is not Mode.SYNC or own.copy != grant.primary:
        return False
    streaming = {f.copy for f in own.followers if f.streaming}
    late = {c for c, ms in seen.sync_silent_for_ms.items() if ms >= degrade_after_ms(seen, limits)}
    heard = own.state is CopyState.PRIMARY and grant.sync_set <= own.sync_names & streaming - late
    return heard and seen.peer_waits_for_ms > 0


def _was_standby(seen: Seen) -> bool:
    """A mute server that is still a standby on disk cannot acknowledge anything.

    The last known grant does not tell: it may be the one before the own promotion.
    """
    own, grant = seen.own, seen.grant
    named = grant is None or own.copy == grant.grant.primary
    return own.state is CopyState.MUTE and not own.was_primary and not named


def _without_grant(seen: Seen) -> Decision:
    own = seen.own
    if seen.born:
        return Decision(Step.HOLD, Why.GRANT_LOST)
    if own.site is not seen.home or not own.place.endswith("-0"):
        return Decision(Step.HOLD, Why.NO_GRANT_YET)
    match own.state:
        case CopyState.ABSENT:
            return _unless_data_elsewhere(seen, Decision(Step.INITIALISE, Why.BOOTSTRAP))
        case CopyState.STOPPED if own.was_primary:
            return Decision(Step.START_PRIMARY, Why.BOOTSTRAP)
        case CopyState.PRIMARY if own.epoch_marker is None and own.copy is not None:
            first = Grant(seen.cell, 1, own.copy, frozenset(), Mode.ALONE, timeline=own.timeline)
            return _unless_data_elsewhere(seen, Decision(Step.CREATE_GRANT, Why.BOOTSTRAP, 1, 0, first))
        case CopyState.PRIMARY | CopyState.STANDBY | CopyState.STOPPED:
            # Data of an earlier life without a grant: only people can say who was primary.
            return Decision(Step.HOLD, Why.GRANT_LOST)
    return Decision(Step.HOLD, Why.SERVER_STARTING)


def _unless_data_elsewhere(seen: Seen, decision: Decision) -> Decision:
    """A cell is new only if nobody holds data of it: a lost grant with a lost directory looks like one."""
    if seen.holders is None:
        return Decision(Step.HOLD, Why.EMPTINESS_NOT_PROVEN)
    return decision if seen.holders <= {seen.own.place} else Decision(Step.HOLD, Why.GRANT_LOST)


def _as_primary(seen: Seen, grant: Grant, limits: FailoverSettings) -> Decision:
    own = seen.own
    if grant.mode is Mode.TAKING:
        return _as_primary_while_taken(seen, grant, limits)
    unfit = _unfit_disk(seen, grant, limits)
    match own.state:
        case CopyState.STOPPED if grant.mode is Mode.MOVING and own.clean and grant.candidate:
            given = grant.taking(grant.candidate, grant.sync_set, pinned=grant.pinned)
            return Decision(Step.HAND_OVER, Why.MOVING, next_grant=given, copy=grant.candidate)
        case CopyState.STOPPED if unfit:
            return Decision(Step.HOLD, unfit)
        case CopyState.STOPPED:
            return Decision(Step.START_PRIMARY, Why.GRANTED)
        case CopyState.PRIMARY | CopyState.MUTE if unfit:
            return Decision(Step.STOP_HARD, unfit)
        case CopyState.PRIMARY if own.door_shut_for_ms >= limits.disk_stall_after_ms:
            return Decision(Step.STOP_HARD, Why.SERVER_MUTE)
        case CopyState.MUTE if own.mute_for_ms >= limits.restart_patience_ms:
            return Decision(Step.STOP_HARD, Why.SERVER_MUTE)
        case CopyState.PRIMARY if own.epoch_marker != grant.epoch:
            return Decision(Step.MARK_EPOCH, Why.EPOCH_NOT_MARKED)
        case CopyState.PRIMARY if grant.mode is Mode.MOVING:
            return _move(seen, grant, limits)
        case CopyState.PRIMARY:
            return _serve(seen, grant, limits)
    # A lost or broken directory has no copy id; a granted copy that is a standby was never promoted.
    return Decision(Step.HOLD, Why.SERVER_STARTING)


def _unfit_disk(seen: Seen, grant: Grant, limits: FailoverSettings) -> Why | None:
    """Say why the holder's disk makes it give the cell away; None while it can serve or nobody else could.

    A stalled server is ended and declared down: its sync copy has all that was acknowledged. Where
    nobody takes it for `restart_patience_ms` it is tried again. A server that has ended on a full disk
    would end again at its next WAL segment (one that runs is moved in time, `_leave_full_disk`). No place
    with a full disk is handed anything, so two full sites do not pass a cell to and fro.
    """
    own = seen.own
    others = (grant.sync_set | {grant.primary}) - {own.copy} if grant.sync_set else frozenset()
    if all(str(copy) in seen.disk_full or is_silent(seen, copy, limits) for copy in others):
        return None
    given_up_ms = limits.disk_stall_after_ms + limits.restart_patience_ms
    if limits.disk_stall_after_ms <= own.disk_stalled_for_ms < given_up_ms:
        return Why.DISK_STALLED
    return Why.DISK_FULL if own.disk_full and own.state is CopyState.STOPPED else None


def _as_primary_while_taken(seen: Seen, grant: Grant, limits: FailoverSettings) -> Decision:
    """The old primary stops; it may take the cell back only from a candidate that failed."""
    own = seen.own
    if own.copy == grant.candidate:
        return _as_candidate(seen, grant)
    if own.state in (CopyState.PRIMARY, CopyState.MUTE):
        return Decision(Step.STOP_HARD, Why.SUPERSEDED)
    if own.state is CopyState.STOPPED and _candidate_failed(seen, grant, limits):
        return _take(seen, grant, Why.CANDIDATE_FAILED)
    return Decision(Step.HOLD, Why.OTHER_CANDIDATE)


def _serve(seen: Seen, grant: Grant, limits: FailoverSettings) -> Decision:
    """Keep the sync set true, let clients in, take copies in, go home."""
    own = seen.own
    if not grant.sync_set <= own.sync_names:
        return Decision(Step.SET_NAMES, Why.NAMES_BEHIND_GRANT, names=own.sync_names | grant.sync_set)
    if leave := decide_leave(seen, grant, limits):
        return leave
    blocked = is_blocked(seen, grant, limits)
    if not own.open and not blocked and _flushed_by_all(seen, grant):
        return Decision(Step.OPEN, Why.SYNC_SET_HAS_EVERYTHING)
    if join := decide_join(seen, grant, limits):
        return join
    if blocked:
        return Decision(Step.HOLD, Why.BLOCKED_WITHOUT_COPY)
    if not own.open:
        return Decision(Step.HOLD, Why.WAITING_FOR_SYNC_SET)
    return _relocate(seen, grant, limits)


def _flushed_by_all(seen: Seen, grant: Grant) -> bool:
    barrier_lsn = seen.own.barrier_lsn
    if barrier_lsn is None:
        return False
    flushed = {f.copy for f in seen.own.followers if f.streaming and f.flush_lsn >= barrier_lsn}
    return grant.sync_set <= flushed


def _relocate(seen: Seen, grant: Grant, limits: FailoverSettings) -> Decision:
    """Start a planned move: because the operator asked, or because home is fit again."""
    own = seen.own
    if seen.move_to is not None and seen.move_to is not own.site:
        target = _sync_copy_at(grant, seen.move_to)
        if target is None:
            return Decision(Step.HOLD, Why.MOVE_TARGET_NOT_IN_SYNC)
        if str(target) in seen.disk_full:
            return Decision(Step.HOLD, Why.DISK_FULL)
        moving = replace(grant, mode=Mode.MOVING, candidate=target, pinned=seen.move_to is not seen.home)
        return Decision(Step.BEGIN_MOVE, Why.OPERATOR_ASKED, next_grant=moving, copy=target)
    home_copy = _sync_copy_at(grant, seen.home) if own.site is not seen.home else None
    free_to_go = not (seen.hold or grant.pinned or seen.other_cell_moving or str(home_copy) in seen.disk_full)
    if home_copy and free_to_go and seen.home_in_sync_for_ms >= limits.home_after_ms:
        moving = replace(grant, mode=Mode.MOVING, candidate=home_copy)
        return Decision(Step.BEGIN_MOVE, Why.GOING_HOME, next_grant=moving, copy=home_copy)
    if own.disk_stalled_for_ms >= limits.disk_stall_after_ms:
        return Decision(Step.HOLD, Why.DISK_STALLED)
    return _leave_full_disk(seen, grant, limits) if own.disk_full else Decision(Step.HOLD, Why.SERVING)


def _leave_full_disk(seen: Seen, grant: Grant, limits: FailoverSettings) -> Decision:
    """Move while there still is room for a clean stop; the way back is shut until there is room again."""
    roomy = _sync_copy_at(grant, other_data_site(seen.own.site))
    fit = roomy is not None and seen.sync_silent_for_ms.get(roomy, 0) < limits.silence_ms
    if not fit or str(roomy) in seen.disk_full or seen.other_cell_moving:
        return Decision(Step.HOLD, Why.DISK_FULL)
    moving = replace(grant, mode=Mode.MOVING, candidate=roomy)
    return Decision(Step.BEGIN_MOVE, Why.DISK_FULL, next_grant=moving, copy=roomy)


def _sync_copy_at(grant: Grant, site: Site) -> CopyId | None:
    return next((copy for copy in sorted(grant.sync_set) if copy.site is site), None)


def _move(seen: Seen, grant: Grant, limits: FailoverSettings) -> Decision:
    target = grant.candidate
    if target is None or seen.sync_silent_for_ms.get(target, 0) >= degrade_after_ms(seen, limits):
        back = grant.with_sync_set(grant.sync_set)
        return Decision(Step.ABANDON_MOVE, Why.MOVE_TARGET_SILENT, next_grant=back)
    return Decision(Step.DRAIN_AND_STOP, Why.MOVING, copy=target)


def _as_candidate(seen: Seen, grant: Grant) -> Decision:
    """Finish the take-over that the current grant gives to this copy."""
    own = seen.own
    match own.state:
        case CopyState.STANDBY:
            return Decision(Step.PROMOTE, Why.CANDIDATE)
        case CopyState.PRIMARY if own.copy is not None:
            # Nothing else is known to have this epoch's marker: the new primary starts ALONE (I3).
            finished = replace(
                grant, primary=own.copy, sync_set=frozenset(), mode=Mode.ALONE, candidate=None,
                timeline=own.timeline,
            )  # fmt: skip
            step = Step.FINISH_SHUT if seen.degrade == "block" else Step.FINISH_TAKING
            return Decision(step, Why.CANDIDATE, next_grant=finished)
        case CopyState.STOPPED if own.was_primary:
            return Decision(Step.START_PRIMARY, Why.CANDIDATE)
        case CopyState.STOPPED:
            return Decision(Step.START_STANDBY, Why.CANDIDATE)
    return Decision(Step.HOLD, Why.SERVER_STARTING)


def _as_other(seen: Seen, grant: Grant, limits: FailoverSettings) -> Decision:
    own = seen.own
    if grant.mode is Mode.TAKING and own.copy is not None and own.copy == grant.candidate:
        return _as_candidate(seen, grant)
    if own.state is CopyState.PRIMARY or (own.state is CopyState.MUTE and own.was_primary):
        # A former primary that does not answer its agent may still answer its clients.
        return Decision(Step.STOP_HARD, Why.SUPERSEDED)
    if own.state is CopyState.MUTE:
        if own.mute_for_ms >= limits.restart_patience_ms:
            return Decision(Step.STOP_HARD, Why.SERVER_MUTE)
        return Decision(Step.HOLD, Why.SERVER_STARTING)
    if is_forced(seen, limits):
        return _take(seen, grant, Why.FORCED_BY_OPERATOR)
    if grant.mode is Mode.TAKING:
        if own.copy in grant.sync_set and _candidate_failed(seen, grant, limits):
            return _take(seen, grant, Why.CANDIDATE_FAILED)
        return Decision(Step.HOLD, Why.OTHER_CANDIDATE)
    take = _take_over(seen, grant, limits)
    stopped = own.state is CopyState.STOPPED and not own.was_primary
    # A copy that may not take over is started all the same: it may be the only one an operator has left.
    if take is not None and not (stopped and take.step is Step.HOLD):
        return take
    return _as_standby(seen, grant, limits)


def _take_over(seen: Seen, grant: Grant, limits: FailoverSettings) -> Decision | None:
    """Two independent signs of death, and a place in the sync set (I2, I6); None: nothing suspicious.

    Both are signs of the primary's own agent: another of its site may beat and answer, or be dead.
    """
    if str(grant.primary) in seen.declared_down:
        why = Why.PRIMARY_DECLARED_DOWN
    elif not is_silent(seen, grant.primary, limits):
        return None
    elif seen.own.stream is Stream.ALIVE and agent_answered(seen, grant.primary) is not False:
        return Decision(Step.HOLD, Why.SILENT_BUT_STREAM_ALIVE)
    elif seen.promised_for_ms > 0:
        return Decision(Step.HOLD, Why.PROMISED_TO_WAIT)
    elif is_site_silent(seen, grant.primary.site, limits):
        why = Why.PRIMARY_SITE_SILENT
    else:
        why = Why.PRIMARY_AGENT_SILENT
    if grant.mode is Mode.ALONE:
        return Decision(Step.HOLD, Why.ALONE_NEVER_PROMOTES)
    if seen.own.copy not in grant.sync_set:
        return Decision(Step.HOLD, Why.NOT_IN_SYNC_SET)
    if seen.own.disk_full and str(grant.primary) in seen.disk_full:
        return Decision(Step.HOLD, Why.DISK_FULL)
    return _take(seen, grant, why)


def _candidate_failed(seen: Seen, grant: Grant, limits: FailoverSettings) -> bool:
    """A candidate has acknowledged nothing yet, so a wrong suspicion costs time only."""
    candidate = grant.candidate
    if candidate is None:
        return False
    if str(candidate) in seen.declared_down:
        return True
    return is_silent(seen, candidate, limits) and agent_answered(seen, candidate) is False


def _take(seen: Seen, grant: Grant, why: Why) -> Decision:
    """Ask for the next epoch. A failed candidate may have diverged: it has to join again."""
    sync_set = grant.sync_set
    if grant.mode is Mode.TAKING and grant.candidate is not None:
        sync_set = sync_set - {grant.candidate}
    if seen.own.copy is None:
        return Decision(Step.HOLD, Why.NOT_IN_SYNC_SET)
    return Decision(Step.TAKE, why, next_grant=grant.taking(seen.own.copy, sync_set))


def _as_standby(seen: Seen, grant: Grant, limits: FailoverSettings) -> Decision:
    """Follow the granted primary; come back from whatever state the directory is in."""
    own, primary = seen.own, grant.primary
    # A take-over that a step of ours made impossible would be our fault: rebuild only what is not relied on.
    rebuildable = own.copy not in grant.sync_set and grant.mode in (Mode.SYNC, Mode.ALONE)
    alive = not is_silent(seen, primary, limits) and str(primary) not in seen.declared_down
    alive = alive and primary.place != own.place  # a lost directory cannot be made from itself
    match own.state:
        case CopyState.ABSENT | CopyState.BROKEN:
            why = Why.NO_DIRECTORY if own.state is CopyState.ABSENT else Why.DIRECTORY_BROKEN
            if alive and grant.mode in (Mode.SYNC, Mode.ALONE):
                return Decision(Step.CLONE, why, copy=primary)
            return Decision(Step.HOLD, Why.WAITING_FOR_PRIMARY)
        case CopyState.STOPPED if own.was_primary:
            if alive and rebuildable:
                return Decision(Step.REJOIN, Why.WAS_PRIMARY, copy=primary)
            return Decision(Step.HOLD, Why.WAITING_FOR_PRIMARY)
        case CopyState.STOPPED:
            return Decision(Step.START_STANDBY, Why.FOLLOWING, copy=primary)
        case CopyState.STANDBY if own.upstream != primary.place:
            return Decision(Step.FOLLOW, Why.OTHER_PRIMARY, copy=primary)
        case CopyState.STANDBY if own.stuck_for_ms >= limits.stuck_after_ms and alive and rebuildable:
            return Decision(Step.REWIND, Why.STREAM_STUCK, copy=primary)
    return Decision(Step.HOLD, Why.FOLLOWING)
