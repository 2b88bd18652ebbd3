"""The connections of one process to one primary in one epoch; dropped as a whole, at once.

A line serves once a probe found the primary open and in the line's epoch. When a transaction finds
it otherwise, the line stops serving and one probe looks for all who wait.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed

from replication.settings import PlaceSettings
from replication.transport import plan_calling

log = logging.getLogger("biyi.router")

Connection = psycopg.AsyncConnection[Any]

REQUIRE_EPOCH = b"select biyi.require_epoch(%s), set_config('biyi.actor', %s, true)"
"""Head of each transaction: the epoch it is for, and for whom it acts (the audit writes it down)."""
REQUIRE_PLACE = b"""
select biyi.require_epoch(%s), set_config('biyi.actor', %s, true), core.require_place(%s::smallint[])
"""
"""The same of what is about customers: the chunks of slots it is for, or null for any of the cell."""
_PROBE = b"select biyi.require_epoch(%s), pg_is_in_recovery()"
_PROBE_SECONDS = 2.0
_PROBE_PAUSE_SECONDS = 0.015
"""Pause between two probes. Source: our choice; a refused connection costs the server about 2 ms."""
_OPENED_AT_ONCE = 1
"""Sessions a process begins at once with one cell. Source: our choice; whoever waits gets the first, and
beginning one takes both cores about 5 ms: four processes with four each held up the first commits after a
take-over."""
_WARM_SECONDS = 0.2
"""How long the first session of a new pool is alone. Source: our choice; its first transaction takes 30 ms of
a core (cold caches), the next one 5: a second session begun meanwhile makes both later (decision 085)."""
_GROW_AFTER_SECONDS = 1.0
"""How long a new pool stays at its least size. Source: our choice; right after a take-over everyone who
waited would have a session of his own begun, about 5 ms of both cores each and cold caches in each: the
first commits came 100 ms later (pause of a planned move, measured)."""
_CLOSE_SECONDS = 1.0
_AGAIN_SECONDS = 1.0
"""Pause after what nobody foresaw. Source: our choice; it is logged with its trace each time."""

TRANSACTION_MS = 3000
"""The server ends a session whose transaction is open this long. Source: our choice; a transaction
takes three round trips. An entrance that vanished would otherwise hold its row locks and claimed
keys for as long as nobody tells the server, and those who repeat its requests would fill the pool.
It never ends a COMMIT that waits for its copy (tests/integration/router). An
idle_in_transaction_session_timeout would not do: between flushes of a pipeline the server counts
the session as active."""

ALLOW_A_MINUTE = """
select set_config('transaction_timeout', '0', true), set_config('transaction_timeout', '60s', true)
"""
"""What a transaction that may last longer says first. Off, then on: PostgreSQL 18 starts no timer where one
runs (assign_transaction_timeout), so a longer time alone would change nothing."""

# A peer that vanished is noticed in 3-4 s even where no new grant tells of it.
_CONNECTION: dict[str, Any] = {
    "dbname": "biyi",
    "autocommit": True,
    "prepare_threshold": 0,
    "connect_timeout": 2,
    # Planning a posting anew for each call would cost as much as running it: the planner takes the lengths
    # of its arrays for a reason to.
    "options": f"-c transaction_timeout={TRANSACTION_MS} -c plan_cache_mode=force_generic_plan",
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 3000,
}


@dataclass(frozen=True, slots=True)
class Sessions:
    """How many sessions a process keeps with each cell, as whom: always `least`, under load up to `most`.

    `on_demand`: none before the first transaction of the cell, so that a role that few use costs a take-over
    nothing. ValueError unless 1 <= least <= most.
    """

    least: int = 4
    most: int = 20
    """Source: our choice; the entrances of both sites fit into PostgreSQL's 90 unreserved sessions twice, and
    20 commits at a time saturate two cores."""
    user: str = "biyi_app"
    application: str = "biyi-core"
    on_demand: bool = False
    after_seconds: float = 0.0
    """How long a new line waits before its first session: after a take-over customers go first."""
    of_customers: bool = True
    """Whether its transactions write customers' rows, and so wait while slots of theirs leave the cell."""

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"sessions: least {self.least}, most {self.most}: needs 1 <= least <= most")


BACKGROUND_SECONDS = 0.3
"""`after_seconds` of a process that no customer waits for. Source: our choice; the sessions of payers and
notaries, begun with those of the customers' entrances, held up the first commits by about 50 ms."""
PAYER_SESSIONS = Sessions(1, 1, "biyi_payer", "biyi-payer", after_seconds=BACKGROUND_SECONDS)
"""For the payer: one transaction of a cell after another, with no right to more than its orders need."""
SENDER_SESSIONS = Sessions(
    1, 1, "biyi_notices", "biyi-notices", on_demand=True, after_seconds=BACKGROUND_SECONDS
)
"""For the sender of notices, which reads the phone of whoever is to get a text message, and of no other."""
STAFF_SESSIONS = Sessions(1, 3, "biyi_staff", on_demand=True)
"""For the staff portal. Source: our choice; people ask a few times a minute, and those of both entrances
fit beside the others."""


def abort(connection: Connection) -> None:
    """Cut a connection at the socket: whoever waits on it gets OperationalError at once.

    A polite close hangs on a black-holed link, and cancelling psycopg sends a cancel request, which
    would end the wait of a COMMIT for its sync copy.
    """
    if connection.pgconn.status != psycopg.pq.ConnStatus.BAD:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as same:
            same.shutdown(socket.SHUT_RDWR)


