"""Moving one chunk of slots: the steps, and what is done with a move that somebody left behind.

What decides is one commit, the target's: its rows and "owned" together. Before it the chunk is the source's
and every step can be undone; after it the move can only be finished. Nothing else is needed to know which:
whoever goes on first makes sure, under the lock of the target's row, that an older try can commit no more.

  journal    etcd: the move and its number, by compare-and-swap        source writes
  copy       rounds into one open transaction of the target            source writes
  fence      source: "leaving", committed; the rest copied; sums equal nobody writes (requests wait)
  decide     target: rows and "owned", committed                       target writes
  tell       etcd: routers go to the target                            target writes
  clean      source: rows taken away, "gone", committed; etcd: no move target writes
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import psycopg

from core_app.directory import Directory, Moving, Phase
from core_app.errors import CoreError
from core_app.moving import statements
from core_app.moving.checks import MoveRefused, check_day, check_move, read_ground
from core_app.moving.copying import Connection, Copier, Mark, Sums, require_equal, take_place
from core_app.moving.record import change_record, read_record
from core_app.moving.tables import MOVED
from replication.etcd import Etcd

FEW_ROWS = 200
"""Rows of a round after which the fence is worth it. Source: our choice; some 20 ms of copying."""
MOST_ROUNDS = 6
"""Rounds before the fence at most. Source: our choice; each takes what changed during the one before."""

OpenCell = Callable[[str], AbstractAsyncContextManager[Connection]]
"""Opens a session, as the owner of the tables, on a cell's current primary; autocommit."""


class Step(enum.StrEnum):
    """What a move is about to do; the name is told before it is done."""

    JOURNAL = "journal"
    COPY = "copy"
    FENCE = "fence"
    REST = "rest"
    DECIDE = "decide"
    TELL = "tell"
    CLEAN = "clean"
    END = "end"


class MoveUnsettled(CoreError):
    """The move could be neither finished nor undone now; the message says what to do."""


@dataclass(frozen=True, slots=True)
class MovedChunk:
    """A finished move: rows by table, the SM3 over all tables' sums, rounds, seconds by `read_elapsed`."""

    chunk: int
    source: str
    target: str
    epoch: int
    rows: dict[str, int]
    digest: str
    rounds: int
    seconds: float
    pause_seconds: float


