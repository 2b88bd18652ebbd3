"""What a new cell's first primary gets: roles, the database, the epoch's row and its guard."""

from pathlib import Path

import psycopg
from psycopg import sql

from replication.model import CopyId, parse_lsn
from replication.postgres.copy import (
    APP,
    AUDIT,
    DATABASE,
    NOTICES,
    OWNER,
    PAYER,
    READ,
    REPL,
    REPORT,
    STAFF,
    UEBA,
    Copy,
    PostgresError,
    read_password,
)
from replication.postgres.observe import AdminConnection, abort_after, connect_admin

_CONNECT_SECONDS = 5.0
_BOOTSTRAP_SQL = Path(__file__).with_name("bootstrap.sql")
_READER = "login connection limit 10"
_PORTAL = "login connection limit 20"
"""Rights of who is not the core: none but to log in, and few sessions: some a process and cell."""
_ROLES = {
    REPL: "login replication",
    OWNER: "login",
    APP: "login",
    PAYER: _PORTAL,
    NOTICES: _PORTAL,
    STAFF: _PORTAL,
    READ: _READER,
    AUDIT: _READER,
    REPORT: _READER,
    UEBA: _READER,
}
_REWIND_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)
"""What pg_rewind calls on its source. Source: PostgreSQL documentation of pg_rewind, Notes."""


async def create_roles_and_database(copy: Copy) -> None:
    """Make roles, database and schema `biyi` on the copy, which must be a running primary.

    Repeating it is harmless; it also sets the passwords to those of the passfile. Passwords are sent
    as SCRAM verifiers, never in clear.
    """
    async with await connect_admin(
        copy.place, copy.passfile, dbname="postgres", timeout_seconds=_CONNECT_SECONDS
    ) as conn:
        await conn.execute("set statement_timeout = 0")
        for role, rights in _ROLES.items():
            await _ensure_role(copy, conn, role, rights)
        await conn.execute(sql.SQL("grant pg_checkpoint to {}").format(sql.Identifier(REPL)))
        for function in _REWIND_FUNCTIONS:
            await conn.execute(f"grant execute on function pg_catalog.{function} to {REPL}".encode())
        if not await _database_exists(conn):
            await conn.execute(f"create database {DATABASE} owner {OWNER}".encode())
    async with await connect_admin(
        copy.place, copy.passfile, dbname=DATABASE, timeout_seconds=_CONNECT_SECONDS
    ) as conn:
        await conn.execute(_BOOTSTRAP_SQL.read_bytes())
        # The agent's sessions in another database cannot see the epoch: they connect anew.
        await conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = current_user and datname is distinct from current_database()"
            " and application_name = 'biyi-agent'"
        )


async def _database_exists(conn: AdminConnection) -> bool:
    found = await conn.execute("select from pg_database where datname = %s", (DATABASE,))
    return await found.fetchone() is not None


async def _ensure_role(copy: Copy, conn: AdminConnection, role: str, rights: str) -> None:
    found = await (await conn.execute("select from pg_roles where rolname = %s", (role,))).fetchone()
    password = read_password(copy.passfile, role)
    verifier = conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    verb = "create" if found is None else "alter"
    await conn.execute(
        sql.SQL("{} role {} {} password {}").format(
            sql.SQL(verb), sql.Identifier(role), sql.SQL(rights), sql.Literal(verifier)
        )
    )


async def write_epoch_marker(
    conn: AdminConnection,
    epoch: int,
    copy_id: CopyId,
    *,
    wait_for_copies: bool = True,
    timeout_seconds: float = 0.8,
) -> int:
    """Write the epoch's row and commit; return a WAL position (bytes) at or after the commit.

    `conn` must be to the database of the core. It waits for the sync copies if `wait_for_copies`.
    PostgresError when the outcome is unknown: not committed in time, or not everywhere (01000);
    `conn` is then unusable.
    """
    cancelled: list[str] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        cancelled.append(notice.sqlstate or "")

    conn.add_notice_handler(note)
    try:
        async with abort_after(conn, timeout_seconds):
            async with conn.transaction():
                await conn.execute("set local statement_timeout = 0")
                if not wait_for_copies:
                    await conn.execute("set local synchronous_commit = local")
                await conn.execute(
                    "insert into biyi.epoch (epoch, copy, at) values (%s, %s, clock_timestamp())"
                    " on conflict (one) do update"
                    " set epoch = excluded.epoch, copy = excluded.copy, at = excluded.at",
                    (epoch, str(copy_id)),
                )
            row = await (await conn.execute("select pg_current_wal_flush_lsn()::text")).fetchone()
    except psycopg.OperationalError as error:
        raise PostgresError(f"marker of epoch {epoch}: outcome unknown: {error}") from error
    finally:
        conn.remove_notice_handler(note)
    if "01000" in cancelled or row is None:
        await conn.close()
        raise PostgresError(f"marker of epoch {epoch}: not known to be on the sync copies")
    return parse_lsn(str(row[0]))
