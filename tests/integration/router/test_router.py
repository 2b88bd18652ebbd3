"""The router against a real pair: what waits, what runs again, what is unknown, what is never lost."""

import asyncio
import os
import signal
import time

import psycopg
import pytest

from core_app import router as router_module
from core_app.router import CellUnavailable, Router
from replication.model import Mode
from replication.postgres import bootstrap, control, hba
from tests.integration.frozen import freeze
from tests.integration.postgres.places import admin, until, value
from tests.integration.router.scene import Scene, add, serves, serving


async def test_a_write_returns_its_value_and_the_epoch_it_was_committed_in(scene: Scene) -> None:
    async with scene.router() as router:
        written = await router.write("a", add("k1"))
    assert (written.value, written.epoch) == (True, 1)
    assert await scene.keys(scene.pair.idc) == [("k1", 1)]


async def test_a_read_sees_the_primary_and_may_not_write(scene: Scene) -> None:
    async def count(conn: psycopg.AsyncConnection, epoch: int) -> object:
        return await value(conn, "select count(*) from ledger")

    async with scene.router() as router:
        await router.write("a", add("k1"))
        assert (await router.read("a", count)).value == 1
        with pytest.raises(CellUnavailable) as refused:
            await router.read("a", add("k2"), deadline_seconds=0.5)
    assert refused.value.outcome == "not_done"


async def test_an_exception_of_the_work_rolls_back_and_passes_through(scene: Scene) -> None:
    async def work(conn: psycopg.AsyncConnection, epoch: int) -> None:
        await add("k1")(conn, epoch)
        raise LookupError("no such loan")

    async def collides(conn: psycopg.AsyncConnection, epoch: int) -> None:
        for _ in range(2):
            await conn.execute("insert into ledger values ('k1', 1)")

    async with scene.router() as router:
        with pytest.raises(LookupError, match="no such loan"):
            await router.write("a", work)
        with pytest.raises(psycopg.errors.UniqueViolation):
            await router.write("a", collides)
        for number in range(30):  # the connections are as good as new
            await router.write("a", add(f"n{number}"))
        assert ("k1", 1) not in await scene.keys(scene.pair.idc)


async def test_a_swallowed_error_is_not_taken_for_a_commit(scene: Scene) -> None:
    async def work(conn: psycopg.AsyncConnection, epoch: int) -> None:
        for _ in range(2):
            try:
                cursor = await conn.execute("insert into ledger values ('k1', 1) returning 1")
                await cursor.fetchone()
            except psycopg.errors.UniqueViolation:
                return

    async with scene.router() as router:
        with pytest.raises(psycopg.errors.PipelineAborted):
            await router.write("a", work)
    assert await scene.keys(scene.pair.idc) == []


async def test_a_new_epoch_drops_old_connections_and_the_waiting_request_succeeds(scene: Scene) -> None:
    """The old primary is frozen, as behind a black hole: nothing polite would ever end."""
    async with scene.router() as router:
        await serving(router, 1)
        scene.freeze_primary()
        request = asyncio.create_task(router.write("a", add("k1"), deadline_seconds=20))
        await asyncio.sleep(0.1)
        await scene.take_over()
        began = time.monotonic()
        written = await asyncio.wait_for(request, 5)
        assert time.monotonic() - began < 1.5
    assert (written.value, written.epoch) == (True, 2)
    assert await scene.keys(scene.pair.cloud) == [("k1", 2)]


async def test_a_commit_that_waits_for_a_lost_copy_ends_up_in_the_new_epoch_once(scene: Scene) -> None:
    """The row is on the old primary's disk only: the new one has it from the second run, once."""
    async with scene.router() as router:
        await serving(router, 1)
        async with await admin(scene.pair.cloud) as standby:
            await standby.execute("select pg_wal_replay_pause()")
            pid = await value(standby, "select pid from pg_stat_wal_receiver")
        freeze(int(str(pid)))
        request = asyncio.create_task(router.write("a", add("k1"), deadline_seconds=20))
        await until(scene.waits_for_copy, "the commit waits for its copy")
        await control.kill_hard(scene.pair.idc)
        os.kill(int(str(pid)), signal.SIGCONT)
        async with await admin(scene.pair.cloud) as standby:
            await standby.execute("select pg_wal_replay_resume()")
        await scene.take_over()
        written = await asyncio.wait_for(request, 10)
    assert written.epoch == 2
    assert [key for key, _ in await scene.keys(scene.pair.cloud)] == ["k1"]


async def test_a_commit_that_did_reach_the_copy_is_found_and_not_repeated(scene: Scene) -> None:
    """The answer is lost with the old primary, the row is not."""
    async with scene.router() as router:
        await serving(router, 1)
        await scene.wait_for_absent_copy()
        request = asyncio.create_task(router.write("a", add("k1"), deadline_seconds=20))
        await until(scene.waits_for_copy, "the commit waits for its copy")
        await control.kill_hard(scene.pair.idc)
        await scene.take_over()
        written = await asyncio.wait_for(request, 10)
    assert written.epoch == 2
    assert [key for key, _ in await scene.keys(scene.pair.cloud)] == ["k1"]


async def test_a_cancelled_wait_for_the_copy_is_unknown_and_never_success(scene: Scene) -> None:
    async with scene.router() as router:
        await serving(router, 1)
        await scene.wait_for_absent_copy()
        request = asyncio.create_task(router.write("a", add("k1"), deadline_seconds=2))
        await until(scene.cancel_waiter, "the wait was cancelled")
        with pytest.raises(CellUnavailable) as lost:
            await request
    assert lost.value.outcome == "unknown"


