"""Run a cell's day-end: every chunk closed, then booked, one transaction each; then the date moves on.

Each transaction is a command with a key of its own (day, step, chunk), so that it has its effect once
however often, from wherever, and in whatever epoch it is tried; what is done is read from
core.day_end_progress. Two runners at once do no harm. docs/decisions/012-day-end-changes-no-loan.md has
the reasons.
"""

import asyncio
import datetime as dt
import enum
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from psycopg import AsyncCursor

from core_app.business_calendar import business_date_at
from core_app.commands import (
    Answer,
    Claim,
    finish_command,
    make_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.day_end import store
from core_app.day_end.notices import PLAN_NOTICES, notice_columns
from core_app.day_end.terms import product_columns, rule_columns
from core_app.decisions.consents import forget_answers
from core_app.decisions.purge import purge_expired
from core_app.errors import CoreError
from core_app.funding.catch_up import catch_up
from core_app.funding.debits import PLAN_DEBITS, debit_columns
from core_app.funding.match import Unmatched, match_channels
from core_app.insight.rfm import grade_customers
from core_app.ledger.posting import Account
from core_app.loans.reward import grant_rewards
from core_app.marketing.choosing import choose_customers
from core_app.outbox import Told
from core_app.products.catalogue import read_published
from core_app.router import CellUnavailable
from core_app.router_line import ALLOW_A_MINUTE
from core_app.servicing.collection import PLAN_TASKS, collection_columns
from core_app.servicing.read import read_strategies
from core_app.slots import CHUNK_SLOTS, Home

T = TypeVar("T")
Rows = AsyncCursor[Any]

AT_ONCE = 4
"""Chunks worked on side by side. Source: our choice; a commit's wait for its copy is hidden by others."""
PATIENCE_SECONDS = 120.0
"""How long a cell may be away before the run gives up. Source: our choice, twenty times the 5 s limit."""
_PAUSE_SECONDS = 0.25


ACCOUNTS = {
    "interest_receivable": str(Account.INTEREST_RECEIVABLE),
    "interest_income": str(Account.INTEREST_INCOME),
    "penalty_income": str(Account.PENALTY_INCOME),
    "fees_receivable": str(Account.FEES_RECEIVABLE),
    "fee_income": str(Account.FEE_INCOME),
    "impairment_loss": str(Account.IMPAIRMENT_LOSS),
    "loan_loss_provision": str(Account.LOAN_LOSS_PROVISION),
}
"""The accounts that BOOK_CHUNK posts to, by its names for them."""


class Step(enum.StrEnum):
    """What is done with each chunk, in this order."""

    CLOSE = "close"
    BOOK = "book"


class DayNotOpen(CoreError):
    """The cell is not on the day that should end; the message says on which it is."""


@dataclass(frozen=True, slots=True)
class DayClosed:
    """A finished day-end: loans looked at and closings written, over all chunks of the cell."""

    cell: str
    day: dt.date
    loans: int
    closings: int
    seconds: float
    unmatched: tuple[Unmatched, ...] = ()
    """Payouts and debits up to the day before that files, orders and ledger do not agree on yet."""


Tell = Callable[[str, Step, int, int], None]
"""Called with cell, step, chunks done and chunks in all."""


@dataclass(slots=True)
class DayEnd:
    """The day-end of one cell. `run` may be called again, by anyone, after any kind of end."""

    core: LendingCore
    cell: str
    tell: Tell
    patience_seconds: float = PATIENCE_SECONDS
    at_once: int = AT_ONCE
    _answered_at: float = field(default_factory=time.monotonic)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Return the chunks that are the cell's now."""
        return self.core.router.directory.chunks_of_cell(self.cell)

    async def run(self, day: dt.date | None = None) -> DayClosed:
        """Close `day`, by default the cell's business date, going on where an earlier run ended.

        DayNotOpen when the cell is on another day, CellUnavailable when it stays away for longer than
        `patience_seconds`.
        """
        started = time.monotonic()
        open_day = await self.take_over()
        day = day or open_day
        if day > open_day or (day < open_day and not await self._is_closed(day)):
            raise DayNotOpen(f"cell {self.cell} is on {open_day}: needs that day, not {day}")
        rows = await self._close_all(day)
        await self._patiently(lambda: grant_rewards(self.core, self.cell))
        await self._patiently(lambda: grade_customers(self.core, self.cell, day))
        await self._patiently(lambda: choose_customers(self.core, self.cell, day))
        await self._patiently(lambda: forget_answers(self.core, self.cell))
        await self._patiently(lambda: purge_expired(self.core, self.cell, day))
        await self._patiently(lambda: catch_up(self.core, self.cell, day))
        unmatched = await self._patiently(lambda: match_channels(self.core, self.cell, day))
        seconds = round(time.monotonic() - started, 3)
        return DayClosed(self.cell, day, rows[Step.CLOSE], rows[Step.BOOK], seconds, unmatched)

    async def _close_all(self, day: dt.date) -> dict[Step, int]:
        """Do every step for all chunks and move the date on; again when a chunk came or went meanwhile."""
        ends: float | None = None
        while True:
            chunks = self.chunks
            rows = {step: await self._do(day, step, chunks) for step in Step}
            if await self._patiently(partial(self._finish, day, chunks)):
                return rows
            ends = ends or time.monotonic() + self.patience_seconds
            if time.monotonic() > ends:
                raise DayNotOpen(f"cell {self.cell}: {day} cannot end: its chunks of slots stay in doubt")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _do(self, day: dt.date, step: Step, chunks: tuple[int, ...]) -> int:
        """Do a step for every chunk that lacks it; return the rows it wrote for the whole cell."""
        done = await self._patiently(lambda: self._read_done(day, step, chunks))
        missing = [chunk for chunk in chunks if chunk not in done]
        turn = asyncio.Semaphore(self.at_once)
        self.tell(self.cell, step, len(done), len(chunks))

        async def take_turn(chunk: int) -> None:
            what = (day, step, chunk)
            async with turn:
                done[chunk] = await self._patiently(lambda: do_chunk(self.core, self.cell, what))
                self.tell(self.cell, step, len(done), len(chunks))

        try:
            async with asyncio.TaskGroup() as group:
                for chunk in missing:
                    group.create_task(take_turn(chunk))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return sum(done.values())

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the cell answers; what is asked may be asked again."""
        while True:
            try:
                answer = await ask()
            except CellUnavailable:
                if time.monotonic() - self._answered_at > self.patience_seconds:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                self._answered_at = time.monotonic()
                return answer

    async def read_open_day(self) -> dt.date:
        """Return the day that would be closed."""
        status = await self._patiently(lambda: read_status(self.core, self.cell))
        text = status["business_date"]
        return dt.date.fromisoformat(text) if text else self.core.read_today()

    async def take_over(self) -> dt.date:
        """Return the open day; a cell that follows the calendar stays on it until a day-end moves it."""
        return await self._patiently(self._open_day)

    async def _open_day(self) -> dt.date:
        async def work(connection: Connection, epoch: int) -> dt.date:
            rows = await connection.execute(store.OPEN_DAY, [self.core.read_today()])
            return dt.date.fromisoformat(str((await _fetch(rows))[0]))

        return await self._write(work)

    async def _is_closed(self, day: dt.date) -> bool:
        chunks = self.chunks
        closed = await self._patiently(lambda: self._read_done(day, Step.CLOSE, chunks))
        booked = await self._patiently(lambda: self._read_done(day, Step.BOOK, chunks))
        return len(closed) == len(booked) == len(chunks)

    async def _read_done(self, day: dt.date, step: Step, chunks: tuple[int, ...]) -> dict[int, int]:
        async def work(connection: Connection, epoch: int) -> dict[int, int]:
            rows = await connection.execute(store.SELECT_DONE, [day, str(step)])
            return {chunk: written for chunk, written in await rows.fetchall() if chunk in chunks}

        read = await self.core.router.read(self.cell, work, deadline_seconds=self.core.deadline_seconds)
        return read.value

    async def _finish(self, day: dt.date, chunks: tuple[int, ...]) -> bool:
        """Move the cell's date on from `day`; return whether it is past it."""
        values = {"day": day, "steps": len(Step) * len(chunks), "chunks": list(chunks)}

        async def work(connection: Connection, epoch: int) -> bool:
            await connection.execute(store.LOCK_DATE)
            await connection.execute(store.FINISH_DAY, values)
            (date,) = await _fetch(await connection.execute(store.SELECT_DATE))
            return date is not None and date > day

        return await self._write(work)

    async def _write(self, work: Callable[[Connection, int], Awaitable[T]]) -> T:
        written = await self.core.router.write(self.cell, work, deadline_seconds=self.core.deadline_seconds)
        return written.value


async def do_chunk(core: LendingCore, cell: str, what: tuple[dt.date, Step, int]) -> int:
    """Close or book one chunk for a day, once, in the cell that has it; return how many rows that wrote."""
    day, step, chunk = what
    key = f"day-end-{day:%Y%m%d}-{step}-{chunk:03d}"
    body = {"day": day.isoformat(), "step": str(step), "chunk": chunk}
    command = make_command(core, key, "day-end", body)

    async def work(connection: Connection, claim: Claim) -> Answer:
        values = _chunk_values(day, chunk, key) | {"epoch": claim.epoch, "site": core.site}
        await connection.execute(ALLOW_A_MINUTE)
        await connection.execute(store.BY_INDEX)
        moved = await _ask_to_move(connection, values) if step is Step.CLOSE else None
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        written = await (
            _book(core, connection, values) if moved is None else _close(core, connection, values, moved)
        )
        await connection.execute(store.INSERT_PROGRESS, [day, str(step), chunk, written, key])
        answer = body | {"rows": written}
        return await finish_command(connection, claim, 201, answer, Told(f"day_end.{step}", key, answer))

    done = await run_command(core, Home(cell, [chunk]), command, work)
    return int(done.answer.body["rows"])


def _chunk_values(day: dt.date, chunk: int, key: str) -> dict[str, Any]:
    first = chunk * CHUNK_SLOTS
    # Ids of a slot's loans begin with L and its three hex digits; the database sorts by bytes.
    bounds = {"first": f"L{first:03x}-", "last": f"L{first + CHUNK_SLOTS:03x}-"}
    return bounds | {"day": day, "chunk": chunk, "key": key}


async def _ask_to_move(connection: Connection, values: dict[str, Any]) -> tuple[Rows, Rows]:
    """Send the chunk's lock, its move to the next day, and the question what is published; reads nothing.

    A chunk that was closed before is on a later day: it is not moved again.
    """
    await connection.execute(store.LOCK_CHUNK, [values["chunk"]])
    moved = await connection.execute(store.MOVE_CHUNK, values)
    return moved, await connection.execute(store.SELECT_PUBLISHED)


async def _close(
    core: LendingCore, connection: Connection, values: dict[str, Any], asked: tuple[Rows, Rows]
) -> int:
    moved, published = asked[0], await asked[1].fetchall()
    if await moved.fetchone() is None:
        raise RuntimeError(f"chunk {values['chunk']} is not on {values['day']}: nothing was done")
    products = [*core.catalogue.versions.values(), *(read_published(row[0]) for row in published)]
    columns = product_columns(products, values["day"]) | rule_columns(core.catalogue.rulebook, values["day"])
    rows = await connection.execute(store.CLOSE_CHUNK, values | columns)
    if (collected := debit_columns(products))["debit_products"]:
        await connection.execute(PLAN_DEBITS, values | collected)
    await connection.execute(PLAN_NOTICES, values | notice_columns(products, values["day"]))
    rulebook, strategies = core.catalogue.rulebook, read_strategies()
    steps = collection_columns(products, strategies, rulebook, values["day"])
    await connection.execute(PLAN_TASKS, values | steps)
    return int((await _fetch(rows))[0])


async def _book(core: LendingCore, connection: Connection, values: dict[str, Any]) -> int:
    rules = rule_columns(core.catalogue.rulebook, values["day"])
    rows = await connection.execute(store.BOOK_CHUNK, values | ACCOUNTS | rules)
    return int((await _fetch(rows))[0])


async def _fetch(rows: Any) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = await rows.fetchone()
    if row is None:
        raise RuntimeError("a statement of day-end without its row")
    return row


async def read_status(core: LendingCore, cell: str) -> dict[str, Any]:
    """Return the cell's business date and what the newest day-end has done so far."""

    async def work(connection: Connection, epoch: int) -> dict[str, Any]:
        rows = await (await connection.execute(store.SELECT_STATUS)).fetchall()
        # Asked now: a process that has only begun learns where slots are with the first grants.
        chunks = core.router.directory.chunks_of_cell(cell)
        steps = {
            step: {"chunks": done, "of": len(chunks), "rows": written, "last_at": at.isoformat()}
            for _, _, step, done, written, at, _ in rows
            if step is not None
        }
        today, ended, begun_at = (rows[0][0], rows[0][1], rows[0][6]) if rows else (None, None, None)
        return {
            "cell": cell,
            "business_date": today.isoformat() if today else None,
            "day_end_of": ended.isoformat() if ended else None,
            "begun_on": business_date_at(begun_at).isoformat() if begun_at else None,
            "steps": steps,
        }

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return read.value