def _handing_over(opened: list[Connection]) -> type[Connection]:
    """Return a class of connections whose `connect` gives those of `opened` before it makes any.

    So a pool begins with the session of the probe: one begun anew came 20-60 ms later after a take-over.
    """

    class HandedOver(psycopg.AsyncConnection[Any]):
        @classmethod
        async def connect(cls, *words: Any, **named: Any) -> Any:
            return opened.pop() if opened else await psycopg.AsyncConnection.connect(*words, **named)

    return HandedOver


class Tasks:
    """Background tasks of the router, kept from the garbage collector and awaited at the end."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Start `work` and keep it until it ends."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def end(self, seconds: float) -> None:
        """Wait for all, at most `seconds`; then cancel the rest."""
        if self._running:
            _, late = await asyncio.wait(set(self._running), timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


class Line:
    """Connections to the primary at `place` in `epoch`; `tell` is called when it begins to serve."""

    def __init__(
        self,
        place: PlaceSettings,
        passfile: Path,
        epoch: int,
        tasks: Tasks,
        tell: Callable[[], None],
        *,
        sessions: Sessions,
    ) -> None:
        self.place = place
        self.epoch = epoch
        self.serving = False
        self._arguments = {
            **_CONNECTION,
            **plan_calling(place),
            "user": sessions.user,
            "application_name": sessions.application,
            "passfile": str(passfile),
        }
        self._tasks = tasks
        self._tell = tell
        self._sessions = sessions
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._borrowed: dict[Connection, AsyncConnectionPool[Connection]] = {}
        self._probing: Connection | None = None
        self._opened: list[Connection] = []  # by a probe, for the next pool
        self._closed = False
        tasks.spawn(self._persist(self._open))

    @property
    def connections(self) -> int:
        """Number of connections the pool holds or lends."""
        return int(self._pool.get_stats()["pool_size"]) if self._pool is not None else 0

    async def borrow(self, seconds: float) -> Connection:
        """Return a connection for one transaction; psycopg_pool errors when none comes free."""
        if self._pool is None:
            raise PoolClosed("the line is not open")
        pool = self._pool
        connection = await pool.getconn(timeout=seconds)
        self._borrowed[connection] = pool
        if pool is not self._pool:  # dropped meanwhile: this one was not there to be cut
            abort(connection)
        return connection

    async def give_back(self, connection: Connection, *, reuse: bool) -> None:
        """Take a connection back; one that may not be reused is cut."""
        pool = self._borrowed.pop(connection)  # its own pool: the line may have another one by now
        if not reuse:
            abort(connection)
            await connection.close()
        await pool.putconn(connection)

    def suspect(self) -> None:
        """Serve nobody until a probe has found the primary open and in this epoch."""
        if self.serving:
            self.serving = False
            self._tasks.spawn(self._persist(self._look_again))

    def close(self) -> None:
        """Drop every connection at once; a COMMIT in flight then has an unknown outcome."""
        self._closed = True
        self.serving = False
        if self._probing is not None:
            abort(self._probing)
        self._drop_pool()

    def _drop_pool(self) -> None:
        for connection in tuple(self._borrowed):
            abort(connection)
        while self._opened:
            unused = self._opened.pop()
            abort(unused)
            self._tasks.spawn(unused.close())
        pool, self._pool = self._pool, None
        if pool is not None:
            self._tasks.spawn(pool.close(timeout=_CLOSE_SECONDS))

    async def _open(self) -> None:
        await asyncio.sleep(self._sessions.after_seconds)
        while not self._closed and not await self._probe():
            await asyncio.sleep(_PROBE_PAUSE_SECONDS)
        if self._closed:
            return
        pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            kwargs=self._arguments,
            connection_class=_handing_over(self._opened),
            min_size=1,
            max_size=1,
            num_workers=_OPENED_AT_ONCE,
            open=False,
        )
        await pool.open(wait=False)
        self._pool = pool
        if self._closed:
            self._drop_pool()
            return
        self._serve()
        least, most = self._sessions.least, self._sessions.most
        for pause, size in ((_WARM_SECONDS, least), (_GROW_AFTER_SECONDS - _WARM_SECONDS, most)):
            await asyncio.sleep(pause)
            if pool is not self._pool:
                return
            await pool.resize(least, size)

    async def _look_again(self) -> None:
        if await self._probe() and self._pool is not None:
            if not self._closed:
                self._serve()
                with contextlib.suppress(psycopg.Error, PoolClosed):
                    await self._pool.check()
            return
        self._drop_pool()
        await self._open()

    async def _persist(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look until it ends as foreseen: a line that nobody looks at again would serve nobody, for ever."""
        while not self._closed:
            try:
                return await look()
            except Exception:
                log.exception("looking at %s failed; looking again", self.place.name)
                look = self._look_again
                await asyncio.sleep(_AGAIN_SECONDS)

    def _serve(self) -> None:
        self.serving = True
        self._tell()

    async def _probe(self) -> bool:
        """Say whether the primary admits us and is one, in this line's epoch."""
        connection: Connection | None = None
        timer: asyncio.TimerHandle | None = None
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                connection = await psycopg.AsyncConnection.connect(**self._arguments)
            self._probing = connection
            timer = asyncio.get_running_loop().call_later(_PROBE_SECONDS, abort, connection)
            row = await (await connection.execute(_PROBE, [self.epoch])).fetchone()
            found = row is not None and row[1] is False
            if found and self._pool is None and not self._closed:
                self._opened.append(connection)
                connection = None
            return found
        except psycopg.errors.TooManyConnections:
            return self._pool is not None
        except (psycopg.Error, TimeoutError, OSError):
            return False
        finally:
            self._probing = None
            if timer is not None:
                timer.cancel()
            if connection is not None:
                await connection.close()
