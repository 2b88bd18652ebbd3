"""Making, starting, stopping and killing one server."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from replication.postgres import control
from replication.postgres.control import ClusterState
from replication.postgres.copy import Copy, PostgresError, as_owner, mark_broken
from replication.postgres.processes import processes_of, read_postmaster
from tests.integration.frozen import freeze
from tests.integration.postgres.places import Pair, admin, value


async def state_of(copy: Copy) -> ClusterState:
    return (await control.read_control(copy)).state


async def test_a_new_directory_is_whole_clean_and_on_timeline_one(pair: Pair) -> None:
    await control.initialise(pair.idc)
    facts = await control.read_control(pair.idc)
    assert control.has_data(pair.idc)
    assert (facts.state, facts.timeline) == (ClusterState.SHUT_DOWN, 1)


async def test_refuses_to_make_a_directory_over_data(pair: Pair) -> None:
    await control.initialise(pair.idc)
    with pytest.raises(PostgresError, match="has data already"):
        await control.initialise(pair.idc)


async def test_a_half_made_directory_does_not_count(pair: Pair) -> None:
    pair.idc.beside(".new").mkdir()
    (pair.idc.beside(".new") / "PG_VERSION").write_text("18")
    assert not control.has_data(pair.idc)
    await control.initialise(pair.idc)
    assert control.has_data(pair.idc)


async def test_a_started_server_admits_the_agent_and_stops_cleanly(pair: Pair) -> None:
    await control.initialise(pair.idc)
    await control.start(pair.idc)
    async with await admin(pair.idc) as conn:
        assert await value(conn, "show restart_after_crash") == "off"
        assert await value(conn, "show data_checksums") == "on"
    assert await control.is_running(pair.idc)
    await control.stop(pair.idc, mode="fast", timeout_seconds=10)
    assert not await control.is_running(pair.idc)
    assert await state_of(pair.idc) is ClusterState.SHUT_DOWN


async def test_starting_and_stopping_twice_is_harmless(pair: Pair) -> None:
    await control.initialise(pair.idc)
    for _ in range(2):
        await control.start(pair.idc)
    for _ in range(2):
        await control.stop(pair.idc, mode="fast", timeout_seconds=10)
    assert not await control.is_running(pair.idc)


async def test_a_failed_start_says_why(pair: Pair) -> None:
    await control.initialise(pair.idc)
    with pytest.raises(PostgresError, match="max_connections"):
        await control.start(pair.idc, settings={"max_connections": "none"})


async def test_killing_hard_leaves_no_process_of_the_directory(pair: Pair) -> None:
    await control.initialise(pair.idc)
    await control.start(pair.idc)
    async with await admin(pair.idc):
        assert len(processes_of(pair.idc)) > 3
        await control.kill_hard(pair.idc)
    assert processes_of(pair.idc) == []
    assert not await control.is_running(pair.idc)
    assert await state_of(pair.idc) is ClusterState.IN_PRODUCTION


async def test_killing_hard_finds_backends_whose_postmaster_is_gone(pair: Pair) -> None:
    await control.initialise(pair.idc)
    await control.start(pair.idc)
    async with await admin(pair.idc) as conn:
        backend = int(str(await value(conn, "select pg_backend_pid()")))
        freeze(backend)  # it cannot notice that the postmaster dies
        postmaster = read_postmaster(pair.idc)
        assert postmaster is not None
        postmaster.kill()
        assert backend in {process.pid for process in processes_of(pair.idc)}
        await control.kill_hard(pair.idc)
    assert processes_of(pair.idc) == []


async def test_a_pid_file_that_names_a_stranger_is_not_a_running_server(pair: Pair) -> None:
    await control.initialise(pair.idc)
    (pair.idc.data_dir / "postmaster.pid").write_text(f"{os.getpid()}\n{pair.idc.data_dir}\n")
    assert not await control.is_running(pair.idc)
    await control.kill_hard(pair.idc)


async def test_starts_again_after_a_hard_kill(pair: Pair) -> None:
    await control.initialise(pair.idc)
    await control.start(pair.idc)
    await control.kill_hard(pair.idc)
    await control.start(pair.idc)
    assert await control.is_running(pair.idc)


async def test_never_starts_a_broken_directory(pair: Pair) -> None:
    await control.initialise(pair.idc)
    mark_broken(pair.idc, "test")
    with pytest.raises(PostgresError, match="needs a new clone"):
        await control.start(pair.idc)


async def test_a_failed_connection_is_bounded(pair: Pair) -> None:
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError):
        await admin(pair.idc)
    assert time.monotonic() - began < 2


@contextlib.asynccontextmanager
async def a_stranger(copy: Copy) -> AsyncIterator[int]:
    """A live process of PostgreSQL's user that is no server: so a zombie looks to the next one."""
    process = await asyncio.create_subprocess_exec("sleep", "60", **as_owner(copy))
    try:
        yield process.pid
    finally:
        process.kill()
        await process.wait()


def at_a_socket(copy: Copy) -> tuple[Copy, Path]:
    """The same copy at a Unix socket instead of TCP, and the lock file of the socket."""
    sockets = copy.data_dir.with_name("sockets")
    sockets.mkdir()
    sockets.chmod(0o777)
    place = replace(copy.place, host=str(sockets))
    return replace(copy, place=place), Path(f"{place.socket_path}.lock")


async def test_the_lock_of_a_killed_server_s_socket_holds_nothing_up(pair: Pair) -> None:
    copy, lock = at_a_socket(pair.idc)
    await control.initialise(copy)
    await control.start(copy)
    await control.kill_hard(copy)
    async with a_stranger(copy) as pid:
        _, _, rest = lock.read_text().partition("\n")
        lock.write_text(f"{pid}\n{rest}")
        await control.start(copy)
    assert await control.is_running(copy)


async def test_the_lock_of_another_server_s_socket_stays(pair: Pair) -> None:
    copy, lock = at_a_socket(pair.idc)
    await control.initialise(copy)
    async with a_stranger(copy) as pid:
        theirs = f"{pid}\n{pair.cloud.data_dir}\n"
        lock.write_text(theirs)
        with pytest.raises(PostgresError, match="already exists"):
            await control.start(copy)
        assert lock.read_text() == theirs
        lock.unlink()
