"""A model of one PostgreSQL copy: a directory, perhaps a server on it, a log of records on disk.

A record is an id that is used once, so two logs that hold the same id at one position are equal up to
there. Only what is on disk is modelled: a record not flushed is a commit not yet begun, one sent but
not flushed at a standby is a message still under way.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from replication.model import CopyId
from replication.settings import PlaceSettings
from replication.simulator.engine import Engine
from replication.simulator.links import Links

RECORD_BYTES = 8192


class Upstream(Protocol):
    """One end of a stream, as the copy at that end sees it (`streams.Stream`)."""

    name: CopyId
    acked: int
    caught_up: bool
    replied_ms: int
    heard_ms: int

    def push(self) -> None:
        """Send what is new."""

    def break_both(self) -> None:
        """End it at both ends."""

    def drop_receiver(self) -> None:
        """End it from the standby's side."""

    def close(self, *, reset: bool) -> None:
        """End it; with `reset` the other end hears of it at once if the line is up."""


class Watcher(Protocol):
    """Who checks the invariants; each method may end the schedule."""

    def acknowledged(self, copy: "SimCopy", record: int, position: int) -> None:
        """A client was told that its commit is done."""

    def admits(self, copy: "SimCopy") -> None:
        """A primary begins to admit clients."""

    def names_changed(self, copy: "SimCopy") -> None:
        """What commits wait for has changed."""

    def promoting(self, copy: "SimCopy") -> None:
        """A standby was told to become a primary."""

    def promoted(self, copy: "SimCopy") -> None:
        """A standby became a primary, on its new timeline."""

    def forked_stream(self, standby: "SimCopy", upstream: "SimCopy") -> None:
        """A standby would receive another history as if it were its own."""


@dataclass(slots=True)
class Shelf:
    """What all copies of one schedule share."""

    engine: Engine
    links: Links
    rnd: Random
    watch: Watcher
    records: int = 0
    markers: list[tuple[int, int, int]] = field(default_factory=list)
    """Position, record, epoch of each epoch marker ever written."""
    stalled_ms: int = 0
    """How long a disk stall makes reloads and checkpoints take."""
    by_place: dict[str, "SimCopy"] = field(default_factory=dict)

    def new_record(self) -> int:
        """Return a record id never used before."""
        self.records += 1
        return self.records


@dataclass(slots=True)
class Waiting:
    """A commit that waits for the sync names; `done` is told once they all have it."""

    position: int
    done: Callable[[], None]
    client: bool


