"""What a copy is configured to: `biyi.conf`, included last by postgresql.conf, written in one piece."""

import asyncio
import re
import time
from collections.abc import Mapping
from pathlib import Path

from psycopg.conninfo import make_conninfo

from replication.model import CopyId
from replication.postgres.copy import REPL, Copy, PostgresError, read_password, write_file
from replication.postgres.observe import (
    TCP_OPTIONS,
    AdminConnection,
    abort_after,
    connect_admin,
    parse_sync_names,
)
from replication.postgres.processes import POLL_SECONDS
from replication.settings import PlaceSettings
from replication.transport import plan_calling, plan_listening

CONF_FILE = "biyi.conf"
INCLUDE = f"\ninclude '{CONF_FILE}'\n"
SYNC_NAMES = "synchronous_standby_names"
UPSTREAM = "primary_conninfo"
_RELOAD_SECONDS = 5.0
_PROOF_SECONDS = 30.0
"""Patience with the checkpoint that proves the names. Source: our choice, that of a rewind's checkpoint; on
a disk that takes longer the agent must look again instead of waiting."""
_LINE = re.compile(r"^(\w+) = '((?:[^']|'')*)'$")


def base_settings(copy: Copy) -> dict[str, str]:
    """Return the settings of every copy, sized for the stand; none of them names another copy."""
    return {
        **plan_listening(copy.place),
        "max_connections": "100",
        "superuser_reserved_connections": "10",  # the agent gets in when the core took all others
        "password_encryption": "scram-sha-256",
        "authentication_timeout": "5s",
        # Durability. A crashed postmaster must not come back by itself and show waiting commits (I5).
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "restart_after_crash": "off",
        "wal_level": "replica",
        "wal_log_hints": "on",  # pg_rewind needs it
        "summarize_wal": "on",  # incremental backups need it, on whichever copy they are taken from
        "hot_standby": "on",
        "hot_standby_feedback": "off",
        "recovery_target_timeline": "latest",
        # Replication. A dead peer is noticed in 2 s on either side; a lost stream is tried again at once.
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "wal_keep_size": "256MB",  # a peer may be away this long and still catch up by streaming
        "max_slot_wal_keep_size": "512MB",  # a dead site's slot may not fill the disk
        "wal_sender_timeout": "2s",
        "wal_receiver_timeout": "2s",
        "wal_receiver_status_interval": "1s",  # the smallest there is
        "wal_retrieve_retry_interval": "100ms",
        "max_standby_streaming_delay": "1s",  # a look at a standby may not hold up its replay
        # Sockets: a black-holed client or standby is dropped in seconds, not in two hours.
        "tcp_user_timeout": "3000",
        "tcp_keepalives_idle": "2",
        "tcp_keepalives_interval": "1",
        "tcp_keepalives_count": "2",
        "idle_in_transaction_session_timeout": "30s",
        # Size and background work.
        "shared_buffers": "64MB",
        "dynamic_shared_memory_type": "mmap",  # in the directory: a killed server leaves none in /dev/shm
        "jit": "off",
        "checkpoint_timeout": "5min",
        "checkpoint_completion_target": "0.9",
        "max_wal_size": "512MB",
        "min_wal_size": "128MB",
        # Log: to stderr, which is the copy's log file; no statements, they hold personal data.
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_statement": "none",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_parameter_max_length_on_error": "0",
        "log_line_prefix": "%m [%p] %q%u@%d %a ",
        "log_checkpoints": "on",
        "log_timezone": "UTC",
        "timezone": "UTC",
        "lc_messages": "C",
    }


def sync_names_value(names: frozenset[CopyId]) -> str:
    """Return `synchronous_standby_names` that waits for every one of `names`; empty for none."""
    if not names:
        return ""
    quoted = ",".join(f'"{name}"' for name in sorted(map(str, names)))
    return f"{len(names)} ({quoted})"


def upstream_value(copy: Copy, upstream: PlaceSettings | None, own_id: CopyId) -> str:
    """Return `primary_conninfo` for following `upstream` as `own_id`; empty for None.

    The password stays in a file: the server logs a changed primary_conninfo in clear at reload.
    """
    if upstream is None:
        return ""
    return make_conninfo(
        user=REPL,
        passfile=str(copy.beside(".pgpass")),
        application_name=str(own_id),
        connect_timeout=2,
        **plan_calling(upstream),
        **TCP_OPTIONS,
    )


