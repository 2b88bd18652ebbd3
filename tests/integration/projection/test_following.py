"""A projector follows its local copy: in order, each row once, whoever dies when."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from redis.exceptions import ConnectionError as ValkeyGone

from replication.projection import projector as projecting
from replication.projection.copy import LocalCopy, connect_copy
from replication.projection.projector import State
from replication.projection.valkey import open_valkey, read_held, read_value
from tests.integration.postgres.places import connect_as
from tests.integration.projection.conftest import Scene
from tests.integration.projection.scene import (
    assert_equal_to_the_copy,
    cached_values,
    expected_values,
    in_time,
    project_until_warm,
    tell,
)


@pytest.mark.parametrize("site", ["idc", "cloud"])
async def test_what_was_told_is_in_the_cache_of_the_primarys_and_of_the_standbys_site(
    scene: Scene, site: str
) -> None:
    copy = getattr(scene.pair, site)
    async with await connect_as(scene.pair.idc, "biyi_app") as app:
        for number in range(5):
            await tell(app, f"L{number % 2}", 100 - number)

    async def replayed() -> bool:
        return len(await expected_values(copy)) == 2

    await in_time(replayed, "the copy has replayed the rows")
    position = await assert_equal_to_the_copy(scene.projector(copy), copy, scene.passfile)
    assert position.in_recovery is (site == "cloud")
    assert position.as_of != ""


async def test_a_row_with_a_lower_number_that_commits_later_is_not_missed(scene: Scene) -> None:
    projector = scene.projector()
    async with (
        await connect_as(scene.pair.idc, "biyi_app") as first,
        await connect_as(scene.pair.idc, "biyi_app") as second,
    ):
        await tell(first, "L0", 900)
        await assert_equal_to_the_copy(projector, scene.pair.idc, scene.passfile)
        async with first.transaction():
            await tell(first, "L1", 500)  # the lower number, not committed yet
            await tell(second, "L2", 700)  # the higher number, committed
            await project_until_warm(projector, scene.pair.idc, scene.passfile)
            assert set(await cached_values(scene.valkey)) == {"L0"}, "nothing is taken past an open one"
        await assert_equal_to_the_copy(projector, scene.pair.idc, scene.passfile)
        assert set(await cached_values(scene.valkey)) == {"L0", "L1", "L2"}


async def test_the_order_of_one_loans_rows_is_that_of_their_commits_not_of_their_transactions(
    scene: Scene,
) -> None:
    projector = scene.projector()
    await assert_equal_to_the_copy(projector, scene.pair.idc, scene.passfile)
    async with (
        await connect_as(scene.pair.idc, "biyi_app") as early,
        await connect_as(scene.pair.idc, "biyi_app") as late,
    ):
        async with early.transaction():
            await early.execute("select pg_current_xact_id()")
            await tell(late, "L1", 800)  # a later transaction, whose change came first
            await tell(early, "L1", 300)
        await assert_equal_to_the_copy(projector, scene.pair.idc, scene.passfile)
    assert [fen for _, fen in (await cached_values(scene.valkey)).values()] == [300]


async def test_numbers_that_were_rolled_back_leave_no_gap_to_wait_for(scene: Scene) -> None:
    async with await connect_as(scene.pair.idc, "biyi_app") as app:
        async with app.transaction(force_rollback=True):
            await tell(app, "L1", 1)
        await tell(app, "L1", 2)
    await assert_equal_to_the_copy(scene.projector(), scene.pair.idc, scene.passfile)


async def test_many_writers_at_once_leave_each_loan_at_its_newest_state(scene: Scene) -> None:
    projector, passfile = scene.projector(), scene.passfile
    running = asyncio.create_task(projector.run())
    dice = random.Random(7)

    async def write(fens: list[int]) -> None:
        async with await connect_as(scene.pair.idc, "biyi_app") as app:
            for fen in fens:
                async with app.transaction():
                    await app.execute("select pg_current_xact_id()")
                    # As the lock on the loan's row does: one change of a loan at a time.
                    key = f"L{fen % 5}"
                    await app.execute("select pg_advisory_xact_lock(hashtext(%s))", [key])
                    await tell(app, key, fen)

    await asyncio.gather(*(write(dice.sample(range(10_000), 40)) for _ in range(8)))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await assert_equal_to_the_copy(scene.projector(), scene.pair.idc, passfile)
    assert projector.read_anew == 1


class Dying:
    """A client of Valkey whose process dies at its n-th command, before or after its effect."""

    def __init__(self, valkey: Any, dies_at: int, *, after: bool) -> None:
        self._valkey, self._left, self._after = valkey, dies_at, after

    def pipeline(self, **words: Any) -> Any:
        return self._valkey.pipeline(**words)

    async def scan(self, *words: Any, **more: Any) -> Any:
        return await self._valkey.scan(*words, **more)

    async def eval(self, *words: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise ValkeyGone("died before")
        done = await self._valkey.eval(*words)
        if self._left == 0:
            raise ValkeyGone("died after")
        return done


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
async def test_a_projector_that_dies_at_any_change_leaves_each_row_applied_once(
    scene: Scene, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projecting, "PAGE_ROWS", 3)
    for dies_at in itertools.count(1):
        await scene.empty()
        dying = scene.projector()
        dying.valkey = Dying(scene.valkey, dies_at, after=after)  # type: ignore[assignment]
        died = False
        async with await connect_as(scene.pair.idc, "biyi_app") as app:
            for number in range(7):
                await tell(app, f"L{number % 3}", number)
            try:
                await project_until_warm(dying, scene.pair.idc, scene.passfile)
                for number in range(4):
                    await tell(app, f"L{number}", 1000 + number)
                await project_until_warm(dying, scene.pair.idc, scene.passfile)
            except ValkeyGone:
                died = True
        await assert_equal_to_the_copy(scene.projector(), scene.pair.idc, scene.passfile)
        if not died:
            assert dies_at > 5
            break


class Stalled:
    """A client of Valkey whose process stands still before a change while others go on."""

    def __init__(self, valkey: Any, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._valkey, self._meanwhile = valkey, meanwhile

    def pipeline(self, **words: Any) -> Any:
        return self._valkey.pipeline(**words)

    async def eval(self, *words: Any) -> Any:
        await self._meanwhile()
        return await self._valkey.eval(*words)


async def test_a_projector_that_stood_still_changes_nothing_on_what_it_knew(scene: Scene) -> None:
    await assert_equal_to_the_copy(scene.projector(), scene.pair.idc, scene.passfile)
    async with await connect_as(scene.pair.idc, "biyi_app") as app:
        await tell(app, "L1", 1)

        async def go_on() -> None:
            await tell(app, "L1", 2)
            await assert_equal_to_the_copy(scene.projector(), scene.pair.idc, scene.passfile)

        stalled = scene.projector()
        stalled.valkey = Stalled(scene.valkey, go_on)  # type: ignore[assignment]
        async with await connect_copy(scene.pair.idc.place, scene.passfile) as connection:
            await stalled.step(LocalCopy(connection, stalled.outbox))
    held = await read_held(scene.valkey, "a")
    assert held.position is not None
    assert held.position.applied == 2
    assert [row.key for entry in held.ring for row in entry.rows] == ["L1", "L1"]


async def test_of_two_projectors_at_once_none_applies_what_the_other_has(scene: Scene) -> None:
    both = [asyncio.create_task(scene.projector().run()) for _ in range(2)]
    async with await connect_as(scene.pair.idc, "biyi_app") as app:
        for number in range(60):
            await tell(app, f"L{number % 7}", number)
    for task in both:
        task.cancel()
    await asyncio.gather(*both, return_exceptions=True)
    await assert_equal_to_the_copy(scene.projector(), scene.pair.idc, scene.passfile)


async def test_a_wiped_valkey_is_filled_again_and_tells_how_far_it_is(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projecting, "PAGE_ROWS", 4)
    async with await connect_as(scene.pair.idc, "biyi_app") as app:
        for number in range(10):
            await tell(app, f"L{number}", number)
    projector = scene.projector()
    before = await assert_equal_to_the_copy(projector, scene.pair.idc, scene.passfile)
    await scene.valkey.flushall()
    seen = []
    async with await connect_copy(scene.pair.idc.place, scene.passfile) as connection:
        local = LocalCopy(connection, projector.outbox)
        projector._written_at = 0.0
        while await projector.step(local) or projector.state is not State.WARM:
            held = await read_held(scene.valkey, "a")
            if held.position:
                seen.append((held.position.applied, held.position.total))
    assert seen == [(0, 10), (4, 10), (8, 10)]
    after = await assert_equal_to_the_copy(projector, scene.pair.idc, scene.passfile)
    assert after.generation != before.generation


async def test_values_of_an_older_generation_are_neither_found_nor_kept(scene: Scene) -> None:
    async with await connect_as(scene.pair.idc, "biyi_app") as app:
        await tell(app, "L1", 5)
    await project_until_warm(scene.projector(), scene.pair.idc, scene.passfile)
    await scene.valkey.hset(
        "biyi:a:value:loan:L9", mapping={"generation": "old", "version": 99, "body": '{"value": 1}'}
    )
    assert await read_value(scene.valkey, "a", "loan:L9") is None
    await scene.valkey.delete("biyi:a:position")
    await assert_equal_to_the_copy(scene.projector(), scene.pair.idc, scene.passfile)
    assert not await scene.valkey.exists("biyi:a:value:loan:L9")


async def test_a_killed_valkey_goes_on_where_its_log_ends(scene: Scene) -> None:
    projector = scene.projector()
    running = asyncio.create_task(projector.run())

    async def warm() -> bool:
        return projector.state is State.WARM

    async with await connect_as(scene.pair.idc, "biyi_app") as app:
        await tell(app, "L1", 5)
        await in_time(warm, "the projector is warm")
        scene.server.kill()

        async def noticed() -> bool:
            return projector.state is State.VALKEY_SILENT

        await in_time(noticed, "the projector says that Valkey is silent")
        await tell(app, "L1", 6)
        await scene.server.start()
        await in_time(warm, "the projector is warm again")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await assert_equal_to_the_copy(scene.projector(), scene.pair.idc, scene.passfile)
    assert projector.read_anew == 1


@pytest.mark.parametrize(
    "statement",
    [
        "insert into core.outbox (topic, key, payload, idempotency_key) values ('t', 'k', '{}', 'k')",
        "update core.outbox set key = 'x'",
        "delete from core.outbox",
        "select * from core.customers",
        "select * from core.loans",
        "update biyi.epoch set epoch = 99",
        "create table public.t (n int)",
        "create temp table t (n int)",
        "alter role biyi_app set synchronous_commit = local",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'biyi_app'",
        "select pg_promote()",
        "select pg_read_file('PG_VERSION')",
    ],
)
async def test_the_readers_role_may_do_nothing_but_read_the_outbox(scene: Scene, statement: str) -> None:
    async with (
        await connect_as(scene.pair.idc, "biyi_app"),
        await connect_as(scene.pair.idc, "biyi_read") as reader,
    ):
        await reader.execute("set default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await reader.execute(statement.encode())


async def test_the_core_cannot_choose_a_rows_transaction(scene: Scene) -> None:
    async with await connect_as(scene.pair.idc, "biyi_app") as app:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await app.execute(
                "insert into core.outbox (topic, key, payload, idempotency_key, xid)"
                " values ('t', 'k', '{}', 'k', '1')"
            )


async def test_what_valkey_holds_of_a_stranger_is_read_anew(scene: Scene) -> None:
    await scene.valkey.set("biyi:a:position", '{"of": "an older program"}')
    async with open_valkey(scene.server.port, scene.server.password_file, 1.0) as valkey:
        assert (await read_held(valkey, "a")).position is None
    await assert_equal_to_the_copy(scene.projector(), scene.pair.idc, scene.passfile)
