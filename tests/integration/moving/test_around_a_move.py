"""What meets a move: a consent taken back, caches and day-ends of the cells, who looks for its mover."""

import asyncio
import dataclasses
import datetime as dt

import pytest

from core_app.day_end import store
from core_app.day_end.service import Step as DayStep
from core_app.day_end.service import do_chunk
from core_app.directory import Phase
from core_app.moving.checks import MoveRefused
from core_app.moving.copying import RowsDiffer
from core_app.moving.move import Step
from core_app.moving.record import read_record
from core_app.router_line import TRANSACTION_MS
from tests.integration.core_app.conftest import Client
from tests.integration.moving.test_moving import Killed, mover_is_idle, rows_of_chunk, run_sql, where_is
from tests.integration.moving.world import CELLS, World
from tests.integration.postgres.places import until

EVENTS = "select count(*) from core.page_events where customer_id = %s"
DAY = dt.date(2026, 1, 15)


async def consent(client: Client, customer_id: str, *, granted: bool) -> None:
    body = {"customer_id": customer_id, "source": "page_events", "granted": granted, "reference": "paper-1"}
    assert (await client.post("/v1/consents", body))[0] == 201


async def keep_event(world: World, client: Client, chunk: int) -> str:
    customer_id = await world.register(client, chunk)
    await consent(client, customer_id, granted=True)
    ((now,),) = await world.rows("a", "select now()")
    body = {"customer_id": customer_id, "events": [{"name": "quote_seen", "at": now.isoformat()}]}
    status, kept, _ = await client.post("/v1/page-events", body)
    assert status == 201, kept
    return customer_id


async def events_in(world: World, customer_id: str) -> dict[str, int]:
    return {cell: (await world.rows(cell, EVENTS, customer_id))[0][0] for cell in CELLS}


@pytest.mark.parametrize("step", [Step.COPY, Step.FENCE])
async def test_what_a_customer_takes_back_during_a_move_is_in_no_cell(world: World, step: Step) -> None:
    chunk = world.take_chunk()
    async with world.client() as client:
        customer_id, stays = [await keep_event(world, client, chunk) for _ in range(2)]
        done = asyncio.Event()

        async def withdraw(now: Step, table: str, rows: int) -> None:
            copied = now is Step.COPY and table == "core.page_events"
            if (now is step and (copied or step is Step.FENCE)) and not done.is_set():
                done.set()
                await consent(client, customer_id, granted=False)

        async with world.mover(withdraw) as mover:
            with pytest.raises(RowsDiffer, match=r"core\.page_events"):
                await mover.move(chunk, "b")
            assert done.is_set()
            assert await where_is(world, chunk) == {"a": "owned", "b": "dealt"}
            assert await events_in(world, customer_id) == {"a": 0, "b": 0}
            assert await events_in(world, stays) == {"a": 1, "b": 0}
            await mover.move(chunk, "b")
        assert await where_is(world, chunk) == {"a": "gone", "b": "owned"}
        assert await events_in(world, customer_id) == {"a": 0, "b": 0}
        assert await events_in(world, stays) == {"a": 0, "b": 1}
        assert await mover_is_idle(world)


async def test_the_cell_that_was_left_tells_its_caches_of_each_loan(world: World) -> None:
    chunk = world.take_chunk()
    async with world.client() as client, world.mover() as mover:
        loans = [await world.lend(client, chunk) for _ in range(2)]
        await mover.move(chunk, "b")
    told = "select key, payload ->> 'to' from core.outbox where topic = 'loan.moved' and key = any (%s)"
    assert sorted(await world.rows("a", told, loans)) == sorted((loan_id, "b") for loan_id in loans)
    assert await world.rows("b", told, loans) == []


async def test_who_is_at_a_move_is_found_and_nobody_when_it_was_left_behind(world: World) -> None:
    chunk = world.take_chunk()
    found = []

    async def look(now: Step, table: str, rows: int) -> None:
        if now in (Step.JOURNAL, Step.FENCE, Step.REST):
            async with world.mover() as other:
                moving = (await read_record(other.etcd, CELLS)).directory.moving
                assert (moving is None) is (now is Step.JOURNAL)
                if moving is not None:
                    found.append(await other.find_worker(moving))
                    with pytest.raises(MoveRefused, match="still worked on"):
                        await other.settle()
        if now is Step.REST:
            raise Killed

    async with world.client() as client:
        loan_id = await world.lend(client, chunk)
        with pytest.raises(Killed):
            async with world.mover(look) as mover:
                await mover.move(chunk, "b")
        assert found == ["a", "a"]
        async with world.mover() as mover:
            moving = (await read_record(mover.etcd, CELLS)).directory.moving
            assert moving is not None
            assert moving.phase is Phase.COPYING

            async def left_behind() -> bool:
                return await mover.find_worker(moving) is None

            await until(left_behind, "the sessions of the mover have ended")
            assert await mover.abort() is not None
        assert await rows_of_chunk(world, "a", loan_id) == 1


async def test_a_day_does_not_end_with_a_chunk_in_doubt(world: World) -> None:
    chunk = world.take_chunk()
    place = "update core.day_end_chunks set place = '{}' where chunk = {}"
    ((kept,),) = await world.rows("a", "select place from core.day_end_chunks where chunk = %s", chunk)
    query = "select chunk from core.day_end_chunks where place = 'owned'"
    owned = [row[0] for row in await world.rows("a", query)]

    async def ends(chunks: list[int]) -> bool:
        await run_sql(world, "a", f"update core.business_date set on_date = '{DAY}'")
        await world.run("a", store.FINISH_DAY, {"day": DAY, "steps": 0, "chunks": chunks})
        ((on_date,),) = await world.rows("a", "select on_date from core.business_date")
        return bool(on_date == DAY + dt.timedelta(1))

    try:
        assert await ends(owned)
        for now, with_it, without_it in (
            ("leaving", False, False),
            ("gone", False, True),
            ("owned", True, False),
            ("dealt", True, True),
        ):
            await run_sql(world, "a", place.format(now, chunk))
            assert await ends([*owned, chunk]) is with_it, now
            assert await ends(owned) is without_it, now
    finally:
        await run_sql(world, "a", place.format(kept, chunk))
        await run_sql(world, "a", "update core.business_date set on_date = null")


async def test_a_chunks_day_end_may_take_longer_than_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = world.take_chunk()
    monkeypatch.setattr(store, "BY_INDEX", f"select pg_sleep({TRANSACTION_MS / 1000 + 0.5})")
    await run_sql(world, "a", f"update core.business_date set on_date = '{DAY}'")
    try:
        async with world.core() as core:
            hasty = dataclasses.replace(core, deadline_seconds=TRANSACTION_MS / 1000 * 2.5)
            assert await do_chunk(hasty, "a", (DAY, DayStep.CLOSE, chunk)) >= 0
    finally:
        await run_sql(world, "a", "update core.business_date set on_date = null")
    query = "select count(*) from core.day_end_progress where chunk = %s and on_date = %s"
    assert await world.rows("a", query, chunk, DAY) == [(1,)]
