"""What a cache holds of a history that was lost does not survive the failover; nothing is lost or doubled."""

import asyncio
import shutil
from collections.abc import AsyncIterator

import psycopg
import pytest

from replication.postgres import bootstrap, conf, control, hba, replica
from replication.projection.position import MAX_RUNNING
from replication.projection.projector import CellProjector, State
from tests.integration.postgres.places import Pair, admin, connect_as
from tests.integration.projection.scene import (
    Server,
    assert_equal_to_the_copy,
    cached_values,
    count_rows,
    in_time,
    make_projector,
    migrate,
    tell,
)


@pytest.fixture
async def servers() -> AsyncIterator[tuple[Server, Server]]:
    both = (Server(), Server())
    for server in both:
        await server.start()
    yield both
    for server in both:
        server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)


async def promote_cloud(pair: Pair) -> None:
    """Make cloud the primary of epoch 2, open to the core."""
    own_id = control.read_copy_id(pair.cloud)
    assert own_id is not None
    async with await admin(pair.cloud) as conn:
        await replica.stop_receiver(pair.cloud, conn, own_id)
        await replica.promote(pair.cloud, conn, timeout_seconds=10)
    async with await admin(pair.cloud) as conn:
        await bootstrap.write_epoch_marker(conn, 2, own_id, wait_for_copies=False)
        await hba.open_to_clients(pair.cloud, conn)


async def lose_the_end_of_idcs_history(pair: Pair, at_idc: CellProjector) -> None:
    """idc goes on alone, is projected, and dies; cloud takes over without that end."""
    await control.kill_hard(pair.cloud)
    async with await admin(pair.idc) as conn:
        await conf.set_sync_names(pair.idc, conn, frozenset())
    async with await connect_as(pair.idc, "biyi_app") as app:
        await tell(app, "L-lost", 1)
        await tell(app, "L0", 666_666)
        await tell(app, "L1", 777_777)
    await assert_equal_to_the_copy(at_idc, pair.idc, pair.idc.passfile)
    assert (await cached_values(at_idc.valkey))["L0"][1] == 666_666
    await control.kill_hard(pair.idc)
    await control.start(pair.cloud)
    await promote_cloud(pair)


async def return_idc(pair: Pair) -> None:
    """idc comes back as a fenced standby of cloud."""
    own_id = replica.new_copy_id(pair.idc.place)
    await replica.rewind(pair.idc, pair.cloud.place, own_id)
    await control.start(pair.idc)
    wanted = await count_rows(pair.cloud)

    async def replayed() -> bool:
        return await count_rows(pair.idc) == wanted

    await in_time(replayed, "idc has replayed what cloud has")
    assert not hba.is_open(pair.idc)


@pytest.mark.parametrize(
    ("rows", "rolled_back", "read_anew"),
    [(150, 1, 0), (20, 0, 1)],
    ids=["the fork is proven to be near", "too few rows to prove it: all is read anew"],
)
async def test_a_rewound_copys_cache_holds_the_new_history_only(
    pair: Pair, servers: tuple[Server, Server], rows: int, rolled_back: int, read_anew: int
) -> None:
    await pair.make_sync()
    await migrate(pair.idc)
    at_idc = make_projector(pair.idc, pair.idc.passfile, servers[0].client())
    at_cloud = make_projector(pair.cloud, pair.idc.passfile, servers[1].client())
    running = asyncio.create_task(at_cloud.run())
    await assert_equal_to_the_copy(at_idc, pair.idc, pair.idc.passfile)
    async with await connect_as(pair.idc, "biyi_app") as app:
        for number in range(rows):
            await tell(app, f"L{number % 10}", number)
    await assert_equal_to_the_copy(at_idc, pair.idc, pair.idc.passfile)
    await lose_the_end_of_idcs_history(pair, at_idc)
    async with await connect_as(pair.cloud, "biyi_app") as app:
        for number in range(4):
            await tell(app, f"L{2 + number}", 1_000 + number)
    await return_idc(pair)

    again = make_projector(pair.idc, pair.idc.passfile, at_idc.valkey)
    position = await assert_equal_to_the_copy(again, pair.idc, pair.idc.passfile)
    assert (position.epoch, again.rolled_back, again.read_anew) == (2, rolled_back, read_anew)
    assert "L-lost" not in await cached_values(again.valkey)
    assert (await cached_values(again.valkey))["L0"][1] < rows

    async def follows_the_promoted_copy() -> bool:
        shown = at_cloud.position
        return at_cloud.state is State.WARM and shown is not None and shown.applied == rows + 4

    await in_time(follows_the_promoted_copy, "cloud's cache has gone through its copy's promotion")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await assert_equal_to_the_copy(at_cloud, pair.cloud, pair.idc.passfile)
    for projector in (at_idc, at_cloud):
        await projector.valkey.aclose()


async def test_a_fenced_standby_admits_the_reader_and_not_the_core(pair: Pair) -> None:
    await pair.make_sync()
    await migrate(pair.idc)

    async def replayed() -> bool:
        try:
            return await count_rows(pair.cloud) == 0
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
            return False

    await in_time(replayed, "the standby has the tables")
    assert not hba.is_open(pair.cloud)
    for role in ("biyi_app", "biyi_owner"):
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
            await connect_as(pair.cloud, role)


async def test_no_copy_runs_more_sessions_than_the_proof_of_a_fork_allows_for(pair: Pair) -> None:
    assert int(conf.base_settings(pair.idc)["max_connections"]) <= MAX_RUNNING
