"""An entrance that vanished inside a transaction holds nothing for long; a waiting COMMIT is left alone."""

import asyncio

from core_app.router_line import TRANSACTION_MS, Connection
from tests.integration.postgres.places import admin, until, value
from tests.integration.router.scene import Scene, add, serving


async def hold_forever(connection: Connection, epoch: int) -> None:
    """Claim a key inside a flushed pipeline and never go on, as an entrance that was lost does."""
    await (await connection.execute("insert into ledger values ('k1', %s) returning 1", (epoch,))).fetchone()
    await asyncio.Event().wait()


async def test_a_key_claimed_by_a_lost_entrance_comes_free(scene: Scene) -> None:
    async with scene.router() as lost, scene.router() as router:
        await serving(lost, 1)
        await serving(router, 1)
        holder = asyncio.create_task(lost.write("a", hold_forever, deadline_seconds=60))

        async def waits_for_client() -> bool:
            query = (
                "select count(*) from pg_stat_activity"
                " where wait_event = 'ClientRead' and xact_start is not null"
            )
            async with await admin(scene.pair.idc) as conn:
                return bool(await value(conn, query))

        await until(waits_for_client, "the key is claimed by somebody who does not go on")
        written = await router.write("a", add("k1"), deadline_seconds=20)
        assert written.value is True
        holder.cancel()


async def test_a_transaction_ended_behind_a_lock_is_run_again(scene: Scene) -> None:
    """As behind a commit that waits for its copy: whoever came behind it gets no error of the server."""

    async def ended_by_the_limit() -> bool:
        return "terminating connection due to transaction timeout" in scene.pair.idc.log_file.read_text()

    async with scene.router() as router, await admin(scene.pair.idc) as holder:
        await serving(router, 1)
        await holder.execute("begin")
        await holder.execute("insert into ledger values ('k1', 1)")
        request = asyncio.create_task(router.write("a", add("k1"), deadline_seconds=30))
        await until(ended_by_the_limit, "the server ended the transaction that waited")
        await holder.execute("rollback")
        assert (await asyncio.wait_for(request, 20)).value is True
    assert await scene.keys(scene.pair.idc) == [("k1", 1)]


async def test_a_commit_that_waits_for_its_copy_is_not_ended(scene: Scene) -> None:
    async def waits_longer_than_allowed() -> bool:
        query = (
            "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
            f" and xact_start < clock_timestamp() - interval '{2 * TRANSACTION_MS} ms'"
        )
        async with await admin(scene.pair.idc) as conn:
            return bool(await value(conn, query))

    async with scene.router() as router:
        await serving(router, 1)
        await scene.wait_for_absent_copy()
        request = asyncio.create_task(router.write("a", add("k1"), deadline_seconds=30))
        await until(waits_longer_than_allowed, "the commit has waited twice the limit")
        assert not request.done()
        await scene.release_waiters()
        assert (await asyncio.wait_for(request, 5)).value is True
    assert await scene.keys(scene.pair.idc) == [("k1", 1)]


async def test_every_session_of_the_router_has_the_limit(scene: Scene) -> None:
    async def show(connection: Connection, epoch: int) -> object:
        row = await (await connection.execute("show transaction_timeout")).fetchone()
        return row and row[0]

    async with scene.router() as router:
        assert (await router.read("a", show)).value == f"{TRANSACTION_MS // 1000}s"
