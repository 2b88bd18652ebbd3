"""One evening of one cell: a read-only transaction in which every table is computed and every check is run.

Tables are computed as of the evening's rows, so that the same day gives the same bytes whenever and at
whichever site it is run. Nothing is locked: business goes on.
"""

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from compliance.reporting.batch import Finding
from compliance.reporting.catalogue import (
    Tables,
    compose,
    compose_check,
    compose_field_check,
    compose_table,
)
from compliance.reporting.copying import copy_out
from compliance.reporting.errors import DayNotClosed
from compliance.reporting.settings import Institution
from compliance.reporting.statements import Statements
from core_app.loans.classification import ClassLimits
from core_app.products.catalogue import read_published
from core_app.products.model import Product

Connection = psycopg.AsyncConnection[Any]
Connect = Callable[[str], AbstractAsyncContextManager[Connection]]
"""Gives a connection to a cell that may read what biyi_report may."""
FIRST_DAY = dt.date(1900, 1, 1)
"""Stands for the evening before the first filing."""
WORK_MEM = "256MB"
"""Memory of one sort or hash. Source: measured with a million loans; with 64 MB table 503 takes 1.4 times as
long. A server process of such a filing had 1 GB at most, with either."""
IDLE = "1h"
"""How long a cell's evening may wait for another's: a table of a million loans can take longer than its
`idle_in_transaction_session_timeout`, 30 s. Source: our choice."""
_SETTINGS = {"work_mem": WORK_MEM, "idle_in_transaction_session_timeout": IDLE}

_WHERE = """
select b.on_date, coalesce(pg_last_wal_replay_lsn(), case when not pg_is_in_recovery()
    then pg_current_wal_lsn() end)::text, pg_current_snapshot()::text
from core.business_date b
"""
_PUBLISHED = "select document from core.product_versions"


