"""Looking at a server as biyi_admin: who it is, how far it is, who follows it."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow, dict_row

from replication.model import CopyId, parse_lsn
from replication.postgres.copy import ADMIN, DATABASE
from replication.settings import PlaceSettings
from replication.snapshot import snapshot
from replication.transport import plan_calling

AdminConnection = psycopg.AsyncConnection[TupleRow]

TCP_OPTIONS: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 3000,
}
"""libpq's socket options: a peer that vanished is noticed in about 3-4 s even while idle."""

STATUS_SECONDS = 0.8
"""Patience with one look at a server. Source: our choice, eight failover ticks."""


@snapshot(frozen=True, slots=True)
class Follower:
    """A standby as its upstream sees it; LSNs in bytes. `reply_token` changes when it answers."""

    copy_id: CopyId | None
    state: str
    flush_lsn: int
    replay_lsn: int
    reply_token: str


@snapshot(frozen=True, slots=True)
class ServerStatus:
    """One look at a server; LSNs in bytes, 0 where the server has none.

    `epoch` is None unless the connection is to the database of the core and its row is there.
    `receiver_message_token` changes when the upstream said something.
    """

    in_recovery: bool
    timeline: int
    wal_flush_lsn: int
    received_lsn: int
    replayed_lsn: int
    receiver_state: str | None
    receiver_message_token: str | None
    upstream: tuple[str, int] | None
    sync_names: frozenset[CopyId]
    followers: tuple[Follower, ...]
    epoch: int | None
    snapshot: str | None = None
    """A primary's `pg_snapshot`: each commit visible in it ends at or before `wal_flush_lsn`."""
    flush_unanswered_ms: int = 0
    """A primary was asked this long ago to put WAL on its disk, and nothing has got there since."""
    door_unanswered_ms: int = 0
    """A new client knocked at a primary this long ago and was not answered."""


async def connect_admin(
    place: PlaceSettings, passfile: Path, *, dbname: str | None = None, timeout_seconds: float = 1.0
) -> AdminConnection:
    """Connect as biyi_admin, autocommit; psycopg.OperationalError or TimeoutError when it cannot be.

    Without `dbname` it is the core's database, or `postgres` where that is not made yet. Statements
    are limited to 2 s by the server: whatever commits under synchronous replication must lift that
    first (`set local statement_timeout = 0`).
    """
    async with asyncio.timeout(timeout_seconds):
        if dbname is not None:
            return await _connect(place, passfile, dbname)
        try:
            return await _connect(place, passfile, DATABASE)
        except psycopg.OperationalError as error:
            if "does not exist" not in str(error):
                raise
            return await _connect(place, passfile, "postgres")


async def _connect(place: PlaceSettings, passfile: Path, dbname: str) -> AdminConnection:
    return await psycopg.AsyncConnection.connect(
        user=ADMIN,
        dbname=dbname,
        passfile=str(passfile),
        autocommit=True,
        connect_timeout=2,
        **plan_calling(place),
        application_name="biyi-agent",
        options="-c statement_timeout=2000",
        **TCP_OPTIONS,
    )


def abort_connection(conn: psycopg.AsyncConnection[Any]) -> None:
    """Cut a connection at the socket, at once: whoever waits on it gets OperationalError.

    A polite close or a cancel request would hang on a black-holed link, and a cancel would end the
    wait of a COMMIT for its sync copy (SQLSTATE 01000).
    """
    if conn.pgconn.status != psycopg.pq.ConnStatus.BAD:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(conn.pgconn.socket)) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)


@contextlib.asynccontextmanager
async def abort_after(conn: psycopg.AsyncConnection[Any], seconds: float) -> AsyncIterator[None]:
    """Cut `conn` if the block takes over `seconds`; the block then sees psycopg.OperationalError.

    Use this, not `asyncio.timeout`: cancelling psycopg sends a cancel request and waits for it.
    """
    timer = asyncio.get_running_loop().call_later(seconds, abort_connection, conn)
    try:
        yield
    finally:
        timer.cancel()


def parse_sync_names(setting: str) -> frozenset[CopyId]:
    """Read the ids out of a `synchronous_standby_names` that `conf` wrote; ValueError for foreign names."""
    return frozenset(CopyId.parse(name) for name in setting.split('"')[1::2])


_STATUS = """
select pg_is_in_recovery() as in_recovery,
       case when pg_is_in_recovery() then
           coalesce((select received_tli from pg_stat_wal_receiver),
                    greatest((select timeline_id from pg_control_checkpoint()),
                             (select min_recovery_end_timeline from pg_control_recovery())))
       else ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int end as timeline,
       case when pg_is_in_recovery() then null else pg_current_wal_flush_lsn() end::text as flushed,
       pg_last_wal_receive_lsn()::text as received,
       pg_last_wal_replay_lsn()::text as replayed,
       (select status from pg_stat_wal_receiver) as receiver_state,
       (select last_msg_receipt_time::text from pg_stat_wal_receiver) as receiver_message,
       current_setting('primary_conninfo') as upstream,
       current_setting('synchronous_standby_names') as sync_names,
       array(select array[application_name, state, coalesce(flush_lsn, '0/0')::text,
                          coalesce(replay_lsn, '0/0')::text, coalesce(reply_time::text, '')]
               from pg_stat_replication order by application_name) as followers,
       case when pg_is_in_recovery() then null else pg_current_snapshot()::text end as snapshot,
       {epoch} as epoch
"""


async def read_status(conn: AdminConnection) -> ServerStatus:
    """Look at a server in one round trip; psycopg.Error when it does not answer within a second.

    A server that is just being promoted may fail the look once: look again.
    """
    epoch = "(select epoch from biyi.epoch)" if conn.info.dbname == DATABASE else "null::bigint"
    async with abort_after(conn, STATUS_SECONDS):
        try:
            row = await _read_row(conn, _STATUS.format(epoch=epoch))
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            row = await _read_row(conn, _STATUS.format(epoch="null::bigint"))
    return ServerStatus(
        in_recovery=row["in_recovery"],
        timeline=row["timeline"],
        wal_flush_lsn=_lsn(row["flushed"]),
        received_lsn=_lsn(row["received"]),
        replayed_lsn=_lsn(row["replayed"]),
        receiver_state=row["receiver_state"],
        receiver_message_token=row["receiver_message"],
        upstream=_host_port(row["upstream"]),
        sync_names=parse_sync_names(row["sync_names"]),
        followers=tuple(_follower(*fields) for fields in row["followers"]),
        epoch=row["epoch"],
        snapshot=row["snapshot"],
    )


async def _read_row(conn: AdminConnection, query: str) -> dict[str, Any]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query.encode())
        row = await cursor.fetchone()
    if row is None:
        raise psycopg.InternalError("a query without a table gave no row")
    return row


def _lsn(text: str | None) -> int:
    return parse_lsn(text) if text else 0


def _host_port(conninfo: str) -> tuple[str, int] | None:
    parts = conninfo_to_dict(conninfo)
    if "host" not in parts or "port" not in parts:
        return None
    return str(parts["host"]), int(str(parts["port"]))


def _follower(name: str, state: str, flush: str, replay: str, reply: str) -> Follower:
    try:
        copy_id = CopyId.parse(name)
    except ValueError:
        copy_id = None
    return Follower(copy_id, state, parse_lsn(flush), parse_lsn(replay), reply)
