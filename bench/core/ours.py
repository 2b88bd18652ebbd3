"""Worker processes that post through the core's own services, straight to the server."""

import asyncio
import datetime as dt
import multiprocessing
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import psycopg
import uvloop
from psycopg_pool import AsyncConnectionPool

from bench.core.ground import DAY, EPOCH
from compliance.protection.keys import RootKey
from compliance.protection.vault import make_vault
from core_app.commands import make_command
from core_app.core import Connection, LendingCore
from core_app.directory import Directory, deal
from core_app.errors import CoreError
from core_app.loans.draw import DrawWish, post_draws, want_draw
from core_app.loans.repay import post_repayments, want_repayment
from core_app.loans.together import GroupQueue
from core_app.products.catalogue import read_catalogue
from core_app.router_line import REQUIRE_PLACE
from core_app.slots import Home

T = TypeVar("T")
Done = tuple[int, int, float]
"""Commands done in the time that counts, all commands done, and the processor seconds of the former."""
PLANS = "-c plan_cache_mode=force_generic_plan"
PAID_FEN = 30_000
"""One repayment: more than penalty and interest of the oldest instalment, so that principal moves too."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one worker does: repayments or draws, with so many at once, for so many seconds."""

    dsn: str
    kind: str
    worker: int
    at_once: int
    seconds: float
    loans: int
    first_contract: int
    stride: int


@dataclass(frozen=True, slots=True)
class Routed:
    """What the core's router returns."""

    value: Any
    epoch: int


@dataclass(frozen=True, slots=True)
class BareRouter:
    """The statements of core_app.router's transaction, on one server that never moves."""

    cells: tuple[str, ...]
    pool: AsyncConnectionPool[Any]

    @property
    def directory(self) -> Directory:
        """Return the directory in which nothing has moved."""
        return deal(self.cells)

    async def write(
        self, cell: str, work: Callable[[Connection, int], Awaitable[T]], *, deadline_seconds: float = 10.0
    ) -> Routed:
        """Run `work` as one pipelined transaction."""
        async with self.pool.connection() as connection, connection.pipeline():
            await connection.execute(b"begin")
            chunks = list(cell.chunks) if isinstance(cell, Home) else None
            await connection.execute(REQUIRE_PLACE, [EPOCH, "", chunks])
            value = await work(connection, EPOCH)
            await connection.execute(b"commit")
        return Routed(value, EPOCH)

    read = write


def make_core(pool: AsyncConnectionPool[Any]) -> LendingCore:
    """Return a core on the bare server."""
    return LendingCore(
        router=BareRouter(("a",), pool),
        vault=make_vault(RootKey(1, bytes(range(32))), lambda: bytes(12)),
        catalogue=read_catalogue(),
        site="idc",
        deadline_seconds=10.0,
        new_uuid=uuid.uuid4,
        read_today=lambda: dt.date.fromisoformat(DAY),
    )


def open_pool(dsn: str, size: int) -> AsyncConnectionPool[Any]:
    """Return the pool with the session settings of core_app.router_line."""
    kwargs = {
        "autocommit": True,
        "prepare_threshold": 0,
        "options": f"-c transaction_timeout=3000 {PLANS}",
    }
    return AsyncConnectionPool(dsn, min_size=size, max_size=size, open=False, kwargs=kwargs)


class WorkerFailed(click.ClickException):
    """A worker did not come to its end: there is nothing to measure. Says which and why."""


def run_workers(works: list[Work], run: Callable[[Work], Done] | None = None) -> Done:
    """Run every worker in a process of its own; return the sums. WorkerFailed when one of them fails.

    What a worker raises comes across as text: not every exception can be built again from its message.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(works), mp_context=spawn) as pool:
        futures = [pool.submit(run or _run, work) for work in works]
        try:
            done = [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise WorkerFailed(f"a worker of {works[0].kind} ended without a result: {error}") from error
    return sum(one[0] for one in done), sum(one[1] for one in done), sum(one[2] for one in done)


def _run(work: Work) -> Done:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_post(work))
    except (CoreError, psycopg.Error) as error:
        raise WorkerFailed(f"worker {work.worker} of {work.kind}: {type(error).__name__}: {error}") from None


async def _post(work: Work) -> Done:
    dice = random.Random()  # a fixed seed would repay the same loans in every turn, until they are settled
    taken = 0

    def next_contract() -> int:
        nonlocal taken
        taken += 1
        return work.first_contract + taken * work.stride + work.worker

    async with open_pool(work.dsn, work.at_once) as pool:
        core = make_core(pool)
        repayments, draws = GroupQueue(core, post_repayments), GroupQueue(core, post_draws)

        async def post() -> None:
            key = f"ours-{uuid.uuid4().hex}"
            if work.kind == "repayments":
                n = dice.randint(1, work.loans)
                loan_id = f"L{n % 1024:03x}-{n:032x}"
                body = {"loan_id": loan_id, "amount_fen": PAID_FEN}
                command = make_command(core, key, "repayment", body)
                await repayments.post(want_repayment(core, command, loan_id, PAID_FEN))
            else:
                n = next_contract()
                contract_id = f"K{n % 1024:03x}-{n:032x}"
                command = make_command(core, key, "draw", {"contract_id": contract_id})
                await draws.post(want_draw(core, command, DrawWish(contract_id)))

        async def keep_posting(until: float) -> int:
            count = 0
            while time.monotonic() < until:
                await post()
                count += 1
            return count

        first = await asyncio.gather(*(keep_posting(time.monotonic() + 1.0) for _ in range(work.at_once)))
        used, until = time.process_time(), time.monotonic() + work.seconds
        counts = await asyncio.gather(*(keep_posting(until) for _ in range(work.at_once)))
        return sum(counts), sum(first) + sum(counts), time.process_time() - used
