"""The simulated copy behind the loop's port `CopyServer`; each effect takes time and can be cut off."""

from collections.abc import Callable
from random import Random

from replication.failover.ports import Directory, StoppedServer
from replication.model import CopyId
from replication.postgres.control import ClusterState, ControlData
from replication.postgres.copy import PostgresError
from replication.postgres.observe import Follower, ServerStatus
from replication.postgres.replica import UpstreamHistory, is_contained
from replication.settings import PlaceSettings
from replication.simulator.copies import RECORD_BYTES, Shelf, SimCopy
from replication.simulator.streams import can_serve, keep_streaming
from replication.simulator.waits import pause

PATIENCE = 0.15
"""Virtual seconds for each real second of patience that `act` asks for."""


class SimServer:
    """One copy as its agent's loop handles it."""

    def __init__(self, copy: SimCopy, before_effect: Callable[[], None]) -> None:
        self._copy = copy
        self._shelf: Shelf = copy.shelf
        self._rnd: Random = copy.shelf.rnd
        self._before_effect = before_effect
        self._opened = False
        self.trusts_file = False
        """Only for a mutation: take the file's word for what the server does."""

    def now_ms(self) -> int:
        """Return the time."""
        return self._shelf.engine.now

    @property
    def place(self) -> PlaceSettings:
        """Where the copy stands."""
        return self._copy.place

    async def _effect(self, longest_ms: int = 6) -> None:
        """Take time; the agent may end here, between any two effects."""
        self._before_effect()
        await pause(1 + int(self._rnd.random() * longest_ms))

    async def _session(self, longest_ms: int = 6) -> SimCopy:
        """An effect through the server."""
        await self._effect(longest_ms)
        copy = self._copy
        if copy.running and copy.mute:
            await pause(150)
            raise TimeoutError
        if not copy.running or copy.stopping:
            raise PostgresError("no server")
        return copy

    async def _stalled(self) -> None:
        """A disk stall longer than a session's patience fails the session, not the server."""
        if self._shelf.stalled_ms:
            await pause(120)
            raise PostgresError("too slow")
        await self._hung()

    async def _hung(self) -> None:
        """A slow disk still takes one commit in time, where a checkpoint fails; one that hangs takes none."""
        if self._copy.hangs:
            await pause(120)
            raise PostgresError("too slow")

    async def read_directory(self) -> Directory:
        """Look at the directory."""
        copy = self._copy
        free = 0 if copy.disk_full else None
        return Directory(copy.present, copy.broken, copy.running, copy.standby_signal, copy.copy, free)

    async def read_stopped(self) -> StoppedServer:
        """Read what its last life left."""
        copy = self._copy
        return StoppedServer(copy.clean and not copy.standby_signal, copy.timeline)

    async def read_status(self) -> ServerStatus:
        """Look at the running server."""
        copy = self._copy
        if copy.mute:
            await pause(60)
            raise TimeoutError
        if not copy.running or copy.stopping:
            raise ConnectionRefusedError("no server")
        receiver = copy.receiver
        end = len(copy.log) * RECORD_BYTES
        return ServerStatus(
            in_recovery=not copy.primary,
            timeline=copy.timeline,
            wal_flush_lsn=end if copy.primary else 0,
            received_lsn=end,
            replayed_lsn=end,
            receiver_state="streaming" if receiver else None,
            receiver_message_token=str(receiver.heard_ms) if receiver else None,
            upstream=(copy.upstream.host, copy.upstream.port) if copy.upstream else None,
            sync_names=copy.names_shown,
            followers=tuple(
                Follower(
                    f.name,
                    "streaming" if f.caught_up else "catchup",
                    f.acked * RECORD_BYTES,
                    f.acked * RECORD_BYTES,
                    str(f.replied_ms),
                )
                for f in copy.followers
            ),
            epoch=copy.epoch_marker(),
            flush_unanswered_ms=self._hangs_for_ms() if copy.primary else 0,
        )

    def _hangs_for_ms(self) -> int:
        copy = self._copy
        since_ms = copy.disk_hangs_since_ms
        return 0 if since_ms is None else self._shelf.engine.now - max(since_ms, copy.started_ms)

    def is_open(self) -> bool:
        """Say whether this process has opened it and the file still says so."""
        return (self._opened or self.trusts_file) and self._copy.hba_open

    async def release(self) -> None:
        """Nothing to drop."""

    def new_copy_id(self) -> CopyId:
        """Return an id never used before."""
        place = self._copy.place
        return CopyId(place.cell, place.site, place.ordinal, f"{self._shelf.new_record():x}")

    async def initialise(self, own_id: CopyId) -> None:
        """Make an empty cluster."""
        await self._effect(20)
        copy = self._copy
        if copy.present:
            raise PostgresError("has data already")
        copy.present, copy.copy = True, own_id
        copy.log, copy.timeline, copy.history = [self._shelf.new_record()], 1, ()
        copy.standby_signal, copy.clean, copy.hba_open = False, True, False
        copy.names_file, copy.upstream_file = frozenset(), None

    async def create_roles_and_database(self) -> None:
        """Write a few records."""
        copy = await self._session()
        copy.append(self._shelf.new_record())

    async def start(self) -> None:
        """Start the server; recovery takes a while."""
        copy = self._copy
        if copy.running:
            return
        await self._effect(40)
        if copy.broken or not copy.present:
            raise PostgresError("nothing to start")
        await self._stalled_start()
        if not copy.running:
            copy.start()
            keep_streaming(copy, copy.life)

    async def _stalled_start(self) -> None:
        """Crash recovery writes: it neither ends nor fails while the disk hangs."""
        if self._copy.hangs:
            await pause(int(30_000 * PATIENCE))
            raise PostgresError("not started in time")

    async def stop_clean(self, timeout_seconds: float) -> None:
        """Stop the fast way; the shutdown goes on whether or not anyone waits for it."""
        await self._effect()
        copy = self._copy
        if not copy.running:
            return
        copy.begin_stop()
        deadline_ms = self._shelf.engine.now + int(timeout_seconds * 1000 * PATIENCE)
        while copy.running:
            if self._shelf.engine.now > deadline_ms:
                raise PostgresError("stop not done in time")
            await pause(5)

    async def kill_hard(self) -> None:
        """Kill it."""
        await self._effect()
        self._copy.crash()

    async def become_standby(self, upstream: PlaceSettings | None, own_id: CopyId) -> None:
        """Turn the stopped directory into a standby as it is."""
        await self._effect()
        copy = self._require_stopped()
        copy.hba_open, copy.names_file = False, frozenset()
        copy.upstream_file, copy.standby_signal = upstream, True

    def _require_stopped(self) -> SimCopy:
        if self._copy.running:
            raise PostgresError("its server runs; stop it first")
        return self._copy

    def _asked(self, upstream: PlaceSettings) -> SimCopy:
        """Return the upstream's copy if its server can be asked now."""
        found = self._shelf.by_place[upstream.name]
        if not can_serve(self._shelf, self._copy, found):
            raise PostgresError("upstream does not answer")
        return found

    async def can_follow_directly(self, upstream: PlaceSettings) -> bool:
        """Judge by the production rule."""
        await self._effect(10)
        copy, up = self._copy, self._asked(upstream)
        state = ClusterState.SHUT_DOWN if copy.clean else ClusterState.IN_PRODUCTION
        last = (len(copy.log) - 1) * RECORD_BYTES
        left_at = dict(up.history).get(copy.timeline)
        reached = len(up.log) * RECORD_BYTES
        known = copy.timeline == up.timeline or left_at is not None
        fork = left_at * RECORD_BYTES if left_at is not None else None
        history = UpstreamHistory("cell", not up.primary, reached, known, fork)
        return is_contained(ControlData("cell", state, copy.timeline, last, 0), history)

    async def clone(self, upstream: PlaceSettings, own_id: CopyId) -> None:
        """Copy the upstream; what stood here stays until the new one is whole."""
        await self._effect()
        self._require_stopped()
        up = self._asked(upstream)
        life = up.life
        await pause(20 + int(self._rnd.random() * 100))
        self._before_effect()
        if up.life != life or self._asked(upstream) is not up:
            raise PostgresError("the copy broke off")
        self._settle(up, upstream, own_id)

    async def ask_upstream(self, upstream: PlaceSettings) -> None:
        """Fail unless it answers now."""
        await self._effect(10)
        self._asked(upstream)

    async def rewind(self, upstream: PlaceSettings, own_id: CopyId) -> None:
        """Mark, rewind, unmark; what breaks off in between leaves a broken directory."""
        await self._effect()
        copy = self._require_stopped()
        up = self._asked(upstream)
        if not copy.present:
            raise PostgresError("no data to rewind")
        life = up.life
        copy.broken = True
        await pause(10 + int(self._rnd.random() * 60))
        self._before_effect()
        if up.life != life or self._asked(upstream) is not up:
            raise PostgresError("the rewind broke off")
        self._settle(up, upstream, own_id)

    def _settle(self, up: SimCopy, upstream: PlaceSettings, own_id: CopyId) -> None:
        copy = self._copy
        copy.present, copy.broken, copy.copy = True, False, own_id
        copy.log, copy.timeline, copy.history = up.log[:], up.timeline, up.history
        copy.standby_signal, copy.clean, copy.hba_open = True, False, False
        copy.names_file, copy.upstream_file = frozenset(), upstream

    async def follow(self, upstream: PlaceSettings, own_id: CopyId) -> None:
        """Point the running standby elsewhere."""
        copy = await self._session()
        copy.upstream_file = upstream
        await self._reload()
        self._drop_receiver()

    def _drop_receiver(self) -> None:
        if self._copy.receiver is not None:
            self._copy.receiver.drop_receiver()

    async def stop_receiver(self, own_id: CopyId) -> None:
        """Receive nothing more; replay what was received."""
        copy = await self._session()
        copy.upstream_file = None
        await self._reload()
        self._drop_receiver()
        await self._session(10)
        copy.replayed = len(copy.log)

    async def promote(self, timeline: int, timeout_seconds: float) -> int:
        """Promote; the promotion goes on whether or not anyone waits for it."""
        copy = await self._session()
        if not copy.primary:
            copy.begin_promotion(timeline)
        deadline_ms = self._shelf.engine.now + int(timeout_seconds * 1000 * PATIENCE)
        while not copy.primary:
            if self._shelf.engine.now > deadline_ms:
                raise PostgresError("still in recovery")
            await pause(8)
            copy = await self._session(1)
        return copy.timeline

    async def set_sync_names(self, names: frozenset[CopyId]) -> None:
        """Write the file, have it read, prove it by a checkpoint."""
        copy = await self._session()
        copy.names_file = names
        await self._reload()
        await self._stalled()
        await self._session(10)
        copy.checkpoint()

    async def _reload(self) -> None:
        (await self._session()).reload()

    async def write_marker(self, epoch: int, own_id: CopyId, timeout_seconds: float) -> int:
        """Commit the epoch's row, waiting for nobody."""
        copy = await self._session()
        if not copy.primary:
            raise PostgresError("read-only")
        await self._hung()
        record = self._shelf.new_record()
        self._shelf.markers.append((len(copy.log) + 1, record, epoch))
        copy.append(record)
        return len(copy.log) * RECORD_BYTES

    async def wait_flushed(self, copy: CopyId, lsn: int, timeout_seconds: float) -> bool:
        """Ask the primary what it knows of a follower, until it is enough."""
        deadline_ms = self._shelf.engine.now + int(timeout_seconds * 1000 * PATIENCE)
        while self._shelf.engine.now <= deadline_ms:
            own = await self._session()
            if any(f.name == copy and f.acked * RECORD_BYTES >= lsn for f in own.followers):
                return True
        return False

    async def checkpoint(self) -> None:
        """Write a checkpoint."""
        copy = await self._session(10)
        await self._stalled()
        copy.checkpoint()

    def write_fenced(self) -> None:
        """Write the file."""
        self._before_effect()
        self._copy.hba_open = False

    def write_open(self) -> None:
        """Write the file that admits clients; production does so only on its way to a reload."""
        self._copy.hba_open = True

    async def fence(self) -> None:
        """Write the file, which the server that runs does not read again."""
        (await self._session()).hba_open = False

    async def open_to_clients(self) -> None:
        """Admit clients."""
        self._opened = False
        (await self._session()).hba_open = True
        await self._reload()
        self._opened = True

    async def wait_until_idle(self, timeout_seconds: float) -> None:
        """Wait until no commit is under way, or until the time is over."""
        deadline_ms = self._shelf.engine.now + int(timeout_seconds * 1000)
        while self._copy.waiting and self._shelf.engine.now < deadline_ms:
            await self._session(5)
