"""Following, waiting for the sync copy, promoting, rewinding, cloning again."""

import asyncio
import time

import psycopg
import pytest

from replication.model import CopyId, parse_lsn
from replication.postgres import bootstrap, conf, control, hba, replica
from replication.postgres.copy import PostgresError, is_broken
from replication.postgres.observe import abort_connection, read_status
from replication.postgres.processes import read_postmaster
from tests.integration.postgres.places import Pair, admin, connect_as, follows, until, value


async def fail_over(pair: Pair) -> int:
    """Promote cloud while idc is wherever the test left it."""
    own_id = control.read_copy_id(pair.cloud)
    assert own_id is not None
    async with await admin(pair.cloud) as conn:
        await replica.stop_receiver(pair.cloud, conn, own_id)
        return await replica.promote(pair.cloud, conn, timeout_seconds=10)


async def rows(pair: Pair, *, of_cloud: bool) -> list[int]:
    async with await admin(pair.cloud if of_cloud else pair.idc) as conn:
        cursor = await conn.execute("select n from ledger order by n")
        return [row[0] for row in await cursor.fetchall()]


async def test_a_clone_streams_fenced_under_its_own_id(pair: Pair) -> None:
    primary_id = await pair.make_primary()
    steps: list[str] = []
    own_id = replica.new_copy_id(pair.cloud.place)
    await replica.clone(pair.cloud, pair.idc.place, own_id, progress=steps.append)
    await control.start(pair.cloud)
    assert (control.read_copy_id(pair.cloud), control.read_copy_id(pair.idc)) == (own_id, primary_id)
    assert not hba.is_open(pair.cloud)
    assert steps == ["copying", "settling", "in place"]
    async with await admin(pair.idc) as conn, await admin(pair.cloud) as standby:
        await until(lambda: follows(conn, own_id), "the clone streams")
        status = await read_status(standby)
        assert status.in_recovery
        assert status.receiver_state == "streaming"
        assert status.upstream == ("127.0.0.1", pair.idc.place.port)
        assert [f.copy_id for f in (await read_status(conn)).followers] == [own_id]


async def test_an_upstream_that_was_written_and_not_read_is_not_shown(pair: Pair) -> None:
    """An agent that ended between the file and the reload sees the old one, and follows again."""
    own_id = await pair.make_sync()
    await conf.set_upstream(pair.cloud, None, None, own_id)
    assert conf.read_conf(pair.cloud)[conf.UPSTREAM] == ""
    async with await admin(pair.cloud) as standby:
        assert (await read_status(standby)).upstream == ("127.0.0.1", pair.idc.place.port)
        await conf.set_upstream(pair.cloud, standby, None, own_id)
    async with await admin(pair.cloud) as standby:
        assert (await read_status(standby)).upstream is None


