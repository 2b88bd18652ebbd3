"""Look at one copy: one status query a tick, joined with what the site's agent knows into a `Seen`.

A look that failed is a None or a state, never an exception but PostgresError of a control file.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import psycopg

from replication.exposure import ExposureTape, Mark
from replication.failover.ports import Clock, CopyServer
from replication.failover.sight import SiteSight
from replication.failover.states import CopyState, FollowerSeen, ForceAsked, OwnCopy, Seen, Stream
from replication.model import CopyId, GrantSeen, Site
from replication.postgres.observe import Follower, ServerStatus
from replication.settings import SiteSettings


@dataclass(slots=True)
class _Sign:
    """The last new thing heard, and when."""

    token: tuple[int | str | None, ...] | None
    at_ms: int


@dataclass(slots=True)
class _Since:
    """When a condition began to hold without a break; None while it does not."""

    at_ms: int | None = None

    def update(self, holds: bool, at_ms: int) -> int:
        """Note the condition; return for how long it has held, in milliseconds."""
        if not holds:
            self.at_ms = None
            return 0
        if self.at_ms is None:
            self.at_ms = at_ms
        return at_ms - self.at_ms


@dataclass(slots=True)
class _Memory:
    """What one look must remember for the next."""

    followers: dict[CopyId, _Sign] = field(default_factory=dict)
    replies: dict[CopyId, str] = field(default_factory=dict)
    stream: _Sign = field(default_factory=lambda: _Sign(None, 0))
    barrier_lsn: int | None = None
    mute: _Since = field(default_factory=_Since)
    stuck: _Since = field(default_factory=_Since)
    stopped: _Since = field(default_factory=_Since)
    home_in_sync: _Since = field(default_factory=_Since)
    stalled_at_ms: int | None = None
    full: bool = False


class CopyObserver:
    """Looks at one copy and joins it with the site's view into a `Seen`."""

    def __init__(self, settings: SiteSettings, server: CopyServer, sight: SiteSight, clock: Clock) -> None:
        self._settings = settings
        self._server = server
        self.sight = sight
        self._clock = clock
        self._memory = _Memory()
        self._cell = settings.cell(server.place.cell)
        self._own_cell = frozenset({server.place.cell})
        of_cell = [place for place in settings.places if place.cell == server.place.cell]
        self._place_at = {(place.host, place.port): place.name for place in of_cell}
        self.move_to: Site | None = None
        self.force: ForceAsked | None = None
        self.tape = ExposureTape()
        self.stopped_for_ms = 0

    async def observe(self) -> Seen:
        """Return one snapshot for `decide`."""
        place = self._server.place
        own = await self._own_copy(self._grant())
        # Asking a server that does not answer takes a while: what was read of the world meanwhile counts.
        world, grant = self.sight.world, self._grant()
        at_ms = self._clock()
        running = own.state in (CopyState.PRIMARY, CopyState.STANDBY)
        self.stopped_for_ms = self._memory.stopped.update(not running, at_ms)
        cell, home = self._cell, self._cell.home
        silent: dict[str, int] = {}
        answered: dict[str, bool | None] = {}
        there: bool | None = None
        for other in self.sight.others(place.cell):
            silent[other.name] = self.sight.agent_silent_for_ms(other.name, other.site)
            answered[other.name] = self.sight.probe_answered(other.name)
            if there is None and other.site is not place.site:
                there = answered[other.name]
        home_in_sync = grant is not None and home in [copy.site for copy in grant.grant.sync_set]
        return Seen(
            cell=place.cell,
            home=home,
            own=own,
            read_ok=self.sight.read_ok,
            grant=grant,
            confirmed_age_ms=at_ms - self.sight.confirmed_ms,
            silent_for_ms=self.sight.silent_for_ms,
            agent_silent_for_ms=silent,
            probe_answered=there,
            agent_answered=answered,
            declared_down=self.sight.declared_down,
            disk_full=self.sight.disk_full,
            sync_silent_for_ms=self._sync_silence(own, grant, at_ms),
            home_in_sync_for_ms=self._memory.home_in_sync.update(home_in_sync, at_ms),
            hold=world.hold if world else False,
            other_cell_moving=not self.sight.moving <= self._own_cell,
            move_to=self.move_to,
            force=self.force,
            holders=self.sight.holders(place.cell) if grant is None else None,
            peer_waits_for_ms=self.sight.peer_waits_for_ms(place.cell),
            promised_for_ms=self.sight.promised_for_ms(),
            born=world is not None and place.cell in world.born,
            degrade=cell.degrade,
            degrade_after_ms=cell.degrade_after_ms,
            without_etcd=cell.without_etcd,
        )

    def _grant(self) -> GrantSeen | None:
        world = self.sight.world
        return world.grants.get(self._server.place.cell) if world else None

    async def _own_copy(self, grant: GrantSeen | None) -> OwnCopy:
        memory, place = self._memory, self._server.place
        directory = await self._server.read_directory()
        full = self._is_full(directory.disk_free_bytes)
        if directory.broken:
            return OwnCopy(place.name, place.site, CopyState.BROKEN, disk_full=full)
        if not directory.present:
            return OwnCopy(place.name, place.site, CopyState.ABSENT, disk_full=full)
        own_id = directory.copy
        if not directory.running:
            await self._server.release()
            memory.barrier_lsn = None
            memory.followers.clear()
            last = await self._server.read_stopped()
            return OwnCopy(
                place.name,
                place.site,
                CopyState.STOPPED,
                own_id,
                was_primary=not directory.standby,
                clean=last.clean,
                timeline=last.timeline,
                disk_stalled_for_ms=self._stalled_for_ms(None),
                disk_full=full,
            )
        status = await self._status()
        at_ms = self._clock()
        mute_for_ms = memory.mute.update(status is None, at_ms)
        if status is None:
            memory.followers.clear()
            return OwnCopy(
                place.name,
                place.site,
                CopyState.MUTE,
                own_id,
                was_primary=not directory.standby,
                mute_for_ms=mute_for_ms,
                disk_stalled_for_ms=self._stalled_for_ms(None),
                disk_full=full,
            )
        return self._running_copy(own_id, status, grant, at_ms, full=full)

    def _is_full(self, free_bytes: int | None) -> bool:
        """A disk at the border is not full at one look and free at the next."""
        limit = self._settings.failover.disk_full_bytes * (2 if self._memory.full else 1)
        self._memory.full = free_bytes is not None and free_bytes < limit
        return self._memory.full

    def _stalled_for_ms(self, status: ServerStatus | None) -> int:
        """A server ended for its stalled disk is not fit because nobody asks it any more: time goes on."""
        memory, at_ms = self._memory, self._clock()
        if status is not None:
            waited_ms = status.flush_unanswered_ms
            stalled = waited_ms >= self._settings.failover.disk_stall_after_ms
            memory.stalled_at_ms = at_ms - waited_ms if stalled else None
            return waited_ms
        return 0 if memory.stalled_at_ms is None else at_ms - memory.stalled_at_ms

    async def _status(self) -> ServerStatus | None:
        try:
            return await self._server.read_status()
        except (psycopg.Error, TimeoutError, OSError):
            await self._server.release()
            return None

    def _running_copy(
        self, own_id: CopyId | None, status: ServerStatus, grant: GrantSeen | None, at_ms: int, *, full: bool
    ) -> OwnCopy:
        memory, place = self._memory, self._server.place
        if status.in_recovery:
            memory.barrier_lsn = None
            memory.followers.clear()
        elif memory.barrier_lsn is None:
            memory.barrier_lsn = status.wal_flush_lsn
        followers = _one_of_each(status.followers)
        memory.replies = {copy: f.reply_token for copy, f in followers.items()}
        self._note_exposure(own_id, status, grant, at_ms)
        stream = self._stream(status, at_ms)
        upstream = self._place_at.get(status.upstream) if status.upstream else None
        primary_alive = grant is not None and self._is_alive(grant.grant.primary)
        stuck = status.in_recovery and stream is Stream.GONE and upstream is not None and primary_alive
        return OwnCopy(
            place.name,
            place.site,
            CopyState.STANDBY if status.in_recovery else CopyState.PRIMARY,
            own_id,
            open=self._server.is_open(),
            timeline=status.timeline,
            wal_flush_lsn=status.wal_flush_lsn,
            received_lsn=max(status.received_lsn, status.replayed_lsn) if status.in_recovery else 0,
            barrier_lsn=memory.barrier_lsn,
            epoch_marker=status.epoch,
            sync_names=status.sync_names,
            followers=tuple(
                FollowerSeen(copy, f.state == "streaming", f.flush_lsn) for copy, f in followers.items()
            ),
            stream=stream,
            upstream=upstream,
            stuck_for_ms=memory.stuck.update(stuck, at_ms),
            door_shut_for_ms=status.door_unanswered_ms,
            disk_stalled_for_ms=self._stalled_for_ms(status),
            disk_full=full,
        )

    def _note_exposure(
        self, own_id: CopyId | None, status: ServerStatus, grant: GrantSeen | None, at_ms: int
    ) -> None:
        """Keep the tape of what no copy at the other site is known to have; it decides nothing."""
        held = grant.grant if grant else None
        if own_id is None or held is None or own_id not in (held.primary, held.candidate):
            self.tape.clear()
            return
        if status.snapshot is None:
            return
        site = self._server.place.site
        elsewhere = [f.flush_lsn for f in status.followers if f.copy_id and f.copy_id.site is not site]
        mark = Mark(status.wal_flush_lsn, status.snapshot, at_ms)
        # Nothing was acknowledged in this epoch yet, and a primary at the other site had all before it.
        taken = held.candidate == own_id and held.primary.site is not site
        first = status.epoch != held.epoch and (taken or held.epoch == 1)
        self.tape.note((own_id, held.epoch), mark, max(elsewhere, default=0), first=first)

    def _is_alive(self, copy: CopyId) -> bool:
        silent_for_ms = self.sight.agent_silent_for_ms(copy.place, copy.site)
        return silent_for_ms < self._settings.failover.silence_ms

    def _stream(self, status: ServerStatus, at_ms: int) -> Stream:
        if status.receiver_state != "streaming":
            return Stream.GONE
        token = (status.receiver_message_token, status.received_lsn)
        if token != self._memory.stream.token:
            self._memory.stream = _Sign(token, at_ms)
        fresh = at_ms - self._memory.stream.at_ms < self._settings.failover.silence_ms
        return Stream.ALIVE if fresh else Stream.SILENT

    def _sync_silence(self, own: OwnCopy, grant: GrantSeen | None, at_ms: int) -> dict[CopyId, int]:
        """A copy acknowledges when its flush position moves, or answers with nothing left to flush."""
        if own.state is not CopyState.PRIMARY or grant is None:
            return {}
        signs = self._memory.followers
        streaming = {f.copy: f for f in own.followers if f.streaming}
        watched = {*grant.grant.sync_set, *own.sync_names, *streaming}
        for copy in watched:
            sign = signs.setdefault(copy, _Sign(None, at_ms))
            follower = streaming.get(copy)
            if follower is not None:
                idle = follower.flush_lsn >= own.wal_flush_lsn
                token = (follower.flush_lsn, self._memory.replies.get(copy) if idle else None)
                if token != sign.token:
                    signs[copy] = _Sign(token, at_ms)
        for copy in set(signs) - watched:
            del signs[copy]
        return {copy: at_ms - sign.at_ms for copy, sign in signs.items()}


def _one_of_each(followers: Iterable[Follower]) -> dict[CopyId, Follower]:
    """Return each copy's stream; of two, the one behind.

    A stream whose sender is frozen stays beside the one that the copy opened instead, and commits may wait
    for either of them: PostgreSQL tells streams of one name apart by nothing but their place in its list.
    """
    found: dict[CopyId, Follower] = {}
    for follower in followers:
        copy = follower.copy_id
        if copy is not None and (copy not in found or follower.flush_lsn < found[copy].flush_lsn):
            found[copy] = follower
    return found
