"""The bench's clients on a real server: what they say was done is there once, and harm would show."""

import time
from collections.abc import AsyncIterator

import pytest

from bench.peers.load import OPENING_FEN, SCHEMA, Load, Session, read_back
from bench.peers.measure import judge
from bench.peers.records import Figures, Marks
from replication.postgres import hba
from tests.integration.postgres.places import Pair, admin, connect_as, make_pair, until


class OneServer:
    """A target whose primary never moves."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.connected = 0

    async def connect(self) -> Session:
        self.connected += 1
        return Session(await connect_as(self._pair.idc, "biyi_app"), None)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = make_pair()
    try:
        await made.make_primary()
        async with await admin(made.idc) as conn:
            await hba.open_to_clients(made.idc, conn)
        async with await connect_as(made.idc, "biyi_owner") as owner:
            await owner.execute(SCHEMA.encode())
        yield made
    finally:
        await made.end()


async def run_load(pair: Pair, target: OneServer, *, cut: bool) -> Load:
    """Run the clients until 60 writes are acknowledged; cut every session after the first 30."""
    load = Load(target, seed=7)

    async def acknowledged(count: int) -> bool:
        return len(load.ops) >= count

    load.start()
    await until(lambda: acknowledged(30), "30 writes")
    if cut:
        async with await admin(pair.idc) as conn:
            await conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'biyi_app'"
            )
    await until(lambda: acknowledged(60), "60 writes")
    await load.stop()
    return load


async def judged(pair: Pair, target: OneServer, load: Load) -> Figures:
    marks = Marks(time.monotonic_ns(), None, None)
    return judge(load.ops, await read_back(target), marks, {pair.idc.place.port}, OPENING_FEN)


async def test_clients_repeat_what_a_cut_session_left_open_and_book_it_once(pair: Pair) -> None:
    target = OneServer(pair)
    load = await run_load(pair, target, cut=True)
    seen = await judged(pair, target, load)
    assert target.connected > 8
    assert seen.acknowledged == seen.operations >= 60
    assert (seen.failed, seen.lost, seen.phantom, seen.misbooked) == (0, 0, 0, 0)


async def test_a_row_removed_behind_their_back_is_found_lost(pair: Pair) -> None:
    target = OneServer(pair)
    load = await run_load(pair, target, cut=False)
    async with await connect_as(pair.idc, "biyi_owner") as owner:
        await owner.execute("delete from peers.adds where key = '0-1'")
    seen = await judged(pair, target, load)
    assert (seen.lost, seen.misbooked) == (1, 2)