async def test_a_cancelled_wait_is_settled_by_a_second_run_that_waits(scene: Scene) -> None:
    async with scene.router() as router:
        await serving(router, 1)
        await scene.wait_for_absent_copy()
        request = asyncio.create_task(router.write("a", add("k1"), deadline_seconds=10))
        await until(scene.cancel_waiter, "the wait was cancelled")
        await until(scene.waits_for_copy, "the second run waits for the copy too")
        assert not request.done()
        await scene.release_waiters()
        assert (await asyncio.wait_for(request, 5)).value is False
    assert await scene.keys(scene.pair.idc) == [("k1", 1)]


async def test_a_hanging_commit_is_unknown_at_the_deadline_and_was_not_cancelled(scene: Scene) -> None:
    async with scene.router() as router:
        await serving(router, 1)
        await scene.wait_for_absent_copy()
        with pytest.raises(CellUnavailable) as lost:
            await router.write("a", add("k1"), deadline_seconds=0.7)
        assert lost.value.outcome == "unknown"
        assert await scene.waits_for_copy()
        await scene.release_waiters()
        assert (await router.write("a", add("k1"))).value is False


async def test_a_caller_that_leaves_does_not_cancel_its_commit(scene: Scene) -> None:
    async with scene.router() as router:
        await serving(router, 1)
        await scene.wait_for_absent_copy()
        request = asyncio.create_task(router.write("a", add("k1")))
        await until(scene.waits_for_copy, "the commit waits for its copy")
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert await scene.waits_for_copy()
        assert await scene.keys(scene.pair.idc) == []
        await scene.release_waiters()

        async def there() -> bool:
            return await scene.keys(scene.pair.idc) == [("k1", 1)]

        await until(there, "the commit ended well")


async def test_moving_gates_new_transactions_and_then_serves_without_a_failure(scene: Scene) -> None:
    async def customers(router: Router, number: int) -> int:
        done = 0
        while not stop.is_set():
            await router.write("a", add(f"{number}-{done}"))
            done += 1
        return done

    stop = asyncio.Event()
    async with scene.router() as router:
        await serving(router, 1)
        load = [asyncio.create_task(customers(router, number)) for number in range(8)]
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await scene.grant(mode=Mode.MOVING, candidate=scene.standby)
        await until(lambda: gated(router), "the gate is closed")
        async with await admin(scene.pair.idc) as conn:
            await asyncio.wait_for(hba.wait_until_idle(conn), 5)
            await hba.fence(scene.pair.idc, conn)
        await control.stop(scene.pair.idc, mode="fast", timeout_seconds=10)
        await scene.finish_taking()
        await serving(router, 2)
        assert time.monotonic() - began < 5
        await asyncio.sleep(0.3)
        stop.set()
        done = await asyncio.gather(*load)
    assert len(await scene.keys(scene.pair.cloud)) == sum(done) > 0


async def gated(router: Router) -> bool:
    return router.epoch("a") is None


async def test_an_abandoned_move_serves_again_in_the_same_epoch(scene: Scene) -> None:
    async with scene.router() as router:
        await router.write("a", add("k1"))
        await scene.grant(mode=Mode.MOVING, candidate=scene.standby)
        await until(lambda: gated(router), "the gate is closed")
        request = asyncio.create_task(router.write("a", add("k2")))
        await scene.grant(mode=Mode.SYNC, candidate=None)
        assert (await asyncio.wait_for(request, 5)).epoch == 1


async def test_a_primary_in_another_epoch_is_not_written(scene: Scene) -> None:
    async with scene.router() as router:
        await router.write("a", add("k1"))
        async with await admin(scene.pair.idc) as conn:
            await bootstrap.write_epoch_marker(conn, 2, scene.standby)
        with pytest.raises(CellUnavailable) as refused:
            await router.write("a", add("k2"), deadline_seconds=0.5)
        assert refused.value.outcome == "not_done"
        assert await scene.keys(scene.pair.idc) == [("k1", 1)]
        await scene.grant(epoch=2)
        assert (await router.write("a", add("k3"))).epoch == 2


async def test_without_a_primary_the_deadline_ends_in_not_done(scene: Scene) -> None:
    async with scene.router() as router:
        await serving(router, 1)
        await control.kill_hard(scene.pair.idc)
        began = time.monotonic()
        with pytest.raises(CellUnavailable) as refused:
            await router.write("a", add("k1"), deadline_seconds=0.5)
        assert refused.value.outcome == "not_done"
        assert time.monotonic() - began < 1


async def test_a_primary_that_restarts_in_its_epoch_serves_again(scene: Scene) -> None:
    async with scene.router() as router:
        await router.write("a", add("k1"))
        await control.kill_hard(scene.pair.idc)
        request = asyncio.create_task(router.write("a", add("k2"), deadline_seconds=20))
        await control.start(scene.pair.idc)
        assert (await asyncio.wait_for(request, 15)).epoch == 1


async def test_a_full_gate_refuses_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module, "MAX_WAITING", 5)
    async with scene.router() as router:
        await serving(router, 1)
        await scene.grant(mode=Mode.MOVING, candidate=scene.standby)
        await until(lambda: gated(router), "the gate is closed")
        waiting = [asyncio.create_task(router.write("a", add(f"k{n}"))) for n in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(CellUnavailable) as refused:
            await asyncio.wait_for(router.write("a", add("k9")), 1)
        assert refused.value.outcome == "not_done"
        await scene.grant(mode=Mode.SYNC, candidate=None)
        await asyncio.gather(*waiting)


async def test_the_line_is_dropped_while_a_copy_is_taking(scene: Scene) -> None:
    async with scene.router() as router:
        await router.write("a", add("k1"))
        await scene.grant(epoch=2, mode=Mode.TAKING, candidate=scene.standby)
        await until(lambda: gated(router), "the gate is closed")
        assert router.open_connections("a") == 0
        assert not await serves(router, 1)
