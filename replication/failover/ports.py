"""What the failover loop needs of the world outside, as Protocols: a copy's server, etcd, the journal.

In production `replication.postgres.server.PostgresServer`, `replication.etcd.Etcd` and
`replication.journal.Journal` stand behind them; in the simulator a model does. Everything above
(what is seen, what is decided, the order of effects) is the same code in both.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from replication.failover.states import Decision, Seen
from replication.grants import World
from replication.model import CopyId
from replication.postgres.observe import ServerStatus
from replication.settings import PlaceSettings
from replication.snapshot import snapshot

__all__ = ["Clock", "CopyJournal", "CopyServer", "Directory", "ReadWorld", "StoppedServer"]

Clock = Callable[[], int]
"""Monotonic milliseconds."""
ReadWorld = Callable[[], Awaitable[World]]
"""One linearizable read of everything shared; EtcdUnavailable when no member can serve it."""


@snapshot(frozen=True, slots=True)
class Directory:
    """The own directory, without asking its server."""

    present: bool
    broken: bool
    running: bool
    standby: bool
    """It would start as a standby."""
    copy: CopyId | None
    disk_free_bytes: int | None = None
    """What is left on the fullest disk that the directory lies on; None: not known."""


@dataclass(frozen=True, slots=True)
class StoppedServer:
    """What the files of a server that does not run say of its last life."""

    clean: bool
    timeline: int


class CopyJournal(Protocol):
    """Where decisions and what was done about them are written, before and after acting."""

    def decision(self, seen: Seen, decision: Decision) -> None:
        """Write a decision."""

    def stage(self, stage: str, epoch: int, **facts: object) -> None:
        """Write that something was done."""


class CopyServer(Protocol):
    """One copy's directory and server. Effects are idempotent; whatever fails raises PostgresError,
    psycopg.Error, TimeoutError or OSError, and its outcome is then unknown."""

    @property
    def place(self) -> PlaceSettings:
        """Where the copy stands."""

    async def read_directory(self) -> Directory:
        """Look at the directory."""

    async def read_stopped(self) -> StoppedServer:
        """Read the control file of a server that does not run."""

    async def read_status(self) -> ServerStatus:
        """Look at the running server."""

    def is_open(self) -> bool:
        """Say whether this process has admitted clients and the files still say so."""

    async def release(self) -> None:
        """Drop the standing connection to the own server."""

    def new_copy_id(self) -> CopyId:
        """Return a fresh id for a directory that is about to be made."""

    async def initialise(self, own_id: CopyId) -> None:
        """Make a new, empty, fenced cluster."""

    async def create_roles_and_database(self) -> None:
        """Make roles, database and schema on the running primary."""

    async def start(self) -> None:
        """Start the server as its directory says."""

    async def stop_clean(self, timeout_seconds: float) -> None:
        """End sessions, ship all WAL, shut down; nothing happens when it does not run."""

    async def kill_hard(self) -> None:
        """Kill everything, verified."""

    async def become_standby(self, upstream: PlaceSettings | None, own_id: CopyId) -> None:
        """Turn the stopped directory into a fenced standby as it is."""

    async def can_follow_directly(self, upstream: PlaceSettings) -> bool:
        """Say whether the stopped directory holds nothing that `upstream` lacks."""

    async def clone(self, upstream: PlaceSettings, own_id: CopyId) -> None:
        """Make the directory anew from `upstream`."""

    async def ask_upstream(self, upstream: PlaceSettings) -> None:
        """Find out whether the copy could be rewound against `upstream` now, which needs an answer."""

    async def rewind(self, upstream: PlaceSettings, own_id: CopyId) -> None:
        """Take back what only this stopped directory has; it is broken until that has ended."""

    async def follow(self, upstream: PlaceSettings, own_id: CopyId) -> None:
        """Point the running standby at `upstream`."""

    async def stop_receiver(self, own_id: CopyId) -> None:
        """Receive nothing more and replay what was received."""

    async def promote(self, timeline: int, timeout_seconds: float) -> int:
        """Make the standby a primary on the reserved `timeline` (0: none is); return the one it got."""

    async def set_sync_names(self, names: frozenset[CopyId]) -> None:
        """Have every commit that begins after this returned wait for all of `names`."""

    async def write_marker(self, epoch: int, own_id: CopyId, timeout_seconds: float) -> int:
        """Commit the epoch's row, waiting for no copy; return a WAL position at or after the commit."""

    async def wait_flushed(self, copy: CopyId, lsn: int, timeout_seconds: float) -> bool:
        """Say whether the primary learns in time that a standby has flushed up to `lsn`."""

    async def checkpoint(self) -> None:
        """Write a checkpoint."""

    def write_fenced(self) -> None:
        """Admit no client at the next start."""

    async def fence(self) -> None:
        """Prepare the clean stop that follows: no client at the next start, nobody who would hold it up."""

    async def open_to_clients(self) -> None:
        """Admit clients from now on."""

    async def wait_until_idle(self, timeout_seconds: float) -> None:
        """Wait until no client is inside a transaction, or until the time is over."""