@dataclass(slots=True)
class Mover:
    """Moves chunks, one at a time. `tell` hears each step, and of the copying each table and its rows."""

    etcd: Etcd
    cells: tuple[str, ...]
    open_cell: OpenCell
    by: str
    read_now: Callable[[], str]
    read_elapsed: Callable[[], float]
    tell: Callable[[Step, str, int], Awaitable[None]]
    _told: list[tuple[str, int]] = field(default_factory=list)

    async def move(self, chunk: int, target: str) -> MovedChunk | None:
        """Move a chunk, going on with one left behind; None: it is there already.

        MoveRefused or RowsDiffer with nothing changed, MoveUnsettled when that could not be made sure of.
        """
        await self.settle()
        directory = (await read_record(self.etcd, self.cells)).directory
        check_move(directory, self.cells, chunk, target)
        source = directory.cell_of_chunk(chunk)
        if source == target:
            return None
        began = self.read_elapsed()
        moving = await self._journal(chunk, source, target)
        rounds, fenced = 0, began
        try:
            rounds, fenced = await self._carry_over(moving)
        except Exception as error:
            if await self._undo_after(moving, error):
                raise
        await self.tell(Step.TELL, "", 0)
        await self._send_there(moving)
        pause = self.read_elapsed() - fenced
        arrived = await self._clean(moving)
        return MovedChunk(
            chunk, source, target, moving.epoch, arrived.rows, arrived.digest.hex(), rounds,
            round(self.read_elapsed() - began, 3), round(pause, 3),
        )  # fmt: skip

    async def settle(self) -> Moving | None:
        """Finish, or undo, a move that was left behind; return it, None when there is none.

        MoveRefused while whoever began it is still at it.
        """
        moving = (await read_record(self.etcd, self.cells)).directory.moving
        if moving is None:
            return None
        if cell := await self.find_worker(moving):
            raise MoveRefused(
                f"chunk {moving.chunk} is on its way to {moving.target}, begun by {moving.by} at"
                f" {moving.at} and still worked on in cell {cell}; `biyi slot abort` ends that"
            )
        if moving.phase is Phase.COPYING and not await self._is_decided(moving):
            await self._undo(moving)
        else:
            await self._send_there(moving)
            await self._clean(moving)
        return moving

    async def find_worker(self, moving: Moving) -> str | None:
        """Return a cell in which somebody is at a move, None where it was left behind."""
        for cell in (moving.source, moving.target):
            async with self.open_cell(cell) as connection:
                if await statements.find_others(connection):
                    return cell
        return None

    async def abort(self) -> Moving | None:
        """Undo a move that was left behind; None when there is none, MoveRefused when it is decided."""
        moving = (await read_record(self.etcd, self.cells)).directory.moving
        if moving is None:
            return None
        if moving.phase is Phase.ARRIVED or await self._is_decided(moving):
            raise MoveRefused(
                f"chunk {moving.chunk} is in cell {moving.target} already: finish the move instead"
            )
        await self._undo(moving)
        return moving

    async def _journal(self, chunk: int, source: str, target: str) -> Moving:
        await self.tell(Step.JOURNAL, "", 0)
        at = self.read_now()

        def announce(directory: Directory) -> Directory | None:
            epoch = directory.epochs.get(chunk, 0) + 1
            moving = directory.moving
            if moving is not None and (moving.by, moving.at) == (self.by, at):
                return None  # an answer that was lost
            check_move(directory, self.cells, chunk, target)
            return directory.begin(Moving(chunk, source, target, epoch, Phase.COPYING, self.by, at))

        moving = (await change_record(self.etcd, self.cells, announce)).moving
        if moving is None:
            raise MoveUnsettled("the journal does not have the move that was written into it")
        return moving

    async def _carry_over(self, moving: Moving) -> tuple[int, float]:
        """Copy, fence, compare and decide; return the rounds and when the fence began."""
        async with self.open_cell(moving.source) as source, self.open_cell(moving.target) as target:
            copier = Copier(source, target, moving.chunk, lambda name, rows: self._told.append((name, rows)))
            await copier.prepare()
            await target.execute("begin")
            await statements.say_moving(target, self.by)
            await statements.lock_target(target, moving)
            await read_ground(source, target, moving)
            mark, rounds = await self._copy_rounds(copier)
            settled = await self._compare_settled(copier, mark)
            await self.tell(Step.FENCE, "", 0)
            fenced = self.read_elapsed()
            await self._fence(source, moving)
            await self.tell(Step.REST, "", 0)
            await copier.copy_rest(mark)
            sums = await self._compare_rest(copier, mark, settled)
            day = await statements.hold_day(source, moving.chunk)
            check_day(moving, day, await statements.hold_day(target, moving.chunk))
            await self.tell(Step.DECIDE, "", 0)
            await statements.own_chunk(
                target, moving, day.chunk_date, statements.Arrival(sums.rows, sums.digest())
            )
            await target.execute("commit")
            return rounds, fenced

    async def _copy_rounds(self, copier: Copier) -> tuple[Mark, int]:
        await self.tell(Step.COPY, "", 0)
        mark: Mark | None = None
        for number in range(1, MOST_ROUNDS + 1):
            mark, rows = await copier.copy_round(mark)
            for name, count in self._told:
                await self.tell(Step.COPY, name, count)
            self._told.clear()
            if rows <= FEW_ROWS and number > 1:
                break
        if mark is None:
            raise MoveUnsettled("no round was copied")
        return mark, number

    async def _compare_settled(self, copier: Copier, mark: Mark) -> "tuple[Sums, dict[str, int]]":
        """Compare what changes no more, before anybody has to wait; return its sums, the target's numbers."""
        numbered = [moved for moved in MOVED if moved.numbered is not None]
        there = await statements.read_highest(copier.target, numbered)
        ours, theirs = await asyncio.gather(
            copier.sum_rows(copier.source, numbered, {}, mark.numbers),
            copier.sum_rows(copier.target, numbered, {}, there),
        )
        require_equal(ours, theirs)
        return ours, there

    async def _compare_rest(self, copier: Copier, mark: Mark, settled: "tuple[Sums, dict[str, int]]") -> Sums:
        """Compare all other rows on both sides; return the sums of all."""
        before, there = settled
        await copier.require_kept(before, mark.numbers)
        ours, theirs = await asyncio.gather(
            copier.sum_rows(copier.source, MOVED, mark.numbers, {}),
            copier.sum_rows(copier.target, MOVED, there, {}),
        )
        require_equal(ours, theirs)
        return ours.join(before)

    async def _fence(self, source: Connection, moving: Moving) -> None:
        """Let no transaction of the chunk begin, those open having ended; committed when it returns."""
        await take_place(source, moving.chunk)
        try:
            async with source.transaction():
                await statements.say_moving(source, self.by)
                await statements.leave_chunk(source, moving)
        finally:
            await source.execute("select pg_advisory_unlock_all()")

    async def _undo_after(self, moving: Moving, error: Exception) -> bool:
        """Undo after a failure; False when the move is decided all the same (a lost answer to the commit)."""
        try:
            if await self._is_decided(moving):
                return False
            await self._undo(moving)
        except (psycopg.Error, OSError, CoreError, TimeoutError) as second:
            raise MoveUnsettled(
                f"chunk {moving.chunk}: {type(error).__name__}: {error}; and it could not be undone:"
                f" {type(second).__name__}: {second}; run `biyi slot abort`, or the same move again"
            ) from error
        return True

    async def _is_decided(self, moving: Moving) -> bool:
        """Say whether the target has the chunk under this number; if not it never will: it is spent."""
        async with self.open_cell(moving.target) as target:
            await statements.end_others(target)
            async with target.transaction():
                return await statements.spend_number(target, moving)

    async def _undo(self, moving: Moving) -> None:
        """Give the chunk back to the source. Only where the target is known to be unable to have it."""
        async with self.open_cell(moving.source) as source, source.transaction():
            await statements.end_others(source)
            await statements.say_moving(source, self.by)
            await statements.stay(source, moving)
        await self._end(moving)

    async def _send_there(self, moving: Moving) -> None:
        def arrive(now: Directory) -> Directory | None:
            begun = now.moving
            if begun is None or not _is_same(begun, moving) or begun.phase is Phase.ARRIVED:
                return None
            return now.arrive(begun)

        await change_record(self.etcd, self.cells, arrive)

    async def _clean(self, moving: Moving) -> statements.Arrival:
        """Take the source's rows away, and the move out of the journal; return what arrived."""
        await self.tell(Step.CLEAN, "", 0)
        async with self.open_cell(moving.target) as target:
            arrived = await statements.read_arrival(target, moving)
        async with self.open_cell(moving.source) as source, source.transaction():
            await statements.say_moving(source, self.by)
            if await statements.lock_leaving(source, moving):
                await statements.tell_loans(source, moving)
                if (deleted := await statements.delete_rows(source, moving.chunk)) != arrived.rows:
                    raise MoveUnsettled(
                        f"chunk {moving.chunk}: {deleted} at the source, {arrived.rows} arrived"
                    )
                await statements.go(source, moving, arrived)
        await self.tell(Step.END, "", 0)
        await self._end(moving)
        return arrived

    async def _end(self, moving: Moving) -> None:
        def end(now: Directory) -> Directory | None:
            return now.end() if _is_same(now.moving, moving) else None

        await change_record(self.etcd, self.cells, end)


def _is_same(one: Moving | None, other: Moving) -> bool:
    return one is not None and (one.chunk, one.epoch) == (other.chunk, other.epoch)
