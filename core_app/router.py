"""Runs transactions on the current primary of a cell, across failovers, and says what became of them.

Grants tell where a cell is written and in which epoch. On a new epoch every connection of the old
one is dropped at once; what had not sent COMMIT waits and is run again, what had is *unknown* and is
run again too: the unique key of `core.commands` decides which run has the effect.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import psycopg

from core_app.acting import ACTOR
from core_app.directory import KEY as DIRECTORY
from core_app.directory import BadDirectory, Directory, deal, read_directory
from core_app.router_fate import Fate, UncertainCommit, decide_fate
from core_app.router_line import REQUIRE_EPOCH, REQUIRE_PLACE, Connection, Line, Sessions, Tasks, abort
from core_app.slots import Home
from replication.etcd import Etcd
from replication.grants import follow_grants
from replication.model import Grant, GrantSeen, Mode, Site
from replication.settings import SiteSettings
from replication.tls import Tls

T = TypeVar("T")
Work = Callable[[Connection, int], Awaitable[T]]

MAX_WAITING = 2000
"""Requests that may wait for one cell. Source: our choice; 10 s of 200 requests a second."""
_SESSIONS = Sessions()
_ABANDONED_SECONDS = 0.2
_MOVED_SECONDS = 0.05
"""Longest pause before a chunk that is on its way is looked for again. Source: our choice; news of where
it is end it at once, a move that is undone brings none."""
_CLOSE_SECONDS = 3.0
_WRITING = b"begin"
_READING = b"begin read only"
_log = logging.getLogger(__name__)


class CellUnavailable(Exception):
    """A cell could not do the work in time; `unknown` when a COMMIT was sent and never answered."""

    def __init__(self, cell: str, outcome: Literal["not_done", "unknown"]) -> None:
        super().__init__(f"cell {cell}: {outcome}")
        self.cell = cell
        self.outcome: Literal["not_done", "unknown"] = outcome


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """What the work returned, and the epoch in which it was committed or read."""

    value: T
    epoch: int


class Scattered(Exception):
    """The chunks of a transaction are no longer of one cell: each part goes by itself. Nothing was done."""


class _Abandoned(Exception):
    """Nobody waits for the request any more, and its COMMIT was not sent: it is dropped."""


@dataclass(slots=True)
class _Flight:
    """One request under way: shared by its caller and the task that runs it."""

    opening: bytes
    deadline: float
    guard: tuple[bytes, list[Any]]
    """Head of the transaction: its statement, and the values it takes besides epoch and actor."""
    connection: Connection | None = None
    commit_sent: bool = False
    unknown: bool = False
    abandoned: bool = False

    @property
    def outcome(self) -> Literal["not_done", "unknown"]:
        """Return what can be said now. A read has done nothing, whatever was lost."""
        lost = self.opening is _WRITING and (self.unknown or self.commit_sent)
        return "unknown" if lost else "not_done"

    def remaining(self) -> float:
        """Return the seconds left until the deadline, at least a little."""
        return max(self.deadline - time.monotonic(), 0.001)


class _Cell:
    """What the router knows of one cell; the gate at which transactions wait."""

    def __init__(self, name: str, settings: SiteSettings, sessions: Sessions, tasks: Tasks) -> None:
        self.name = name
        self.grant: Grant | None = None
        self.line: Line | None = None
        self._places = {place.name: place for place in settings.places}
        self._passfile: Path = settings.passfile
        self._sessions = sessions
        self._tasks = tasks
        self._news = asyncio.Event()
        self._waiting = 0
        self._wanted = not sessions.on_demand

    def admits(self, line: Line) -> bool:
        """Say whether a transaction may begin on `line` now."""
        settled = self.grant is not None and self.grant.mode in (Mode.SYNC, Mode.ALONE)
        return settled and line is self.line and line.serving

    def take(self, grant: Grant) -> None:
        """Believe a newer grant: drop the line of an older epoch at once, begin that of the new one."""
        if self.grant is not None and grant.epoch < self.grant.epoch:
            return
        self.grant = grant
        place = self._places.get(grant.primary.place)
        usable = grant.mode is not Mode.TAKING and place is not None
        if self.line is not None and not (
            usable and self.line.epoch == grant.epoch and self.line.place == place
        ):
            self.close()
        self._begin_line()
        self._tell()

    def _begin_line(self) -> None:
        grant = self.grant
        if self.line is not None or grant is None or not self._wanted:
            return
        place = self._places.get(grant.primary.place)
        if grant.mode not in (Mode.SYNC, Mode.ALONE):
            return
        if place is None:
            _log.error("cell %s: its primary's place %s is not ours to know", self.name, grant.primary.place)
            return
        self.line = Line(place, self._passfile, grant.epoch, self._tasks, self._tell, sessions=self._sessions)

    def close(self) -> None:
        """Drop the line."""
        line, self.line = self.line, None
        if line is not None:
            line.close()

    async def admit(self, flight: _Flight) -> Line:
        """Wait at the gate; CellUnavailable at once when too many wait already."""
        if not self._wanted:
            self._wanted = True
            self._begin_line()
        while self.line is None or not self.admits(self.line):
            if self._waiting >= MAX_WAITING:
                raise CellUnavailable(self.name, flight.outcome)
            self._waiting += 1
            try:
                await self._news.wait()
            finally:
                self._waiting -= 1
        return self.line

    def _tell(self) -> None:
        """Wake everyone at the gate to look again."""
        news, self._news = self._news, asyncio.Event()
        news.set()


class Router:
    """Transactions on cells; one a process. Use `Router.start`."""

    def __init__(self, settings: SiteSettings, sessions: Sessions) -> None:
        self.cells: tuple[str, ...] = tuple(cell.name for cell in settings.cells)
        self.directory: Directory = deal(self.cells)
        self._moved = asyncio.Event()
        self._of_customers = sessions.of_customers
        self._tasks = Tasks()
        self._cells = {name: _Cell(name, settings, sessions, self._tasks) for name in self.cells}

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls, settings: SiteSettings, sessions: Sessions = _SESSIONS, *, tls: Tls
    ) -> "AsyncIterator[Router]":
        """Follow the grants and serve until the block ends; needs neither etcd nor a cell to be up.

        `sessions` is how many sessions this process keeps with each cell, `tls` how etcd is called.
        """
        router = cls(settings, sessions)
        async with Etcd(settings.etcd_urls, tls) as etcd:
            following = asyncio.create_task(router._follow(etcd))
            try:
                yield router
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                for cell in router._cells.values():
                    cell.close()
                await router._tasks.end(_CLOSE_SECONDS)

    async def write(self, cell: str, work: Work[T], *, deadline_seconds: float = 10.0) -> Written[T]:
        """Run `work` in a transaction of `cell` and commit it; returns only what is known committed.

        `work` gets a connection in pipeline mode and the epoch, may be run more than once (it needs
        a unique key to be safe), and must neither commit nor swallow an error of the connection.
        Its own exceptions roll back and pass through. With a `Home` for a cell it runs where those chunks
        are; Scattered when they are not of one cell any more. CellUnavailable after `deadline_seconds`; a
        COMMIT that was sent is never cancelled, whatever happens to the caller.
        """
        return await self._run(cell, work, self._fly(_WRITING, cell, deadline_seconds))

    async def read(self, cell: str, work: Work[T], *, deadline_seconds: float = 10.0) -> Written[T]:
        """Run `work` in a read-only transaction on the primary of `cell`; else as `write`."""
        return await self._run(cell, work, self._fly(_READING, cell, deadline_seconds))

    def epoch(self, cell: str) -> int | None:
        """Return the epoch in which the cell is served now, None while it is not."""
        known = self._cells[cell]
        return known.line.epoch if known.line is not None and known.admits(known.line) else None

    def site(self, cell: str) -> Site | None:
        """Return the site at which the cell is written now, None while it is served nowhere."""
        known = self._cells[cell]
        return known.line.place.site if known.line is not None and known.admits(known.line) else None

    def open_connections(self, cell: str) -> int:
        """Return how many connections to the cell's primary there are."""
        line = self._cells[cell].line
        return line.connections if line is not None else 0

    def _fly(self, opening: bytes, cell: str, seconds: float) -> _Flight:
        """Return a flight with the guard it needs; reads of a cell as a whole ask for no place."""
        guard: tuple[bytes, list[Any]] = REQUIRE_EPOCH, []
        if isinstance(cell, Home):
            guard = REQUIRE_PLACE, [list(cell.chunks)]
        elif opening is _WRITING and self._of_customers:
            guard = REQUIRE_PLACE, [None]
        return _Flight(opening, time.monotonic() + seconds, guard)

    def _find(self, name: str) -> _Cell:
        """Return the cell to go to now."""
        if not isinstance(name, Home):
            return self._cells[name]
        found = {self.directory.moved.get(chunk, str(name)) for chunk in name.chunks}
        if len(found) != 1:
            raise Scattered(f"chunks {name.chunks} are in {', '.join(sorted(found))}")
        (now,) = found
        if now not in self._cells:
            _log.error("chunks %s are in cell %s, which is not ours to know", name.chunks, now)
            raise CellUnavailable(now, "not_done")
        return self._cells[now]

    async def _follow(self, etcd: Etcd) -> None:
        async for grants in follow_grants(etcd, {DIRECTORY: self._take_directory}):
            self._take(grants)

    def _take_directory(self, text: str | None) -> None:
        try:
            self.directory = read_directory(text, self.cells)
        except BadDirectory:
            _log.exception("the directory of slots is kept as it was")
            return
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _wait_for_directory(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._moved.wait(), _MOVED_SECONDS)

    def _take(self, grants: dict[str, GrantSeen]) -> None:
        for name, seen in grants.items():
            if name in self._cells:
                self._cells[name].take(seen.grant)

    async def _run(self, name: str, work: Work[T], flight: _Flight) -> Written[T]:
        """Run in a task of its own: the caller may leave, a COMMIT in flight may not."""
        task = self._tasks.spawn(self._attempts(name, work, flight))
        try:
            done, _ = await asyncio.wait({task}, timeout=flight.remaining())
        except asyncio.CancelledError:
            self._leave(task, flight, wait_for_commit=True)
            raise
        if done:
            written: Written[T] = task.result()
            return written
        self._leave(task, flight, wait_for_commit=False)
        raise CellUnavailable(str(name), flight.outcome)

    def _leave(self, task: "asyncio.Task[Written[T]]", flight: _Flight, *, wait_for_commit: bool) -> None:
        """End a request nobody waits for; a COMMIT that was sent may have until the deadline.

        From here on no COMMIT is sent for it: what its caller is told now stays true.
        """
        flight.abandoned = True
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        if flight.commit_sent and wait_for_commit:
            self._tasks.spawn(_end_after(task, flight, flight.remaining()))
        else:
            self._tasks.spawn(_end_after(task, flight, 0))

    async def _attempts(self, name: str, work: Work[T], flight: _Flight) -> Written[T]:
        while True:
            cell = self._find(name)
            line = await cell.admit(flight)
            try:
                connection = await line.borrow(flight.remaining())
            except psycopg.OperationalError:  # the pool was closed, or the primary admits no more
                line.suspect()
                continue
            if not cell.admits(line):
                await line.give_back(connection, reuse=True)
                continue
            try:
                return Written(await _transact(line, connection, work, flight), line.epoch)
            except (psycopg.Error, UncertainCommit) as error:
                fate = decide_fate(error, commit_sent=flight.commit_sent, connection_lost=connection.closed)
                flight.unknown |= fate is Fate.UNKNOWN
                flight.commit_sent = False
                if fate is Fate.FINAL:
                    raise
                if flight.abandoned:
                    raise CellUnavailable(cell.name, flight.outcome) from error
                if fate is Fate.MOVED:
                    await self._wait_for_directory()
                elif fate is not Fate.RUN_AGAIN:
                    line.suspect()


