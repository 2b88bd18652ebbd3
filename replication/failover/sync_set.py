"""Whom a primary waits for: who leaves the sync set, who joins it. Pure.

The sync set is the best placed copy that is fit: one at the other site, the lowest ordinal first, so
that the loss of a site is covered. A copy beside the primary stands in while no other is fit: it comes
in before the silent one leaves, so the cell is not ALONE in between, and it leaves again once a better
one is in. A stand-in covers the loss of the primary's server, never of its site: then nobody outside
the sync set is promoted (I2).
"""

from replication.failover.silence import agent_silent_ms
from replication.failover.states import Decision, FollowerSeen, Seen, Step, Why
from replication.model import CopyId, Grant, Site
from replication.settings import FailoverSettings

CATCH_UP_BYTES = 256 * 1024
"""Lag under which a copy may be named: commits then wait for it. Source: our choice, 32 WAL pages."""


def decide_leave(seen: Seen, grant: Grant, limits: FailoverSettings) -> Decision | None:
    """Leave silent copies behind, and stand-ins that are needed no longer; None: everybody stays.

    The grant first, PostgreSQL's names after that swap is confirmed (I3). A silent copy of a silent agent
    is not waited for any longer; one whose agent beats on (a cut link, a stall) has until
    `degrade_after_ms`. The last one stays if the cell may not write alone, or while another may join.
    """
    waited_for = grant.sync_set | seen.own.sync_names
    silent = frozenset(c for c in waited_for if not _heard(seen, c, limits))
    if not silent and len(waited_for) < 2:
        return None
    late = frozenset(c for c in silent if seen.sync_silent_for_ms[c] >= degrade_after_ms(seen, limits))
    with_agent = frozenset(c for c in silent if is_silent(seen, c, limits))
    gone = late | with_agent
    if grant.sync_set and grant.sync_set <= gone:
        stands_in = not late & grant.sync_set and _next_to_join(seen, grant, limits) is not None
        if seen.degrade == "block" or stands_in:
            gone -= grant.sync_set
    if gone:
        return _leaving(seen, grant, gone, _why_gone(seen, gone & with_agent, limits))
    best = min((_rank(seen, c) for c in _fit_members(seen, grant, limits)), default=None)
    spare = frozenset(c for c in waited_for if best is not None and _rank(seen, c) > best)
    return _leaving(seen, grant, spare, Why.BETTER_COPY_IN_SYNC) if spare else None


def decide_join(seen: Seen, grant: Grant, limits: FailoverSettings) -> Decision | None:
    """Take a caught-up copy in: named, then a marker flushed there, then granted; None: nobody comes in."""
    own = seen.own
    joining = _next_to_join(seen, grant, limits)
    if joining is None:
        return None
    if joining not in own.sync_names:
        return Decision(Step.SET_NAMES, Why.COPY_CAUGHT_UP, names=own.sync_names | {joining}, copy=joining)
    joined = grant.with_sync_set(grant.sync_set | {joining})
    return Decision(Step.JOIN, Why.COPY_NAMED, next_grant=joined, copy=joining)


def is_blocked(seen: Seen, grant: Grant, limits: FailoverSettings) -> bool:
    """Say whether the cell may acknowledge nothing: it never writes alone, and no sync copy is fit."""
    return seen.degrade == "block" and not _fit_members(seen, grant, limits)


def is_silent(seen: Seen, copy: CopyId, limits: FailoverSettings) -> bool:
    """Say whether the beat of the agent that looks after `copy` has stood still for too long."""
    return agent_silent_ms(seen, copy) >= limits.silence_ms


def is_site_silent(seen: Seen, site: Site, limits: FailoverSettings) -> bool:
    """Say whether no agent of a site has beaten for too long."""
    return seen.silent_for_ms.get(site, 0) >= limits.silence_ms


def degrade_after_ms(seen: Seen, limits: FailoverSettings) -> int:
    """Return the patience with a silent sync copy of this cell."""
    return limits.degrade_after_ms if seen.degrade_after_ms is None else seen.degrade_after_ms


def _leaving(seen: Seen, grant: Grant, gone: frozenset[CopyId], why: Why) -> Decision:
    rest = grant.with_sync_set(grant.sync_set - gone)
    return Decision(Step.LEAVE, why, next_grant=rest, names=seen.own.sync_names - gone)


def _rank(seen: Seen, copy: CopyId) -> tuple[bool, int]:
    """Order copies by how much their being in sync covers; the least is best."""
    return copy.site is seen.own.site, copy.ordinal


def _heard(seen: Seen, copy: CopyId, limits: FailoverSettings) -> bool:
    return seen.sync_silent_for_ms.get(copy, 0) < limits.silence_ms


def _why_gone(seen: Seen, with_agent: frozenset[CopyId], limits: FailoverSettings) -> Why:
    if not with_agent:
        return Why.SYNC_SET_SILENT
    site = any(is_site_silent(seen, copy.site, limits) for copy in with_agent)
    return Why.SYNC_SITE_SILENT if site else Why.SYNC_AGENT_SILENT


def _fit_members(seen: Seen, grant: Grant, limits: FailoverSettings) -> list[CopyId]:
    streaming = {f.copy for f in seen.own.followers if f.streaming}
    return [c for c in grant.sync_set & streaming if _heard(seen, c, limits)]


def _next_to_join(seen: Seen, grant: Grant, limits: FailoverSettings) -> CopyId | None:
    """Return the best copy that may join and is better placed than every fit member; None: there is none."""
    free = [f for f in seen.own.followers if f.copy not in grant.sync_set and _may_join(seen, f, limits)]
    best = min(free, key=lambda f: _rank(seen, f.copy), default=None)
    if best is None:
        return None
    better = [c for c in _fit_members(seen, grant, limits) if _rank(seen, c) <= _rank(seen, best.copy)]
    return None if better else best.copy


def _may_join(seen: Seen, follower: FollowerSeen, limits: FailoverSettings) -> bool:
    """A copy that fell silent still looks connected and caught up for a while: it must have been heard."""
    copy = follower.copy
    if not _heard(seen, copy, limits) or is_silent(seen, copy, limits):
        return False
    if str(copy) in seen.disk_full:
        return False  # every commit would soon wait for a copy that cannot write
    caught_up = seen.own.wal_flush_lsn - follower.flush_lsn <= CATCH_UP_BYTES
    return follower.streaming and caught_up and copy.cell == seen.cell
