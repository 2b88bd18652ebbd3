"""A chunk of slots moves between two running cells: nobody's request fails, and every row is there once."""

import asyncio
import contextlib
import datetime as dt
import itertools
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from core_app.commands import Answer, Claim, finish_command, make_command, read_earlier_answer, run_command
from core_app.core import LendingCore
from core_app.day_end.service import DayEnd
from core_app.moving.checks import MoveRefused
from core_app.moving.move import Mover, Step
from core_app.moving.tables import CELL_TABLES, MOVED
from core_app.outbox import Told
from tests.integration.core_app.conftest import Client
from tests.integration.core_app.lending import repay
from tests.integration.moving.world import CELLS, World, restart

KEYS_OF = "select idempotency_key from core.commands where idempotency_key = any (%s)"
PLACE = "select place, place_epoch from core.day_end_chunks where chunk = %s"


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the mover runs after it."""


@dataclass
class Load:
    """Customers who repay a fen at a time and look at their loan after each answer."""

    paid: dict[str, int] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    wrong: list[Any] = field(default_factory=list)

    async def go_on(self, client: Client, loan_id: str) -> None:
        for number in itertools.count():
            key = f"load-{uuid.uuid4().hex}"
            status, body, _ = await repay(client, loan_id, 1, key)
            if status != 201:
                self.wrong.append((loan_id, number, status, body))
                continue
            self.keys.append(key)
            self.paid[loan_id] = self.paid.get(loan_id, 0) + 1
            status, shown, _ = await client.get(f"/v1/loans/{loan_id}")
            owed = body["balance_fen"]
            if status != 200 or shown["balance_fen"] != owed:
                self.wrong.append((loan_id, number, status, shown))


@contextlib.asynccontextmanager
async def under_load(client: Client, loans: list[str]) -> AsyncIterator[Load]:
    """Yield a load on these loans that ends when the last request under way has its answer."""
    load = Load()
    tasks = [asyncio.create_task(load.go_on(client, loan_id)) for loan_id in loans]
    try:
        await asyncio.sleep(0.2)
        yield load
        await asyncio.sleep(0.2)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def check_books(world: World, load: Load) -> None:
    """Every acknowledged command is in the books of one cell, once, and debits equal credits."""
    assert load.wrong == []
    assert len(load.keys) > 2
    found = [row[0] for cell in CELLS for row in await world.rows(cell, KEYS_OF, load.keys)]
    assert sorted(found) == sorted(load.keys)
    for loan_id, times in load.paid.items():
        query = "select count(*) from core.repayments where loan_id = %s"
        booked = [(await world.rows(cell, query, loan_id))[0][0] for cell in CELLS]
        assert min(booked) == 0  # never in both
        assert max(booked) in (times, times + 1)  # the last answer may be on its way when the load ends
    assert sum((await world.balances()).values()) == 0


async def where_is(world: World, chunk: int) -> dict[str, str]:
    return {cell: (await world.rows(cell, PLACE, chunk))[0][0] for cell in CELLS}


async def rows_of_chunk(world: World, cell: str, loan_id: str) -> int:
    query = "select count(*) from core.loans where left(loan_id, 4) = left(%s, 4)"
    return int((await world.rows(cell, query, loan_id))[0][0])


async def test_customers_go_on_while_their_chunk_moves_there_and_back(world: World) -> None:
    chunk, other = world.take_chunk(), world.take_chunk()
    async with world.client() as client:
        loans = [await world.lend(client, chunk) for _ in range(3)]
        before = await world.balances()
        beside = await world.lend(client, other)
        async with under_load(client, [*loans, beside]) as load, world.mover() as mover:
            there = await mover.move(chunk, "b")
            assert there is not None
            assert there.rows["core.loans"] == 3
            assert await where_is(world, chunk) == {"a": "gone", "b": "owned"}
            await asyncio.sleep(0.3)
            back = await mover.move(chunk, "a")
            assert back is not None
            assert await where_is(world, chunk) == {"a": "owned", "b": "gone"}
        await check_books(world, load)
        assert set(before) <= set(await world.balances())
        assert await mover_is_idle(world)


async def mover_is_idle(world: World) -> bool:
    async with world.mover() as mover:
        return await mover.settle() is None


async def test_an_earlier_command_is_answered_as_before_by_the_new_cell(world: World) -> None:
    chunk = world.take_chunk()
    async with world.client() as client:
        loan_id = await world.lend(client, chunk)
        key = uuid.uuid4().hex
        first = await repay(client, loan_id, 500, key)
        balances = await world.balances()
        async with world.mover() as mover:
            await mover.move(chunk, "b")
        assert (await repay(client, loan_id, 500, key))[:2] == first[:2]
        assert await world.balances() == balances
        assert await rows_of_chunk(world, "a", loan_id) == 0
        assert await rows_of_chunk(world, "b", loan_id) == 1
        status, shown, _ = await client.get(f"/v1/loans/{loan_id}/summary")
        assert (status, shown["source"]) == (200, "primary")


async def test_both_chains_tell_of_the_move_with_one_checksum(world: World) -> None:
    chunk = world.take_chunk()
    async with world.client() as client, world.mover() as mover:
        await world.lend(client, chunk)
        told_before = await world.rows("b", "select count(*) from audit.entries")
        done = await mover.move(chunk, "b")
        assert done is not None
        query = """
            select line::jsonb -> 'body' ->> 'what', line::jsonb -> 'body' ->> 'rows_sm3' from audit.entries
            where line::jsonb ->> 'what' = 'slot_moves.insert'
                and (line::jsonb -> 'body' ->> 'chunk')::int = %s
            order by entry_id
        """
        left = await world.rows("a", query, chunk)
        arrived = await world.rows("b", query, chunk)
        assert [what for what, _ in left] == ["leaving", "left"]
        assert arrived == [("arrived", "\\x" + done.digest)]
        assert left[1][1] == "\\x" + done.digest
        told = await world.rows("b", "select count(*) from audit.entries")
        assert told[0][0] == told_before[0][0] + 1  # what arrived is not told a second time


IN_BRIEF = (Step.REST, Step.DECIDE, Step.TELL, Step.CLEAN)
"""Steps before which a death is tried in each run of the tests; the others are slow ones."""


@pytest.mark.parametrize("resumed", [True, False], ids=["resumed", "undone"])
@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step in IN_BRIEF else pytest.mark.slow) for step in Step]
)
async def test_a_mover_killed_before_any_step_leaves_what_can_be_gone_on_with(
    world: World, step: Step, resumed: bool
) -> None:
    chunk = world.take_chunk()

    async def kill(now: Step, table: str, rows: int) -> None:
        if now is step:
            raise Killed

    async with world.client() as client:
        loan_id = await world.lend(client, chunk)
        async with under_load(client, [loan_id]) as load:
            with pytest.raises(Killed):
                async with world.mover(kill) as mover:
                    await mover.move(chunk, "b")
            await asyncio.sleep(0.3)
            decided = step in (Step.TELL, Step.CLEAN, Step.END)
            async with world.mover() as mover:
                await go_on(mover, chunk, resumed, decided)
        there = resumed or decided
        assert await where_is(world, chunk) == (
            {"a": "gone", "b": "owned"} if there else {"a": stays(step), "b": "dealt"}
        )
        assert await rows_of_chunk(world, "b" if there else "a", loan_id) == 1
        assert await rows_of_chunk(world, "a" if there else "b", loan_id) == 0
        await check_books(world, load)


def stays(step: Step) -> str:
    return "dealt" if step is Step.JOURNAL else "owned"


async def go_on(mover: Mover, chunk: int, resumed: bool, decided: bool) -> None:
    if resumed:
        await mover.move(chunk, "b")
    elif decided:
        with pytest.raises(MoveRefused, match="already"):
            await mover.abort()
        await mover.settle()
    else:
        await mover.abort()


@pytest.mark.parametrize(
    ("step", "cell"),
    [
        pytest.param(step, cell, marks=() if (step, cell) == (Step.REST, "a") else pytest.mark.slow)
        for step in (Step.FENCE, Step.REST, Step.DECIDE, Step.CLEAN)
        for cell in CELLS
    ],
)
async def test_a_primary_that_dies_during_a_move_loses_nothing(world: World, step: Step, cell: str) -> None:
    chunk = world.take_chunk()

    async def kill(now: Step, table: str, rows: int) -> None:
        if now is step:
            await restart(world.copies[cell])

    async with world.client() as client:
        loan_id = await world.lend(client, chunk)
        async with under_load(client, [loan_id]) as load:
            async with world.mover(kill) as mover:
                with contextlib.suppress(Exception):
                    await mover.move(chunk, "b")
            async with world.mover() as mover:
                await mover.settle()
                await mover.move(chunk, "b")
        assert await where_is(world, chunk) == {"a": "gone", "b": "owned"}
        await check_books(world, load)


async def test_the_fence_waits_for_who_is_inside_and_takes_along_what_they_wrote(world: World) -> None:
    chunk, inside = world.take_chunk(), asyncio.Event()
    async with world.client() as client:
        loan_id = await world.lend(client, chunk)
    async with world.core() as core:
        command = make_command(core, uuid.uuid4().hex, "slow", {})

        async def work(connection: Any, claim: Claim) -> Answer:
            assert await read_earlier_answer(connection, claim) is None
            inside.set()
            await asyncio.sleep(0.5)
            return await finish_command(connection, claim, 201, {}, Told("test.slow", loan_id, {}))

        slow = asyncio.create_task(never())

        async def enter(now: Step, table: str, rows: int) -> None:
            nonlocal slow
            if now is Step.FENCE:
                slow.cancel()
                slow = asyncio.create_task(run_command(core, core.cell_of_slot(chunk * 4), command, work))
                await inside.wait()

        async with world.mover(enter) as mover:
            done = await mover.move(chunk, "b")
        assert done is not None
        assert done.pause_seconds > 0.4
        assert (await slow).answer.status == 201
        assert len(await world.rows("b", KEYS_OF, [command.key])) == 1
        assert len(await world.rows("a", KEYS_OF, [command.key])) == 0


async def never() -> Any:
    """Wait for ever."""
    await asyncio.Event().wait()


async def test_what_is_in_the_way_is_refused_with_nothing_changed(world: World) -> None:
    chunk = world.take_chunk()
    async with world.mover() as mover:
        for wish, words in (((0, "b"), "stay"), ((chunk, "c"), "no cell"), ((999, "b"), "there are")):
            with pytest.raises((MoveRefused, ValueError), match=words):
                await mover.move(*wish)
        await run_sql(world, "a", "update core.business_date set on_date = '2026-01-15'")
        try:
            with pytest.raises(MoveRefused, match="let day-end bring both to one day"):
                await mover.move(chunk, "b")
        finally:
            await run_sql(world, "a", "update core.business_date set on_date = null")
        assert await where_is(world, chunk) == {"a": "owned", "b": "dealt"}
        assert await mover_is_idle(world)


async def run_sql(world: World, cell: str, statement: str) -> None:
    await world.rows(cell, statement + " returning 1")


async def close_day(core: LendingCore, cell: str) -> None:
    await DayEnd(core, cell, lambda *_: None).run()


async def test_each_chunk_is_closed_once_an_evening_wherever_it_is(world: World) -> None:
    chunk, day = world.take_chunk(), dt.date(2026, 1, 15)
    for cell in CELLS:
        await run_sql(world, cell, f"update core.business_date set on_date = '{day}'")
    async with world.client() as client:
        loan_id = await world.lend(client, chunk)
    async with world.core() as core, world.mover() as mover:
        await close_day(core, "a")
        with pytest.raises(MoveRefused, match="one day"):
            await mover.move(chunk, "b")
        await close_day(core, "b")
        await mover.move(chunk, "b")
        await asyncio.gather(close_day(core, "a"), close_day(core, "b"))
    for closed in (day, day + dt.timedelta(days=1)):
        query = "select chunk, step from core.day_end_progress where on_date = %s"
        done = [row for cell in CELLS for row in await world.rows(cell, query, closed)]
        assert len(done) == len(set(done)) == 512
    query = "select on_date from core.loan_snapshots where loan_id = %s order by on_date"
    assert await world.rows("b", query, loan_id) == [(day,), (day + dt.timedelta(days=1),)]
    assert await world.rows("a", query, loan_id) == []


async def test_every_table_is_either_a_customers_or_a_cells(world: World) -> None:
    query = "select schemaname || '.' || tablename from pg_tables where schemaname in ('core', 'keys')"
    live = {row[0] for row in await world.rows("a", query)}
    moved = {moved.name for moved in MOVED}
    assert moved | CELL_TABLES == live
    assert moved & CELL_TABLES == set()


async def test_only_the_owner_who_says_so_takes_rows_from_what_only_grows(world: World) -> None:
    async with world.core() as core:

        async def work(connection: Any, _: int) -> None:
            await connection.execute("select set_config('biyi.moving', 'yes', true)")
            await connection.execute("update core.day_end_chunks set place = 'gone'")

        with pytest.raises(Exception, match="permission denied"):
            await core.router.write("a", work)
    with pytest.raises(Exception, match="append-only"):
        await run_sql(world, "a", "delete from core.repayments")
