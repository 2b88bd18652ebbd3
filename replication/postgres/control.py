"""Making a data directory, starting and stopping its server, reading its control file."""

import asyncio
import enum
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from replication.model import WAL_SEGMENT_BYTES, parse_lsn
from replication.postgres.conf import INCLUDE, write_conf
from replication.postgres.copy import (
    ADMIN,
    Copy,
    PostgresError,
    as_owner,
    has_data,
    is_broken,
    is_standby_directory,
    make_directory,
    program_environment,
    read_copy_id,
    read_password,
    run_program,
    sync_directory,
    unmark_broken,
    write_copy_id,
    write_file,
)
from replication.postgres.hba import write_fenced
from replication.postgres.processes import end_leftovers, kill_all, read_postmaster, wait_gone
from replication.postgres.timelines import forget_reserved

__all__ = [
    "ClusterState",
    "ControlData",
    "has_data",
    "initialise",
    "is_broken",
    "is_running",
    "is_standby_directory",
    "kill_hard",
    "read_control",
    "read_copy_id",
    "start",
    "stop",
    "write_copy_id",
]

START_SECONDS = 30
"""Patience with a start, crash recovery and the way to consistency included. Source: our choice."""
_INITDB_SECONDS = 60.0
_CONTROL_SECONDS = 5.0


class ClusterState(enum.Enum):
    """What the control file says of the last run; the values are pg_controldata's words."""

    STARTING_UP = "starting up"
    SHUT_DOWN = "shut down"
    SHUT_DOWN_IN_RECOVERY = "shut down in recovery"
    SHUTTING_DOWN = "shutting down"
    IN_CRASH_RECOVERY = "in crash recovery"
    IN_ARCHIVE_RECOVERY = "in archive recovery"
    IN_PRODUCTION = "in production"


@dataclass(frozen=True, slots=True)
class ControlData:
    """The control file of a directory; LSNs in bytes.

    `timeline` is the one the directory's data is on: of a standby the one it had to reach at least.
    """

    system_identifier: str
    state: ClusterState
    timeline: int
    checkpoint_lsn: int
    min_recovery_end: int


async def initialise(copy: Copy) -> None:
    """Make a new, empty, fenced cluster at the place; it is whole when it is seen.

    PostgresError when there is data already.
    """
    if has_data(copy):
        raise PostgresError(f"{copy.place.name}: {copy.data_dir} has data already")
    new, password = copy.beside(".new"), copy.beside(".password")
    make_directory(copy, new)
    write_file(copy, password, read_password(copy.passfile, ADMIN) + "\n")
    try:
        await run_program(
            copy,
            "initdb",
            f"--pgdata={new}",
            f"--username={ADMIN}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--data-checksums",
            f"--wal-segsize={WAL_SEGMENT_BYTES >> 20}",  # MiB
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            timeout_seconds=_INITDB_SECONDS,
        )
    finally:
        password.unlink(missing_ok=True)
    with (new / "postgresql.conf").open("a") as file:
        file.write(INCLUDE)
    write_conf(copy, {}, directory=new)
    write_fenced(copy, directory=new)
    put_in_place(copy)


def put_in_place(copy: Copy) -> None:
    """Rename the finished `<data_dir>.new` to the data directory; what stood there becomes `.old`."""
    if copy.data_dir.exists():
        copy.data_dir.rename(copy.beside(".old"))
    copy.beside(".new").rename(copy.data_dir)
    sync_directory(copy.data_dir.parent)
    unmark_broken(copy)


async def start(copy: Copy, *, settings: Mapping[str, str] | None = None) -> None:
    """Start the server with `settings` over what `biyi.conf` holds; returns once it admits the agent.

    PostgresError with the log's last lines when it ends or is not ready in time (then it runs on:
    a standby that needs more WAL than it can get). Nothing happens when it runs already. A broken
    directory is never started. The server outlives us.
    """
    if read_postmaster(copy) is not None:
        return
    if is_broken(copy):
        raise PostgresError(f"{copy.place.name}: a rewind failed half-way, the directory needs a new clone")
    await end_leftovers(copy)
    if is_standby_directory(copy):
        forget_reserved(copy)
    write_conf(copy, settings or {})
    copy.log_file.parent.mkdir(parents=True, exist_ok=True)
    with copy.log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            str(copy.pg_bin / "pg_ctl"),
            *("start", "--wait", f"--timeout={START_SECONDS}", "--silent", "--pgdata", str(copy.data_dir)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=program_environment(),
            start_new_session=True,
            **as_owner(copy),
        )
    try:
        exit_code = await process.wait()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if exit_code != 0:
        raise PostgresError(f"start of {copy.place.name}: exit {exit_code}: {_log_tail(copy)}")


def _log_tail(copy: Copy) -> str:
    with copy.log_file.open("rb") as log:
        log.seek(max(0, os.path.getsize(copy.log_file) - 2000))
        return " | ".join(log.read().decode(errors="replace").splitlines()[-8:])


async def stop(copy: Copy, *, mode: Literal["fast", "immediate"], timeout_seconds: float) -> None:
    """Stop the server: `fast` ends sessions, ships all WAL and shuts down cleanly; `immediate` drops all.

    PostgresError when it still runs after `timeout_seconds`. Nothing happens when it does not run.
    """
    postmaster = read_postmaster(copy)
    if postmaster is None:
        return
    postmaster.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
    if not await wait_gone(copy, postmaster, timeout_seconds):
        raise PostgresError(f"{copy.place.name}: {mode} stop not done in {timeout_seconds:g} s")


async def kill_hard(copy: Copy) -> None:
    """Kill the postmaster and everything it started, verified; removes nothing."""
    await kill_all(copy)


async def is_running(copy: Copy) -> bool:
    """Say whether the directory's postmaster lives; a stale pid file or a recycled pid does not count."""
    return read_postmaster(copy) is not None


async def read_control(copy: Copy) -> ControlData:
    """Read the control file through pg_controldata; PostgresError when it cannot be read."""
    done = await run_program(copy, "pg_controldata", str(copy.data_dir), timeout_seconds=_CONTROL_SECONDS)
    return parse_control(done.stdout)


def parse_control(text: str) -> ControlData:
    """Read pg_controldata's output; PostgresError names a line that is missing or strange."""
    found = {name.strip(): value.strip() for name, _, value in (s.partition(":") for s in text.splitlines())}
    try:
        return ControlData(
            system_identifier=found["Database system identifier"],
            state=ClusterState(found["Database cluster state"]),
            timeline=max(
                int(found["Latest checkpoint's TimeLineID"]), int(found["Min recovery ending loc's timeline"])
            ),
            checkpoint_lsn=parse_lsn(found["Latest checkpoint location"]),
            min_recovery_end=parse_lsn(found["Minimum recovery ending location"]),
        )
    except (KeyError, ValueError) as error:
        raise PostgresError(f"pg_controldata: {type(error).__name__} {error}") from error