async def _end_after(task: "asyncio.Task[Written[T]]", flight: _Flight, seconds: float) -> None:
    """Let a request nobody waits for end within `seconds`; then cut its connection, never cancel it.

    Only work that does not even notice that (it waits for something else) is cancelled.
    """
    await asyncio.wait({task}, timeout=seconds)
    if flight.connection is not None:
        abort(flight.connection)
        await asyncio.wait({task}, timeout=_ABANDONED_SECONDS)
    if not flight.commit_sent:
        task.cancel()


async def _transact(line: Line, connection: Connection, work: Work[T], flight: _Flight) -> T:
    """Run one transaction; the epoch's guard travels with the first statements of `work`.

    UncertainCommit when COMMIT was answered with 01000. The connection goes back in any case, and is
    cut where its state is in doubt.
    """
    warnings: list[str] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        warnings.append(notice.sqlstate or "")

    connection.add_notice_handler(note)
    flight.connection = connection
    reuse = False
    try:
        async with connection.pipeline():
            await connection.execute(flight.opening)
            statement, places = flight.guard
            await connection.execute(statement, [line.epoch, ACTOR.get(), *places])
            value = await work(connection, line.epoch)
            if flight.abandoned:
                raise _Abandoned
            flight.commit_sent = True
            commit = await connection.execute(b"commit")
        if "01000" in warnings:
            raise UncertainCommit
        if commit.statusmessage != "COMMIT":
            flight.commit_sent = False
            raise RuntimeError("the work swallowed an error of its connection: nothing was committed")
        reuse = True
        return value
    except (UncertainCommit, _Abandoned, asyncio.CancelledError):
        raise
    except BaseException:
        reuse = await _roll_back(connection)
        raise
    finally:
        flight.connection = None
        connection.remove_notice_handler(note)
        await line.give_back(connection, reuse=reuse)


async def _roll_back(connection: Connection) -> bool:
    """Roll back; False when the connection is no longer good for anything."""
    if connection.closed:
        return False
    try:
        await connection.execute(b"rollback")
    except psycopg.Error:
        return False
    return True
