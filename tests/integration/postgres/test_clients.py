"""Who may connect to a fenced and to an open copy, and what the epoch's guard refuses."""

import time

import psycopg
import pytest

from replication.backup.stream import open_stream
from replication.postgres import bootstrap, control, hba, replica
from replication.postgres.copy import ARCHIVER
from tests.integration.postgres.places import Pair, admin, connect_as, value


async def test_a_fenced_copy_refuses_the_core_and_an_open_one_admits_it(pair: Pair) -> None:
    await pair.make_primary()
    for role in ("biyi_app", "biyi_owner", "biyi_payer", "biyi_notices", "biyi_staff"):
        with pytest.raises(psycopg.OperationalError, match="rejects connection"):
            await connect_as(pair.idc, role)
    async with await admin(pair.idc) as conn:
        await hba.open_to_clients(pair.idc, conn)
    assert hba.is_open(pair.idc)
    for role in ("biyi_app", "biyi_owner", "biyi_payer", "biyi_notices", "biyi_staff"):
        async with await connect_as(pair.idc, role) as conn:
            assert await value(conn, "select current_user") == role


async def test_a_fenced_stop_ends_the_sessions_of_the_core_and_the_next_start_admits_none(pair: Pair) -> None:
    await pair.make_primary()
    async with await admin(pair.idc) as conn:
        await hba.open_to_clients(pair.idc, conn)
        sessions = [await connect_as(pair.idc, role) for role in ("biyi_app", "biyi_payer", "biyi_staff")]
        await hba.fence(pair.idc, conn)
    assert not hba.is_open(pair.idc)
    await control.stop(pair.idc, mode="fast", timeout_seconds=10)
    for session in sessions:
        with pytest.raises(psycopg.OperationalError):
            await session.execute("select 1")
        assert session.closed
    await control.start(pair.idc)
    with pytest.raises(psycopg.OperationalError, match="rejects connection"):
        await connect_as(pair.idc, "biyi_app")


async def test_a_fenced_stop_does_not_wait_for_an_archiver_that_takes_nothing(pair: Pair) -> None:
    """Its sender has more to send than the socket takes: told once, it would never end."""
    await pair.make_primary()
    streams = "select count(*) from pg_stat_replication where application_name = %s"
    async with await admin(pair.idc) as conn, open_stream(pair.idc.place, pair.idc.passfile) as stream:
        identity = await stream.identify()
        assert await stream.start(identity.timeline, identity.lsn)
        assert await value(conn, streams, ARCHIVER) == 1
        await conn.execute("create table public.much as select generate_series(1, 100000) as number")
        await hba.fence(pair.idc, conn)
        assert await value(conn, streams, ARCHIVER) == 0
        begun = time.monotonic()
        await control.stop(pair.idc, mode="fast", timeout_seconds=10)
        assert time.monotonic() - begun < 1.5


async def test_bootstrap_twice_is_harmless(pair: Pair) -> None:
    await pair.make_primary()
    await bootstrap.create_roles_and_database(pair.idc)


async def test_the_guard_refuses_another_epoch_and_lowered_durability(pair: Pair) -> None:
    own_id = await pair.make_primary()
    async with await admin(pair.idc) as conn:
        assert await bootstrap.write_epoch_marker(conn, 7, own_id, wait_for_copies=False) > 0
        await hba.open_to_clients(pair.idc, conn)
    async with await connect_as(pair.idc, "biyi_app") as session:
        await session.execute("select biyi.require_epoch(7)")
        with pytest.raises(psycopg.Error) as wrong_epoch:
            await session.execute("select biyi.require_epoch(6)")
        assert wrong_epoch.value.sqlstate == "BY001"
        await session.execute("set synchronous_commit = off")
        with pytest.raises(psycopg.Error) as lowered:
            await session.execute("select biyi.require_epoch(7)")
        assert lowered.value.sqlstate == "BY002"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await session.execute("update biyi.epoch set epoch = 6")


async def test_no_password_reaches_the_log(pair: Pair) -> None:
    await pair.make_sync()
    async with await admin(pair.cloud) as conn:
        await replica.stop_receiver(pair.cloud, conn, replica.new_copy_id(pair.cloud.place))
    for copy in (pair.idc, pair.cloud):
        assert "pw-biyi" not in copy.log_file.read_text()
