"""Becoming a copy of another server, and ceasing to be one: clone, rewind, follow, promote."""

import asyncio
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from replication.model import CopyId, format_lsn, parse_lsn
from replication.postgres.conf import SYNC_NAMES, UPSTREAM, set_upstream, upstream_value, write_conf
from replication.postgres.control import ClusterState, ControlData, put_in_place, read_control
from replication.postgres.copy import (
    REPL,
    STANDBY_SIGNAL,
    Copy,
    PostgresError,
    has_data,
    make_directory,
    mark_broken,
    read_password,
    run_program,
    unmark_broken,
    write_copy_id,
    write_file,
)
from replication.postgres.hba import write_fenced
from replication.postgres.observe import TCP_OPTIONS, AdminConnection, abort_after, connect_admin
from replication.postgres.processes import POLL_SECONDS, end_leftovers, read_postmaster
from replication.settings import PlaceSettings
from replication.transport import plan_calling

CLONE_SECONDS = 1800.0
"""Longest clone. Source: our choice; the sites' line carries a 200 GB cell in that time at 1 Gbit/s."""
REWIND_SECONDS = 300.0
"""Longest rewind, its own crash recovery included. Source: our choice; then a clone is faster."""
_CHECKPOINT_SECONDS = 30.0
_QUESTION_SECONDS = 3.0
_RECEIVER_SECONDS = 5.0
_REPLAY_SECONDS = 30.0


def new_copy_id(place: PlaceSettings) -> CopyId:
    """Return a fresh id for a directory that is about to be made at `place`."""
    return CopyId(place.cell, place.site, place.ordinal, secrets.token_hex(4))


