"""Compare a restored cell with itself and with the living one, by a table of checks that is handed in."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes
from psycopg import sql

from replication.postgres.observe import AdminConnection

UNDECIDED = timedelta(seconds=30)
"""A row's own time is when its transaction began; it committed at most this much later. Source:
idle_in_transaction_session_timeout."""


@dataclass(frozen=True, slots=True)
class TableCheck:
    """A table whose rows are never deleted: its key, the column with the row's own time, if it has one.

    `fixed`: its rows never change either, so each one must be the same in the living cell.
    """

    schema: str
    table: str
    key: tuple[str, ...]
    at: str | None
    fixed: bool


@dataclass(frozen=True, slots=True)
class ZeroCheck:
    """A query whose one value must be 0."""

    name: str
    query: str


@dataclass(frozen=True, slots=True)
class Checks:
    """All that is asked of a restored cell."""

    tables: tuple[TableCheck, ...]
    zeros: tuple[ZeroCheck, ...]


@dataclass(frozen=True, slots=True)
class TableFound:
    """A restored table: rows, SM3 over its rows in the order of the key (hex), and the comparison.

    `same_rows` are equal in the living cell, `later_changed` have the same key but were changed since,
    `foreign` must not be (absent there, or changed though fixed), `lost` were committed before the
    instant and are not here; all None when the living cell was not asked.
    """

    name: str
    rows: int
    sm3: str
    same_rows: int | None = None
    later_changed: int | None = None
    foreign: int | None = None
    lost: int | None = None

    @property
    def good(self) -> bool:
        """Say whether nothing is wrong with the table."""
        return not self.foreign and not self.lost


@dataclass(frozen=True, slots=True)
class ZeroFound:
    """What a query gave."""

    name: str
    value: int

    @property
    def good(self) -> bool:
        """Say whether it is as it must be."""
        return self.value == 0


@dataclass(frozen=True, slots=True)
class _Row:
    key: bytes
    digest: bytes
    settled: bool


async def check_zeros(conn: AdminConnection, checks: Checks) -> list[ZeroFound]:
    """Ask every query of the restored cell."""
    found = []
    for check in checks.zeros:
        row = await (await conn.execute(check.query.encode())).fetchone()
        found.append(ZeroFound(check.name, int(row[0]) if row else -1))
    return found


async def check_table(
    conn: AdminConnection, live: AdminConnection | None, check: TableCheck, to: datetime
) -> TableFound:
    """Hash a restored table and compare it row by row with the living one, holding one row of each."""
    name, digest = f"{check.schema}.{check.table}", hashes.Hash(hashes.SM3())
    rows = same = changed = foreign = lost = 0
    others = _rows(live, check, to - UNDECIDED) if live is not None else None
    other = await anext(others, None) if others else None
    async for row in _rows(conn, check, to):
        rows += 1
        digest.update(row.digest)
        while others and other and other.key < row.key:
            lost += other.settled
            other = await anext(others, None)
        if others and (other is None or other.key != row.key):
            foreign += 1
        elif others and other:
            equal = other.digest == row.digest
            same += equal
            changed += not equal and not check.fixed
            foreign += not equal and check.fixed
            other = await anext(others, None)
    while others and other:
        lost += other.settled
        other = await anext(others, None)
    sm3 = digest.finalize().hex()
    if others is None:
        return TableFound(name, rows, sm3)
    return TableFound(name, rows, sm3, same, changed, foreign, lost)


async def _rows(conn: AdminConnection, check: TableCheck, before: datetime) -> AsyncIterator[_Row]:
    """Yield the rows in the order of their keys' bytes; `settled`: their own time is before `before`."""
    key = sql.SQL(" || '|' || ").join(sql.SQL("t.{}::text").format(sql.Identifier(k)) for k in check.key)
    settled: sql.Composable = sql.SQL("false")
    if check.at is not None:
        settled = sql.SQL("t.{} < {}").format(sql.Identifier(check.at), sql.Literal(before))
    query = sql.SQL(
        "copy (select encode(convert_to({key}, 'UTF8'), 'hex'),"
        " encode(sha256(convert_to(t::text, 'UTF8')), 'hex'), {settled}"
        ' from {table} t order by ({key}) collate "C") to stdout'
    ).format(key=key, settled=settled, table=sql.Identifier(check.schema, check.table))
    async with conn.cursor() as cursor, cursor.copy(query) as copy:
        async for key_text, digest, is_settled in copy.rows():
            yield _Row(str(key_text).encode(), str(digest).encode(), is_settled == "t")