@dataclass(frozen=True, slots=True)
class Evening:
    """What is asked for: the day, the evening before its period, who files, class limits, stated figures."""

    day: dt.date
    since: dt.date | None
    institution: Institution
    limits: ClassLimits
    products: Mapping[tuple[str, int], Product]
    statements: Statements = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One cell's evening; `lsn` and `snapshot` say what was seen."""

    cell: str
    connection: Connection
    tables: Tables
    values: Mapping[str, Composable]
    lsn: str
    snapshot: str

    @asynccontextmanager
    async def share(self, connect: Connect) -> AsyncIterator["Snapshot"]:
        """Yield the same instant of this cell in another session; to be entered while this one is idle."""
        row = await (await self.connection.execute("select pg_export_snapshot()")).fetchone()
        async with connect(self.cell) as connection, connection.transaction():
            await _begin(connection, row[0] if row else "")
            yield replace(self, connection=connection)

    async def copy_table(self, name: str, file: BinaryIO, digest: Any) -> int:
        """Append a table's rows to `file`; returns how many. The server writes them, nothing is held here."""
        # A statement of our own tables and of SQL literals.
        statement = SQL("copy ({}) to stdout (format text, delimiter {}, null '')").format(
            compose_table(self.tables, name, self.values), Literal(self.tables.delimiter)
        )
        return await copy_out(self.connection, statement, file, digest)

    async def check(self, name: str) -> list[Finding]:
        """Run one check over the rows that would be filed; returns at most a hundred rows that break it."""
        check = self.tables.checks[name]
        statement = SQL("{} limit 100").format(compose_check(self.tables, check, self.values))
        rows = await (await self.connection.execute(statement)).fetchall()
        return [
            Finding(check.table, str(key), f"{name}: {check.en}", str(found), str(needed), self.cell)
            for key, found, needed in rows
        ]

    async def check_fields(self, name: str) -> list[Finding]:
        """Check each field of a table by its type and code list; returns at most a hundred that break it."""
        statement = SQL("{} limit 100").format(compose_field_check(self.tables, name, self.values))
        rows = await (await self.connection.execute(statement)).fetchall()
        return [
            Finding(name, str(key), f"field {rule}", str(found), str(needed), self.cell)
            for key, rule, found, needed in rows
        ]

    async def read_returns(self) -> dict[str, dict[str, list[int]]]:
        """Return the fen of this cell that each cell of a 1104 return is put together from."""
        values: dict[str, dict[str, list[int]]] = {}
        for name, made in self.tables.returns.items():
            parts = SQL(", ").join(
                SQL("array_remove(array({})::bigint[], null)").format(SQL(one.sql).format(**self.values))
                for one in made.cells
            )
            statement = compose(self.tables, SQL(" select ") + parts, self.values)
            row = await (await self.connection.execute(statement)).fetchone()
            values[name] = dict(zip((one.cell for one in made.cells), row or (), strict=True))
        return values

    async def sum_503_fen(self) -> int:
        """Return all IOUs' balances together, in fen."""
        query = SQL(" select coalesce(sum(own_balance_fen), 0)::bigint from loan")
        row = await (await self.connection.execute(compose(self.tables, query, self.values))).fetchone()
        return int(row[0]) if row else 0

    def stream_accounts(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the rows of bureau accounts, in order, without holding them."""
        return self._stream("accounts", self.tables.account_sql)

    def stream_agreements(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the rows of credit agreements, in order."""
        return self._stream("agreements", self.tables.agreement_sql)

    def stream_deletions(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the accounts that were filed and never were, in order."""
        return self._stream("deletions", self.tables.deletion_sql)

    async def _stream(self, cursor_name: str, sql: str) -> AsyncIterator[dict[str, Any]]:
        query = SQL(" ") + SQL(sql).format(**self.values)
        async with self.connection.cursor(cursor_name) as cursor:
            cursor.itersize = 2000
            await cursor.execute(compose(self.tables, query, self.values))
            names = [column.name for column in cursor.description or ()]
            async for row in cursor:
                yield dict(zip(names, row, strict=True))


@asynccontextmanager
async def open_snapshot(
    connect: Connect, cell: str, tables: Tables, evening: Evening
) -> AsyncIterator[Snapshot]:
    """Yield a cell's evening; DayNotClosed when its day-end has not finished the day."""
    async with connect(cell) as connection, connection.transaction():
        await _begin(connection)
        row = await (await connection.execute(_WHERE)).fetchone()
        on_date, lsn, snapshot = row or (None, "", "")
        if on_date is None or on_date <= evening.day:
            raise DayNotClosed(
                f"cell {cell}: its business date is {on_date or 'not set'}, the evening of {evening.day} is "
                "not in its books; run `biyi day-end run` first"
            )
        published = await (await connection.execute(_PUBLISHED)).fetchall()
        products = dict(evening.products)
        for (document,) in published:
            one = read_published(document)
            products[(one.id, one.version)] = one
        values = _values(cell, evening, products.values())
        values["known"] = SQL(tables.known).format(**values)
        yield Snapshot(cell, connection, tables, values, lsn, snapshot)


async def _begin(connection: Connection, instant: str | None = None) -> None:
    """Begin to read: what is there now, or what another session of this server exported as `instant`."""
    await connection.execute("set transaction isolation level repeatable read, read only")
    if instant is not None:
        await connection.execute(SQL("set transaction snapshot {}").format(Literal(instant)))
    for name, value in _SETTINGS.items():
        await connection.execute(SQL("set local {} = {}").format(Identifier(name), Literal(value)))


def _values(cell: str, evening: Evening, products: Iterable[Product]) -> dict[str, Composable]:
    """Return what the statements are filled with, as SQL literals."""
    known = sorted(products, key=lambda product: (product.id, product.version))
    who = evening.institution
    plain: dict[str, Any] = {
        "cell": cell, "day": evening.day, "since": evening.since or FIRST_DAY, "licence": who.licence,
        "org": who.org, "org_name": who.org_name,
        "products": [one.id for one in known], "versions": [one.version for one in known],
        "names": [one.identity.name.zh for one in known],
        "account_types": [one.reporting.bureau_account_type for one in known],
        "repay_modes": [one.reporting.bureau_repay_mode for one in known],
        "frequencies": [one.reporting.bureau_frequency for one in known],
        "merged": [one.reporting.merge_bills for one in known],
        "methods": [str(one.schedule.method) for one in known],
    }  # fmt: skip
    plain |= {f"{name}_from": days for days, name in evening.limits.first_days}
    return {name: Literal(value) for name, value in plain.items()}


def begin_digest() -> Any:
    """Return an SM3 to be fed with a file's bytes."""
    return hashlib.new("sm3")
