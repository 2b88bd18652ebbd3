"""How many sessions a process has with a primary, and how it begins them."""

import asyncio
import contextvars
from collections import Counter
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from core_app import router_line
from core_app.router_line import Line, Sessions
from tests.integration.postgres.places import admin, until, value
from tests.integration.router.scene import Scene, add, serving

OURS = "select count(*) from pg_stat_activity where application_name = 'biyi-core'"


async def count_sessions(scene: Scene) -> int:
    async with await admin(scene.pair.idc) as conn:
        return int(str(await value(conn, OURS)))


async def test_a_process_of_one_session_has_one_however_much_it_writes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_line, "_GROW_AFTER_SECONDS", 0.05)
    async with scene.router(Sessions(1, 1)) as router:
        await serving(router, 1)
        await asyncio.sleep(0.1)
        written = await asyncio.gather(*(router.write("a", add(f"k{n}")) for n in range(40)))
        assert [one.value for one in written] == [True] * 40
        assert router.open_connections("a") == 1
        assert await count_sessions(scene) == 1


async def test_the_first_session_is_alone_until_it_is_warm_then_the_least_are_begun(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_line, "_WARM_SECONDS", 1.0)
    monkeypatch.setattr(router_line, "_GROW_AFTER_SECONDS", 60.0)
    async with scene.router(Sessions(3, 20)) as router:
        await serving(router, 1)
        await asyncio.gather(*(router.write("a", add(f"k{n}")) for n in range(10)))
        assert router.open_connections("a") == await count_sessions(scene) == 1

        async def least_are_open() -> bool:
            return router.open_connections("a") == 3

        await until(least_are_open, "three sessions")


async def test_sessions_are_begun_one_after_another_and_the_first_one_serves(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a take-over: everyone waits, and nothing is open yet."""
    connect, probe = psycopg.AsyncConnection.connect, Line._probe
    what = contextvars.ContextVar("what", default="pool")
    beginning, peak, pools = Counter[str](), Counter[str](), []

    class CountedPool(AsyncConnectionPool[Any]):
        def __init__(self, **named: Any) -> None:
            pools.append(self)
            super().__init__(**named)

    async def watched(*words: Any, **named: Any) -> Any:
        kind = what.get()
        beginning[kind] += 1
        peak[kind] = max(peak[kind], beginning[kind])
        try:
            return await connect(*words, **named)
        finally:
            beginning[kind] -= 1

    async def probed(line: Line) -> bool:
        token = what.set("probe")
        try:
            return await probe(line)
        finally:
            what.reset(token)

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", watched)
    monkeypatch.setattr(router_line, "AsyncConnectionPool", CountedPool)
    monkeypatch.setattr(Line, "_probe", probed)
    async with scene.router(Sessions(4, 4)) as router:
        waiting = [asyncio.create_task(router.write("a", add(f"k{n}"))) for n in range(12)]
        await asyncio.gather(*waiting)

        async def all_open() -> bool:
            what.set("our own look")
            return await count_sessions(scene) == 4

        await until(all_open, "four sessions are open")
    # On a machine that is very busy a probe may time out; then another pool begins beside the old one's end.
    assert peak["probe"] == 1
    assert 1 <= peak["pool"] <= len(pools), "each pool begins one at a time"


async def test_sessions_on_demand_begin_with_the_first_transaction(scene: Scene) -> None:
    async with scene.router(Sessions(1, 2, on_demand=True)) as router:
        await asyncio.sleep(0.5)
        assert (router.epoch("a"), await count_sessions(scene)) == (None, 0)
        assert (await router.write("a", add("first"))).value
        assert await count_sessions(scene) >= 1


async def test_the_session_that_found_the_primary_open_carries_the_first_transaction(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One begun anew would cost the first commit after a take-over 20 to 60 ms."""
    connect = psycopg.AsyncConnection.connect
    begun: list[int] = []

    async def watched(*words: Any, **named: Any) -> Any:
        connection = await connect(*words, **named)
        if named.get("application_name") == "biyi-core":
            begun.append(connection.info.backend_pid)
        return connection

    async def tell_session(connection: psycopg.AsyncConnection, _: int) -> int:
        await add("first")(connection, 1)
        return connection.info.backend_pid

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", watched)
    async with scene.router(Sessions(1, 1)) as router:
        assert begun == [(await router.write("a", tell_session)).value]


async def test_sessions_for_nobody_who_waits_begin_after_those_of_customers(scene: Scene) -> None:
    background = Sessions(1, 1, application="biyi-late", after_seconds=60)
    async with scene.router(background) as late, scene.router() as router:
        assert (await router.write("a", add("first"))).value
        assert late.epoch("a") is None
        async with await admin(scene.pair.idc) as conn:
            names = await conn.execute("select distinct application_name from pg_stat_activity")
            assert "biyi-late" not in {name for (name,) in await names.fetchall()}
    async with scene.router(Sessions(1, 1, after_seconds=0.1)) as late:
        await serving(late, 1)


@pytest.mark.parametrize(("least", "most"), [(0, 1), (3, 2)])
def test_impossible_numbers_of_sessions_are_refused(least: int, most: int) -> None:
    with pytest.raises(ValueError, match="needs 1 <= least <= most"):
        Sessions(least, most)


async def test_a_line_is_looked_at_again_after_an_error_that_nobody_foresaw(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_line, "_AGAIN_SECONDS", 0.05)
    probe, asked = Line._probe, Counter[str]()

    async def failing_once(line: Line) -> bool:
        asked["probes"] += 1
        if asked["probes"] == 1:
            raise RuntimeError("a descriptor is in use")
        return await probe(line)

    monkeypatch.setattr(Line, "_probe", failing_once)
    async with scene.router(Sessions(1, 1)) as router:
        await serving(router, 1)
        assert (await router.write("a", add("after"))).value is True
    assert asked["probes"] > 1