async def clone(
    copy: Copy,
    upstream: PlaceSettings,
    own_id: CopyId,
    *,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Make the place a fenced standby copy of `upstream` under `own_id`; the server must not run.

    What stands there is replaced only once the new directory is whole and on disk. `progress` is
    told each step in words. PostgresError when it fails; then nothing changed.
    """
    tell = progress or (lambda step: None)
    _require_stopped(copy)
    await end_leftovers(copy)
    new, old = copy.beside(".new"), copy.beside(".old")
    await asyncio.to_thread(make_directory, copy, new)
    tell("copying")
    await run_program(
        copy,
        "pg_basebackup",
        f"--pgdata={new}",
        f"--dbname={_source(upstream, own_id, 'replication')}",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--no-password",
        timeout_seconds=CLONE_SECONDS,
        env={"PGPASSWORD": read_password(copy.passfile, REPL)},
    )
    tell("settling")
    _settle(copy, new, upstream, own_id)
    await asyncio.to_thread(shutil.rmtree, old, ignore_errors=True)
    put_in_place(copy)
    tell("in place")
    await asyncio.to_thread(shutil.rmtree, old, ignore_errors=True)


def _source(upstream: PlaceSettings, own_id: CopyId, dbname: str) -> str:
    """Return the connection string for a program; its name is not a copy's, so nobody waits for it."""
    return make_conninfo(
        user=REPL,
        dbname=dbname,
        application_name=f"copying {own_id}",
        connect_timeout=2,
        **plan_calling(upstream),
        **TCP_OPTIONS,
    )


def _settle(copy: Copy, directory: Path, upstream: PlaceSettings, own_id: CopyId) -> None:
    """Turn files that came from `upstream` into this copy's: its id, port, fence; waiting for nobody."""
    conf = {SYNC_NAMES: "", UPSTREAM: upstream_value(copy, upstream, own_id)}
    write_copy_id(copy, own_id, directory=directory)
    write_conf(copy, conf, directory=directory)
    write_fenced(copy, directory=directory)
    write_file(copy, directory / STANDBY_SIGNAL, "")


async def become_standby(copy: Copy, upstream: PlaceSettings | None, own_id: CopyId) -> None:
    """Turn a stopped directory into a fenced standby of `upstream` as it is, without rewind.

    Only for a standby, or when `can_follow_directly` said so.
    """
    _require_stopped(copy)
    write_fenced(copy)
    write_conf(copy, {SYNC_NAMES: "", UPSTREAM: upstream_value(copy, upstream, own_id)})
    write_file(copy, copy.data_dir / STANDBY_SIGNAL, "")


def _require_stopped(copy: Copy) -> None:
    if read_postmaster(copy) is not None:
        raise PostgresError(f"{copy.place.name}: its server runs; stop it first")


async def rewind(copy: Copy, upstream: PlaceSettings, own_id: CopyId) -> None:
    """Take back what only this stopped directory has and make it a fenced standby under the new `own_id`.

    PostgresError when it fails; the directory is then marked broken and only a clone helps. Before
    the upstream answered, nothing is changed or marked.
    """
    _require_stopped(copy)
    await end_leftovers(copy)
    if not has_data(copy):
        raise PostgresError(f"{copy.place.name}: no data to rewind")
    before = await read_control(copy)
    await ask_upstream(copy, upstream)
    mark_broken(copy, f"rewind to {own_id} began and did not end")
    # The single-user recovery inside pg_rewind refuses a standby, and must wait for no copy.
    (copy.data_dir / STANDBY_SIGNAL).unlink(missing_ok=True)
    write_conf(copy, {SYNC_NAMES: "", UPSTREAM: ""})
    done = await run_program(
        copy,
        "pg_rewind",
        f"--target-pgdata={copy.data_dir}",
        f"--source-server={_source(upstream, own_id, 'postgres')}",
        timeout_seconds=REWIND_SECONDS,
        env={"PGPASSWORD": read_password(copy.passfile, REPL)},
    )
    clean = before.state in (ClusterState.SHUT_DOWN, ClusterState.SHUT_DOWN_IN_RECOVERY)
    if "no rewind required" in done.stderr + done.stdout and not clean:
        # The recovery wrote a record of its own onto a timeline that the upstream still writes.
        raise PostgresError(f"{copy.place.name}: forked from {upstream.name} on the same timeline")
    _settle(copy, copy.data_dir, upstream, own_id)
    unmark_broken(copy)


async def ask_upstream(copy: Copy, upstream: PlaceSettings) -> None:
    """Have `upstream` write its timeline to its control file, where pg_rewind reads it.

    PostgresError when it does not answer: a server that still runs here is then better left running.
    """
    try:
        async with (
            await connect_admin(upstream, copy.passfile, timeout_seconds=3.0) as conn,
            abort_after(conn, _CHECKPOINT_SECONDS),
        ):
            await conn.execute("set statement_timeout = 0")
            await conn.execute("checkpoint")
    except (psycopg.Error, TimeoutError, OSError) as error:
        raise PostgresError(f"checkpoint at {upstream.name}: {type(error).__name__}: {error}") from error


async def read_timeline(conn: AdminConnection) -> int:
    """Return the timeline that the server writes, or replays as a standby."""
    row = await _row(
        conn,
        "select case when pg_is_in_recovery() then coalesce((select received_tli from pg_stat_wal_receiver),"
        " (select timeline_id from pg_control_checkpoint()))"
        " else ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int end",
    )
    return int(str(row[0]))


Timelines = dict[int, int | None]
"""Each timeline of a history with the LSN (bytes) at which it was left, None for the one it is on."""


def parse_history(text: str) -> Timelines:
    """Read the earlier timelines out of a history file; comments are passed over."""
    found: Timelines = {}
    for fields in map(str.split, text.splitlines()):
        if len(fields) >= 2 and fields[0].isdigit():
            found[int(fields[0])] = parse_lsn(fields[1])
    return found


async def read_timelines(conn: AdminConnection) -> Timelines:
    """Return a server's history."""
    current = await read_timeline(conn)
    row = await _row(conn, f"select pg_read_file('pg_wal/{current:08X}.history', true)")
    return parse_history(str(row[0] or "")) | {current: None}


async def fork_point(conn: AdminConnection, timeline: int) -> int | None:
    """Return the LSN (bytes) at which the server's history left `timeline`; None while it is on it.

    PostgresError when `timeline` is no ancestor of the server's, or newer: another history.
    """
    timelines = await read_timelines(conn)
    if timeline not in timelines:
        raise PostgresError(f"timeline {timeline} is not in the history of timeline {max(timelines)}")
    return timelines[timeline]


async def can_follow_directly(copy: Copy, upstream: PlaceSettings) -> bool:
    """Say whether the stopped directory holds nothing that `upstream` lacks, so it may follow as it is.

    PostgresError when the upstream cannot be asked.
    """
    control = await read_control(copy)
    try:
        async with (
            await connect_admin(upstream, copy.passfile, timeout_seconds=3.0) as conn,
            abort_after(conn, _QUESTION_SECONDS),
        ):
            history = await read_history(conn, control.timeline)
    except (psycopg.Error, TimeoutError, OSError) as error:
        raise PostgresError(f"history of {upstream.name}: {type(error).__name__}: {error}") from error
    return is_contained(control, history)


@dataclass(frozen=True, slots=True)
class UpstreamHistory:
    """What an upstream's history says of one timeline; LSNs in bytes.

    `fork_lsn` is where it left that timeline, None while it is on it. `known` is False when the
    timeline is no ancestor of its own.
    """

    system_identifier: str
    in_recovery: bool
    reached_lsn: int
    known: bool
    fork_lsn: int | None


async def read_history(conn: AdminConnection, timeline: int) -> UpstreamHistory:
    """Ask an upstream what became of `timeline`."""
    row = await _row(
        conn,
        "select (select system_identifier::text from pg_control_system()), pg_is_in_recovery(),"
        " coalesce(case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(),"
        " pg_last_wal_replay_lsn()) else pg_current_wal_flush_lsn() end, '0/0')::text",
    )
    try:
        known, fork = True, await fork_point(conn, timeline)
    except PostgresError:
        known, fork = False, None
    return UpstreamHistory(str(row[0]), bool(row[1]), parse_lsn(str(row[2])), known, fork)


def is_contained(control: ControlData, history: UpstreamHistory) -> bool:
    """Say whether everything in a stopped directory is in the upstream's history.

    A former primary must have been shut down cleanly before the fork: its last record is then the
    shutdown checkpoint. On the same timeline only a standby upstream is believed: two primaries on
    one timeline cannot be told apart (research §2.11). A standby replayed no further than its
    minimum recovery end.
    """
    if history.system_identifier != control.system_identifier or not history.known:
        return False
    end = history.reached_lsn if history.fork_lsn is None else history.fork_lsn
    if control.state is ClusterState.SHUT_DOWN:
        return control.checkpoint_lsn < end and (history.fork_lsn is not None or history.in_recovery)
    if control.state in (ClusterState.SHUT_DOWN_IN_RECOVERY, ClusterState.IN_ARCHIVE_RECOVERY):
        return max(control.min_recovery_end, control.checkpoint_lsn) <= end
    return False


async def has_flushed(conn: AdminConnection, copy_id: CopyId, lsn: int) -> bool:
    """Say whether the primary knows that a standby has flushed up to `lsn` (bytes)."""
    cursor = await conn.execute(
        "select exists (select from pg_stat_replication where application_name = %s"
        " and state = 'streaming' and flush_lsn >= %s::pg_lsn)",
        (str(copy_id), format_lsn(lsn)),
    )
    return await cursor.fetchone() == (True,)


async def promote(copy: Copy, conn: AdminConnection, *, timeout_seconds: float) -> int:
    """Make the standby a primary; return its new timeline.

    PostgresError when it is still in recovery after `timeout_seconds`: whether it will promote
    later is then unknown.
    """
    await conn.execute("select pg_promote(false)")
    deadline = time.monotonic() + timeout_seconds
    while (await _row(conn, "select pg_is_in_recovery()"))[0]:
        if time.monotonic() > deadline:
            raise PostgresError(f"{copy.place.name}: still in recovery {timeout_seconds:g} s after promote")
        await asyncio.sleep(POLL_SECONDS)
    (copy.data_dir / STANDBY_SIGNAL).unlink(missing_ok=True)
    return await read_timeline(conn)


async def stop_receiver(copy: Copy, conn: AdminConnection, own_id: CopyId) -> None:
    """Receive nothing more and replay what was received; PostgresError when either does not end.

    After this no old primary gets another acknowledgement from here.
    """
    await set_upstream(copy, conn, None, own_id)
    deadline = time.monotonic() + _RECEIVER_SECONDS
    while (await _row(conn, "select exists (select from pg_stat_wal_receiver)"))[0]:
        if time.monotonic() > deadline:
            raise PostgresError(f"{copy.place.name}: the WAL receiver survives {_RECEIVER_SECONDS:g} s")
        await asyncio.sleep(POLL_SECONDS)
    await _wait_replayed(copy, conn)


async def _wait_replayed(copy: Copy, conn: AdminConnection) -> None:
    """Wait until replay is at the end of what was received.

    The stream may have ended inside a record; replay then stops before it and waits for more WAL,
    which counts when seen twice at one place: not moving alone is no proof (research §2.18).
    """
    deadline = time.monotonic() + _REPLAY_SECONDS
    last: object = None
    while time.monotonic() < deadline:
        received, replayed, waits = await _row(
            conn,
            "select pg_last_wal_receive_lsn()::text, pg_last_wal_replay_lsn()::text,"
            " exists (select from pg_stat_activity where backend_type = 'startup'"
            " and wait_event in ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval'))",
        )
        if received is None or parse_lsn(str(replayed)) >= parse_lsn(str(received)):
            return
        if waits and replayed == last:
            return
        last = replayed if waits else None
        await asyncio.sleep(POLL_SECONDS)
    raise PostgresError(f"{copy.place.name}: replay not at its end in {_REPLAY_SECONDS:g} s")


async def _row(conn: AdminConnection, query: str) -> tuple[object, ...]:
    row = await (await conn.execute(query.encode())).fetchone()
    if row is None:
        raise PostgresError("a query without a table gave no row")
    return row