async def test_a_commit_waits_for_the_sync_copy(pair: Pair) -> None:
    standby_id = await pair.make_sync()
    standby = read_postmaster(pair.cloud)
    assert standby is not None
    async with await admin(pair.idc) as conn, await admin(pair.idc) as writer:
        assert await conf.read_sync_names(conn) == {standby_id}
        await writer.execute("set statement_timeout = 0")
        await writer.execute("create table ledger (n int)")
        await control.kill_hard(pair.cloud)
        commit = asyncio.create_task(writer.execute("insert into ledger values (1)"))

        async def waits() -> bool:
            return bool(
                await value(conn, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'")
            )

        await until(waits, "the commit waits for its copy")
        assert not commit.done()
        await control.start(pair.cloud)
        await asyncio.wait_for(commit, 15)


async def test_emptied_sync_names_release_those_who_wait(pair: Pair) -> None:
    await pair.make_sync()
    async with await admin(pair.idc) as conn, await admin(pair.idc) as writer:
        await writer.execute("set statement_timeout = 0")
        await control.kill_hard(pair.cloud)
        commit = asyncio.create_task(writer.execute("create table ledger (n int)"))

        async def waits() -> bool:
            return bool(
                await value(conn, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'")
            )

        await until(waits, "the commit waits for its copy")
        await conf.set_sync_names(pair.idc, conn, frozenset())
        await asyncio.wait_for(commit, 5)


async def test_the_marker_is_on_the_sync_copy_when_it_returns(pair: Pair) -> None:
    standby_id = await pair.make_sync()
    async with await admin(pair.idc) as conn:
        lsn = await bootstrap.write_epoch_marker(conn, 2, standby_id)
        assert await replica.has_flushed(conn, standby_id, lsn)
        assert (await read_status(conn)).epoch == 2


async def test_a_marker_whose_wait_is_cancelled_is_unknown(pair: Pair) -> None:
    standby_id = await pair.make_sync()
    await control.kill_hard(pair.cloud)
    async with await admin(pair.idc) as conn, await admin(pair.idc) as other:
        marker = asyncio.create_task(bootstrap.write_epoch_marker(conn, 2, standby_id, timeout_seconds=20))

        async def cancelled() -> bool:
            query = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"
            return bool(await value(other, query))

        await until(cancelled, "the marker's wait was cancelled")
        with pytest.raises(PostgresError, match="not known to be on the sync copies"):
            await marker


async def test_promotion_gives_a_new_timeline_that_takes_writes(pair: Pair) -> None:
    await pair.make_sync()
    await control.kill_hard(pair.idc)
    assert await fail_over(pair) == 2
    async with await admin(pair.cloud) as conn:
        await conn.execute("create table ledger (n int)")
        status = await read_status(conn)
    assert (status.in_recovery, status.timeline) == (False, 2)


async def test_a_stopped_receiver_acknowledges_nothing_more(pair: Pair) -> None:
    standby_id = await pair.make_sync()
    async with await admin(pair.cloud) as standby, await admin(pair.idc) as conn:
        await replica.stop_receiver(pair.cloud, standby, standby_id)
        assert await value(standby, "select count(*) from pg_stat_wal_receiver") == 0
        with pytest.raises(PostgresError, match="outcome unknown"):
            await bootstrap.write_epoch_marker(conn, 2, standby_id, timeout_seconds=0.5)


async def test_an_old_primary_with_a_row_of_its_own_is_rewound_and_follows(pair: Pair) -> None:
    standby_id = await pair.make_sync()
    async with await admin(pair.idc) as conn:
        await conn.execute("create table ledger (n int)")
    async with await admin(pair.cloud) as standby:
        await replica.stop_receiver(pair.cloud, standby, standby_id)
    lonely = await admin(pair.idc)
    waiting = asyncio.create_task(lonely.execute("insert into ledger values (666)"))

    async def committed() -> bool:
        async with await admin(pair.idc) as conn:
            return bool(
                await value(conn, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'")
            )

    await until(committed, "the row is on disk here and nowhere else")
    await control.kill_hard(pair.idc)
    with pytest.raises(psycopg.OperationalError):
        await waiting
    await lonely.close()
    await fail_over(pair)
    async with await admin(pair.cloud) as conn:
        await conn.execute("insert into ledger values (1)")
    assert not await replica.can_follow_directly(pair.idc, pair.cloud.place)
    new_id = replica.new_copy_id(pair.idc.place)
    await replica.rewind(pair.idc, pair.cloud.place, new_id)
    await control.start(pair.idc)
    async with await admin(pair.cloud) as conn:
        await until(lambda: follows(conn, new_id), "the rewound copy streams")
    assert control.read_copy_id(pair.idc) == new_id
    assert not hba.is_open(pair.idc)
    assert control.is_standby_directory(pair.idc)

    async def same() -> bool:
        return await rows(pair, of_cloud=False) == [1]

    await until(same, "the rewound copy has the new history only")


async def test_a_cleanly_stopped_primary_follows_without_rewind(pair: Pair) -> None:
    await pair.make_sync()
    old_id = control.read_copy_id(pair.idc)
    assert old_id is not None
    async with await admin(pair.idc) as conn:
        await conn.execute("create table ledger (n int)")
    began = time.monotonic()
    await control.stop(pair.idc, mode="fast", timeout_seconds=10)
    assert time.monotonic() - began < 5
    assert await replica.can_follow_directly(pair.idc, pair.cloud.place)
    await fail_over(pair)
    async with await admin(pair.cloud) as conn:
        await conn.execute("insert into ledger values (1)")
    assert await replica.can_follow_directly(pair.idc, pair.cloud.place)
    await replica.become_standby(pair.idc, pair.cloud.place, old_id)
    await control.start(pair.idc)
    async with await admin(pair.cloud) as conn:
        await until(lambda: follows(conn, old_id), "the old primary streams")

    async def same() -> bool:
        return await rows(pair, of_cloud=False) == [1]

    await until(same, "the old primary has the new row")


async def test_the_fork_point_is_where_the_new_history_left_the_old(pair: Pair) -> None:
    await pair.make_sync()
    async with await admin(pair.cloud) as conn:
        assert await replica.fork_point(conn, 1) is None
    await control.stop(pair.idc, mode="fast", timeout_seconds=10)
    await fail_over(pair)
    old = await control.read_control(pair.idc)
    async with await admin(pair.cloud) as conn:
        fork = await replica.fork_point(conn, 1)
        assert fork is not None
        now = parse_lsn(str(await value(conn, "select pg_current_wal_lsn()::text")))
        assert old.checkpoint_lsn < fork <= now
        with pytest.raises(PostgresError, match="not in the history"):
            await replica.fork_point(conn, 9)


async def test_a_failed_rewind_is_marked_broken_and_cloned_anew(pair: Pair) -> None:
    """The source is another cluster altogether: pg_rewind refuses it after it recovered the target."""
    await pair.make_sync()
    await control.kill_hard(pair.idc)
    await control.kill_hard(pair.cloud)
    other = replica.new_copy_id(pair.cloud.place)
    for path in pair.cloud.data_dir.rglob("*"):
        if path.is_file():
            path.unlink()
    pair.cloud.data_dir.rename(pair.cloud.beside(".gone"))
    await control.initialise(pair.cloud)
    control.write_copy_id(pair.cloud, other)
    await control.start(pair.cloud)
    await bootstrap.create_roles_and_database(pair.cloud)
    new_id = replica.new_copy_id(pair.idc.place)
    with pytest.raises(PostgresError, match="pg_rewind"):
        await replica.rewind(pair.idc, pair.cloud.place, new_id)
    assert is_broken(pair.idc)
    await replica.clone(pair.idc, pair.cloud.place, new_id)
    assert not is_broken(pair.idc)
    await control.start(pair.idc)


async def test_a_rewind_killed_half_way_is_marked_broken(pair: Pair) -> None:
    await pair.make_sync()
    await control.kill_hard(pair.idc)
    await fail_over(pair)
    rewinding = asyncio.create_task(
        replica.rewind(pair.idc, pair.cloud.place, replica.new_copy_id(pair.idc.place))
    )

    async def begun() -> bool:
        return is_broken(pair.idc)

    await until(begun, "the rewind began")
    rewinding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rewinding
    assert is_broken(pair.idc)
    with pytest.raises(PostgresError, match="needs a new clone"):
        await control.start(pair.idc)


async def test_an_unreachable_upstream_breaks_nothing(pair: Pair) -> None:
    await pair.make_primary()
    await control.kill_hard(pair.idc)
    with pytest.raises(PostgresError, match="checkpoint at a-cloud-0"):
        await replica.rewind(pair.idc, pair.cloud.place, replica.new_copy_id(pair.idc.place))
    assert not is_broken(pair.idc)
    with pytest.raises(PostgresError, match="pg_basebackup"):
        await replica.clone(pair.idc, pair.cloud.place, replica.new_copy_id(pair.idc.place))
    await control.start(pair.idc)


async def test_an_aborted_connection_fails_at_once_for_whoever_waits(pair: Pair) -> None:
    await pair.make_primary()
    async with await admin(pair.idc) as conn:
        sleeping = asyncio.create_task(conn.execute("select pg_sleep(1.9)"))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        abort_connection(conn)
        with pytest.raises(psycopg.OperationalError):
            await sleeping
        assert time.monotonic() - began < 0.5


async def test_sync_names_are_all_waited_for(pair: Pair) -> None:
    standby_id = await pair.make_sync()
    absent = CopyId.parse("a-cloud-1-00000000")
    async with await admin(pair.idc) as conn:
        await conf.set_sync_names(pair.idc, conn, frozenset({standby_id, absent}))
        assert await conf.read_sync_names(conn) == {standby_id, absent}
        with pytest.raises(PostgresError, match="outcome unknown"):
            await bootstrap.write_epoch_marker(conn, 2, standby_id, timeout_seconds=0.5)


async def test_the_core_cannot_become_more_than_it_is(pair: Pair) -> None:
    await pair.make_sync()
    async with await connect_as(pair.idc, "biyi_app") as session:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await session.execute("create table biyi.mine (n int)")
