"""Look at the world: one linearizable read a tick a site, one status query a tick a copy.

The only reader of clocks in the failover package. A probe that failed is a None or a state, never
an exception. Monotonic time is CLOCK_BOOTTIME, which also counts while the machine sleeps.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import aiohttp
import psycopg

from replication.etcd import Etcd, EtcdUnavailable
from replication.failover.silence import Silence
from replication.failover.states import CopyState, FollowerSeen, OwnCopy, Seen, Stream
from replication.grants import World, follow_grants, read_world
from replication.model import DATA_SITES, CopyId, GrantSeen, Site, other_data_site
from replication.postgres import control, hba
from replication.postgres.observe import ServerStatus, read_status
from replication.postgres.standing import StandingConnection
from replication.settings import SiteSettings


def now_ms() -> int:
    """Return milliseconds on CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class SiteView:
    """What one site's agent knows of the shared world; its cost does not grow with the cells."""

    def __init__(self, settings: SiteSettings, etcd: Etcd, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._etcd = etcd
        self._session = session
        self._nudged = asyncio.Event()
        self._looked = asyncio.Condition()
        self._probe: asyncio.Task[None] | None = None
        self._probed: tuple[bool, int] | None = None
        self.world: World | None = None
        self.read_ok = False
        self.confirmed_ms = 0
        """When the request was sent whose answer last succeeded."""
        self.looks = 0
        """Looks that have ended."""
        self.started = 0
        """Looks that have begun: one that ends with a higher number saw all that was done before."""
        self.silence = {site: Silence(None, 0, now_ms()) for site in DATA_SITES}

    async def run(self) -> None:
        """Look once a tick, and at once when a grant changes; never ends."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            while True:
                await self._look()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._nudged.wait(), self._settings.failover.tick_ms / 1000)
                self._nudged.clear()

    async def next_look(self, after: int) -> int:
        """Wait until there was a look later than `after`; return its number."""
        async with self._looked:
            await self._looked.wait_for(lambda: self.looks > after)
            return self.looks

    def nudge(self) -> None:
        """Look again at once."""
        self._nudged.set()

    def probe_answered(self) -> bool | None:
        """Return what the other site's agent answered of late; None when it was not asked."""
        if self._probed is None or now_ms() - self._probed[1] > self._settings.failover.silence_ms:
            return None
        return self._probed[0]

    async def _listen(self) -> None:
        async for _ in follow_grants(self._etcd):
            self._nudged.set()

    async def _look(self) -> None:
        limits = self._settings.failover
        self.started += 1
        sent_ms = now_ms()
        try:
            world = await read_world(self._etcd)
        except EtcdUnavailable:
            self.read_ok = False
        else:
            self.world, self.read_ok, self.confirmed_ms = world, True, sent_ms
            at_ms = now_ms()
            for site in DATA_SITES:
                beat = world.beats.get(site)
                self.silence[site] = self.silence[site].after_read(
                    f"{beat.agent}/{beat.count}" if beat else None, at_ms, 5 * limits.tick_ms
                )
        other = other_data_site(self._settings.site)
        if self.silence[other].silent_for_ms * 2 >= limits.silence_ms and (
            self._probe is None or self._probe.done()
        ):
            self._probe = asyncio.create_task(self._ask(other))
        async with self._looked:
            self.looks += 1
            self._looked.notify_all()

    async def _ask(self, site: Site) -> None:
        timeout = aiohttp.ClientTimeout(total=self._settings.failover.probe_timeout_ms / 1000)
        try:
            async with self._session.get(
                self._settings.agent_urls[site] + "/v1/probe", timeout=timeout
            ) as answer:
                answered = answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            answered = False
        self._probed = (answered, now_ms())


@dataclass(slots=True)
class _Sign:
    """The last new thing heard, and when."""

    token: object
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


class CopyObserver:
    """Looks at one copy and joins it with the site's view into a `Seen`."""

    def __init__(self, settings: SiteSettings, standing: StandingConnection, view: SiteView) -> None:
        self._settings = settings
        self._copy = standing.copy
        self._standing = standing
        self._view = view
        self._memory = _Memory()
        self.move_to: Site | None = None
        self.stopped_for_ms = 0

    async def observe(self) -> Seen:
        """Return one snapshot for `decide`."""
        place = self._copy.place
        world = self._view.world
        grant = world.grants.get(place.cell) if world else None
        own = await self._own_copy(grant)
        at_ms = now_ms()
        running = own.state in (CopyState.PRIMARY, CopyState.STANDBY)
        self.stopped_for_ms = self._memory.stopped.update(not running, at_ms)
        home = self._settings.cell(place.cell).home
        home_in_sync = grant is not None and any(c.site is home for c in grant.grant.sync_set)
        return Seen(
            cell=place.cell,
            home=home,
            own=own,
            read_ok=self._view.read_ok,
            grant=grant,
            confirmed_age_ms=at_ms - self._view.confirmed_ms,
            silent_for_ms={site: s.silent_for_ms for site, s in self._view.silence.items()},
            probe_answered=self._view.probe_answered(),
            declared_down=frozenset().union(*(b.down for b in world.beats.values()))
            if world
            else frozenset(),
            sync_silent_for_ms=self._sync_silence(own, grant, at_ms),
            home_in_sync_for_ms=self._memory.home_in_sync.update(home_in_sync, at_ms),
            hold=world.hold if world else False,
            other_cell_moving=world is not None
            and any(g.grant.candidate is not None for cell, g in world.grants.items() if cell != place.cell),
            move_to=self.move_to,
        )

    async def _own_copy(self, grant: GrantSeen | None) -> OwnCopy:
        copy, memory = self._copy, self._memory
        place = copy.place
        if control.is_broken(copy):
            return OwnCopy(place.name, place.site, CopyState.BROKEN)
        if not control.has_data(copy):
            return OwnCopy(place.name, place.site, CopyState.ABSENT)
        own_id = control.read_copy_id(copy)
        if not await control.is_running(copy):
            await self._standing.close()
            memory.barrier_lsn = None
            memory.followers.clear()
            facts = await control.read_control(copy)
            return OwnCopy(
                place.name,
                place.site,
                CopyState.STOPPED,
                own_id,
                was_primary=not control.is_standby_directory(copy),
                clean=facts.state is control.ClusterState.SHUT_DOWN,
                timeline=facts.timeline,
            )
        status = await self._status()
        at_ms = now_ms()
        mute_for_ms = memory.mute.update(status is None, at_ms)
        if status is None:
            memory.followers.clear()
            return OwnCopy(place.name, place.site, CopyState.MUTE, own_id, mute_for_ms=mute_for_ms)
        return self._running_copy(own_id, status, grant, at_ms)

    async def _status(self) -> ServerStatus | None:
        try:
            return await read_status(await self._standing.get())
        except (psycopg.Error, TimeoutError, OSError):
            await self._standing.close()
            return None

    def _running_copy(
        self, own_id: CopyId | None, status: ServerStatus, grant: GrantSeen | None, at_ms: int
    ) -> OwnCopy:
        memory, place = self._memory, self._copy.place
        if status.in_recovery:
            memory.barrier_lsn = None
            memory.followers.clear()
        elif memory.barrier_lsn is None:
            memory.barrier_lsn = status.wal_flush_lsn
        memory.replies = {f.copy_id: f.reply_token for f in status.followers if f.copy_id}
        stream = self._stream(status, at_ms)
        upstream = self._place_at(status.upstream)
        primary_site_alive = grant is not None and (
            self._view.silence[grant.grant.primary.site].silent_for_ms < self._settings.failover.silence_ms
        )
        stuck = status.in_recovery and stream is Stream.GONE and upstream is not None and primary_site_alive
        return OwnCopy(
            place.name,
            place.site,
            CopyState.STANDBY if status.in_recovery else CopyState.PRIMARY,
            own_id,
            open=hba.is_open(self._copy),
            timeline=status.timeline,
            wal_flush_lsn=status.wal_flush_lsn,
            barrier_lsn=memory.barrier_lsn,
            epoch_marker=status.epoch,
            sync_names=status.sync_names,
            followers=tuple(
                FollowerSeen(f.copy_id, f.state == "streaming", f.flush_lsn)
                for f in status.followers
                if f.copy_id is not None
            ),
            stream=stream,
            upstream=upstream,
            stuck_for_ms=memory.stuck.update(stuck, at_ms),
        )

    def _stream(self, status: ServerStatus, at_ms: int) -> Stream:
        if status.receiver_state != "streaming":
            return Stream.GONE
        token = (status.receiver_message_token, status.received_lsn)
        if token != self._memory.stream.token:
            self._memory.stream = _Sign(token, at_ms)
        fresh = at_ms - self._memory.stream.at_ms < self._settings.failover.silence_ms
        return Stream.ALIVE if fresh else Stream.SILENT

    def _place_at(self, host_port: tuple[str, int] | None) -> str | None:
        return next(
            (p.name for p in self._settings.places if host_port == (p.host, p.port)),
            None,
        )

    def _sync_silence(self, own: OwnCopy, grant: GrantSeen | None, at_ms: int) -> dict[CopyId, int]:
        """A copy acknowledges when its flush position moves, or answers with nothing left to flush."""
        if own.state is not CopyState.PRIMARY or grant is None:
            return {}
        signs = self._memory.followers
        streaming = {f.copy: f for f in own.followers if f.streaming}
        watched = grant.grant.sync_set | own.sync_names | streaming.keys()
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