@dataclass(slots=True, eq=False)
class SimCopy:
    """One place: what stands in its directory and what its server does."""

    shelf: Shelf
    place: PlaceSettings
    present: bool = False
    broken: bool = False
    copy: CopyId | None = None
    log: list[int] = field(default_factory=list)
    timeline: int = 1
    history: tuple[tuple[int, int], ...] = ()
    """Earlier timelines with the position at which each was left."""
    standby_signal: bool = False
    clean: bool = False
    hba_open: bool = False
    names_file: frozenset[CopyId] = frozenset()
    upstream_file: PlaceSettings | None = None
    upstream: PlaceSettings | None = None
    """Whom the server that runs follows, and its sessions show: what the file said when it was read last."""
    running: bool = False
    mute: bool = False
    disk_hangs_since_ms: int | None = None
    """As a primary it can put nothing on its disk; a standby's is a line that swallows."""
    disk_full: bool = False
    stopping: bool = False
    primary: bool = False
    open: bool = False
    names_shown: frozenset[CopyId] = frozenset()
    names: frozenset[CopyId] = frozenset()
    """What commits wait for: follows `names_shown` when the checkpointer has read it."""
    life: int = 0
    started_ms: int = 0
    boot_end: int = 0
    replayed: int = 0
    receiver: Upstream | None = None
    followers: list[Upstream] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)

    def epoch_marker(self) -> int | None:
        """Return the epoch written last in this history."""
        log = self.log
        for position, record, epoch in reversed(self.shelf.markers):
            if position <= len(log) and log[position - 1] == record:
                return epoch
        return None

    @property
    def hangs(self) -> bool:
        """Say whether a server that runs or starts as a primary cannot write."""
        return self.disk_hangs_since_ms is not None and not self.standby_signal

    def append(self, record: int) -> int:
        """Write one record to disk and to the streams; return its position (from 1)."""
        self.log.append(record)
        for follower in self.followers:
            follower.push()
        return len(self.log)

    def commit(self, record: int, done: Callable[[], None], *, client: bool, wait: bool = True) -> int:
        """Commit; `done` is called when everyone waited for has it."""
        position = self.append(record)
        if wait and self.names:
            self.waiting.append(Waiting(position, done, client))
            self.release_waiting()
        else:
            done()
        return position

    def release_waiting(self) -> None:
        """Let go every commit that all the names have."""
        if not self.waiting or self.stopping:
            return
        flushed = len(self.log)
        for name in self.names:
            known = 0
            for follower in self.followers:
                if follower.acked > known and follower.caught_up and follower.name == name:
                    known = follower.acked
            flushed = min(flushed, known)
        ready = [w for w in self.waiting if w.position <= flushed]
        if ready:
            self.waiting = [w for w in self.waiting if w.position > flushed]
            for waiting in ready:
                waiting.done()

    def start(self) -> None:
        """Start the server as the directory says."""
        self.life += 1
        self.running, self.mute, self.stopping, self.clean = True, False, False, False
        self.primary = not self.standby_signal
        self.started_ms = self.shelf.engine.now
        self.boot_end = self.replayed = len(self.log)
        self.names = self.names_shown = self.names_file
        self.upstream = self.upstream_file
        self.followers, self.waiting, self.receiver = [], [], None
        self._set_open()

    def _set_open(self) -> None:
        opens = self.hba_open and self.primary
        if opens and not self.open:
            self.open = True
            self.shelf.watch.admits(self)
        self.open = opens

    def reload(self) -> None:
        """Read the files: pg_hba and the upstream at once, the names when the checkpointer comes to it."""
        self._set_open()
        self.upstream = self.upstream_file
        if self.names_shown != self.names_file:
            self.names_shown = self.names_file
            late = int(self.shelf.rnd.random() * 15) + self.shelf.stalled_ms
            self.shelf.engine.at(late, self._names_arrive, self.life, self.names_shown)

    def _names_arrive(self, life: int, names: frozenset[CopyId]) -> None:
        if life == self.life and self.running and names == self.names_shown and names != self.names:
            self.names = names
            self.shelf.watch.names_changed(self)
            self.release_waiting()

    def checkpoint(self) -> None:
        """The checkpointer reads its configuration before it serves a checkpoint."""
        self._names_arrive(self.life, self.names_shown)

    def end_sessions(self) -> None:
        """End all clients; their waiting commits stay in the log, unacknowledged and visible from now on."""
        if any(w.client for w in self.waiting):
            self.boot_end = len(self.log)
        self.waiting = [w for w in self.waiting if not w.client]

    def crash(self, *, silent: bool = False) -> None:
        """Lose everything but the disk; peers hear of it unless the whole site is gone."""
        self._end(clean=False, reset=not silent)

    def _end(self, *, clean: bool, reset: bool) -> None:
        if not self.running:
            return
        self.life += 1
        self.running = self.open = self.stopping = self.mute = False
        self.clean = clean
        self.waiting = []
        for end in (*self.followers, *((self.receiver,) if self.receiver else ())):
            end.close(reset=reset)
        self.followers, self.receiver = [], None

    def begin_stop(self) -> None:
        """Begin a fast shutdown: sessions end, the last record is shipped to whoever still streams."""
        if not self.running or self.stopping:
            return
        self.end_sessions()
        self.open = False
        self.waiting = []
        self.stopping = True
        if self.primary:
            self.append(self.shelf.new_record())
        self._stop_if_shipped(self.life)

    def _stop_if_shipped(self, life: int) -> None:
        if life != self.life or not self.running:
            return
        if self.mute or self.hangs or any(f.acked < len(self.log) for f in self.followers):
            self.shelf.engine.at(5, self._stop_if_shipped, life)
            return
        self._end(clean=True, reset=True)

    def begin_promotion(self, timeline: int) -> None:
        """Become a primary soon, on `timeline` (0: the next one that this directory knows nothing of).

        With a live receiver the end of WAL was looked at before it ended.
        """
        self.shelf.watch.promoting(self)
        end = self.replayed if self.receiver is not None else len(self.log)
        self.shelf.engine.at(5 + int(self.shelf.rnd.random() * 40), self._promote, self.life, end, timeline)

    def _promote(self, life: int, end: int, timeline: int) -> None:
        if life != self.life or not self.running or self.primary:
            return
        if self.receiver is not None:
            self.receiver.close(reset=True)
            self.receiver = None
        if end < len(self.log):
            self.log = self.log[:end]
        self.history = (*self.history, (self.timeline, len(self.log)))
        self.timeline = timeline or self.timeline + 1
        self.shelf.watch.promoted(self)
        self.primary, self.standby_signal = True, False
        self.started_ms = self.shelf.engine.now
        self.names = self.names_shown = self.names_file
        self.append(self.shelf.new_record())
        self.boot_end = len(self.log)
        self._set_open()

    def lose_directory(self) -> None:
        """The disk is gone with all that was on it."""
        self.crash()
        self.life += 1
        self.present = self.broken = False
        self.copy, self.log = None, []