def read_conf(copy: Copy) -> dict[str, str]:
    """Return what `biyi.conf` holds; {} when there is none. PostgresError for a foreign line."""
    try:
        text = (copy.data_dir / CONF_FILE).read_text()
    except FileNotFoundError:
        return {}
    settings = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            raise PostgresError(f"{copy.place.name}: {CONF_FILE} has a line that is not ours")
        settings[match[1]] = match[2].replace("''", "'").replace("\\\\", "\\")
    return settings


def write_conf(copy: Copy, changes: Mapping[str, str], *, directory: Path | None = None) -> None:
    """Write the base settings, the upstream and sync names that stand there, and `changes` over both.

    Reading and writing is one step for this process: there is no await between them. `directory`
    is a half-made data directory, for the copy that it will be.
    """
    kept = {} if directory else {k: v for k, v in read_conf(copy).items() if k in (SYNC_NAMES, UPSTREAM)}
    settings = {SYNC_NAMES: "", UPSTREAM: "", **kept, **base_settings(copy), **changes}
    lines = [f"{name} = '{_escape(value)}'\n" for name, value in settings.items()]
    write_file(copy, (directory or copy.data_dir) / CONF_FILE, "".join(lines))
    passfile, line = copy.beside(".pgpass"), f"*:*:*:{REPL}:{read_password(copy.passfile, REPL)}\n"
    if not passfile.exists() or passfile.read_text() != line:
        write_file(copy, passfile, line)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


async def reload(copy: Copy, conn: AdminConnection) -> AdminConnection:
    """Have the server read its files again; return a new connection that certainly runs under them.

    A session's own SHOW proves nothing about others; a session born after the reload does: the
    postmaster signals all its children and reads pg_hba.conf before it accepts the next client.
    """
    cursor = await conn.execute("select clock_timestamp(), pg_reload_conf()")
    row = await cursor.fetchone()
    deadline = time.monotonic() + _RELOAD_SECONDS
    while row is not None and time.monotonic() < deadline:
        fresh = await connect_admin(copy.place, copy.passfile, timeout_seconds=_RELOAD_SECONDS)
        loaded = await (await fresh.execute("select pg_conf_load_time() > %s", row[:1])).fetchone()
        if loaded == (True,):
            return fresh
        await fresh.close()
        await asyncio.sleep(POLL_SECONDS)
    raise PostgresError(f"{copy.place.name}: configuration not read again in {_RELOAD_SECONDS:g} s")


async def set_sync_names(copy: Copy, conn: AdminConnection, names: frozenset[CopyId]) -> None:
    """Have every commit wait for all of `names`; returns once that is so for commits that begin now.

    Where the server waited for nobody before, its checkpointer alone makes commits wait, and nothing
    shows when it has read the new value (a SHOW elsewhere does not). It does so before it serves a
    CHECKPOINT that is asked for after the reload: so one is asked for. Always: the file may hold the
    names of an earlier try that ended before this.
    """
    wanted = sync_names_value(names)
    write_conf(copy, {SYNC_NAMES: wanted})
    async with await reload(copy, conn) as fresh:
        found = await (await fresh.execute(f"show {SYNC_NAMES}".encode())).fetchone()
        if found != (wanted,):
            raise PostgresError(f"{copy.place.name}: {SYNC_NAMES} is {found}, needs {wanted!r}")
        if wanted:
            async with abort_after(fresh, _PROOF_SECONDS):
                await fresh.execute("set statement_timeout = 0")
                await fresh.execute("checkpoint")


async def read_sync_names(conn: AdminConnection) -> frozenset[CopyId]:
    """Return the copies that commits wait for, as this session has it; ValueError for foreign names."""
    row = await (await conn.execute(f"show {SYNC_NAMES}".encode())).fetchone()
    return parse_sync_names(row[0]) if row else frozenset()


async def set_upstream(
    copy: Copy, conn: AdminConnection | None, upstream: PlaceSettings | None, own_id: CopyId
) -> None:
    """Follow `upstream` as `own_id`, or nobody for None; takes effect now when `conn` is given."""
    write_conf(copy, {UPSTREAM: upstream_value(copy, upstream, own_id)})
    if conn is not None:
        fresh = await reload(copy, conn)
        await fresh.close()
