"""Seal rows anew under the newest key version, a batch a transaction; count and close versions.

For the keeper of keys only: it runs as biyi_owner, which alone may change sealed columns. Nothing is
remembered between batches but the rows themselves, so a run that was cut off goes on where it stood.
Which tables and columns there are is not said here: it follows from the register (`PROTECTED_COLUMNS`).
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import sql

from compliance.protection.fields import PROTECTED_COLUMNS, Column
from compliance.protection.vault import Vault

TABLE = "core.customers"
_ROW_KEYS = {"core.customers": "customer_id", "access.accounts": "staff"}
"""The column whose value is bound into the seal, by table."""


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table with sealed columns, as the register has it; all columns of a row are under one version."""

    name: str
    row_key: str
    columns: tuple[Column, ...]

    def parts(self) -> dict[str, sql.Composable]:
        """Return what the statements below are filled with."""
        return {
            "table": sql.Identifier(*self.name.split(".")),
            "key": sql.Identifier(self.row_key),
            "first": sql.Identifier(self.columns[0].name),
            "name": sql.Literal(self.name),
        }

    def written(self) -> list[str]:
        """Return the names of the columns that a re-wrapping writes, blind indexes included."""
        return [name for one in self.columns for name in (one.name, *([f"{one.name}_index"] * one.indexed))]


def _sealed_tables(columns: Iterable[Column]) -> Mapping[str, SealedTable]:
    tables: dict[str, list[Column]] = {}
    for column in columns:
        if column.sealed:
            tables.setdefault(column.table, []).append(column)
    # KeyError at import: a sealed table that says no row key would be left out of rotations.
    return MappingProxyType({t: SealedTable(t, _ROW_KEYS[t], tuple(found)) for t, found in tables.items()})


SEALED_TABLES = _sealed_tables(PROTECTED_COLUMNS)
"""Every table that a rotation re-wraps, by name."""
CUSTOMERS = SEALED_TABLES[TABLE]

# Rows that a business transaction holds are left for a later batch: nobody waits for anybody. The shredded
# open no more: they are left as they are.
_TAKE = """
select {key}, {columns} from {table} t
where keys.sealed_version({first}) = %(version)s
    and not exists (select from keys.shredded s where s.customer_id = t.{key})
order by {key} limit %(limit)s for no key update skip locked
"""
_PUT = """
with put as (
    update {table} t set {sets} from unnest(%(ids)s::text[], {arrays}) as n (id, {names})
    where t.{key} = n.id
    returning 1
)
insert into keys.rewraps (relation, from_version, to_version, row_count)
select {name}, %(version)s, %(to)s, count(*) from put having count(*) > 0
on conflict (relation, from_version, to_version)
do update set row_count = rewraps.row_count + excluded.row_count, at = now()
"""
_COUNT = """
select v.version, coalesce(r.row_count, 0), coalesce(w.row_count, 0), coalesce(s.row_count, 0)
from (select keys.sealed_version({first}) as version from {table} where {first} is not null
      union select from_version from keys.rewraps where relation = {name}
      union select to_version from keys.rewraps where relation = {name}) as v
left join (select keys.sealed_version({first}) as version, count(*) as row_count from {table} t
           where not exists (select from keys.shredded x where x.customer_id = t.{key})
           group by 1) as r using (version)
left join (select from_version as version, sum(row_count)::bigint as row_count from keys.rewraps
           where relation = {name} group by 1) as w using (version)
left join (select keys.sealed_version({first}) as version, count(*) as row_count from {table} t
           join keys.shredded x on x.customer_id = t.{key} group by 1) as s using (version)
order by 1
"""
_COUNT_COLUMN = """
select {path}, keys.sealed_version({column}), count(*) from {table} t
where {column} is not null and not exists (select from keys.shredded x where x.customer_id = t.{key})
group by 2
"""
_CLOSE = """
insert into keys.closed_versions (relation, key_version)
select %s, v from unnest(%s::integer[]) as v on conflict do nothing
"""
_REOPEN = "delete from keys.closed_versions where relation = %s and key_version = %s"
_FORGET = """
update core.customers set id_number_index = %(one)s, phone_index = %(other)s where customer_id = %(id)s
"""
_NOTE = "insert into keys.shredded (customer_id) values (%s) on conflict do nothing"


@dataclass(frozen=True, slots=True)
class VersionUse:
    """How much one cell has used a key version: rows under it, re-wrapped away from it, left shredded."""

    rows: int
    rewrapped: int
    shredded: int


async def reseal_batch(
    connection: psycopg.AsyncConnection[Any],
    vault: Vault,
    version: int,
    limit: int,
    table: SealedTable = CUSTOMERS,
) -> int:
    """Re-wrap up to `limit` rows of `version` inside the caller's transaction; return how many there were.

    SealBroken names the first row that does not open: it is damaged, and nothing of the batch is changed.
    """
    rows = await connection.execute(_fill(_TAKE, table), {"version": version, "limit": limit})
    found = await rows.fetchall()
    if not found:
        return 0
    held = vault.now()
    columns: dict[str, list[bytes]] = {name: [] for name in table.written()}
    for row_key, *sealed in found:
        for column, stored in zip(table.columns, sealed, strict=True):
            clear = held.decrypt(column, row_key, stored)
            columns[column.name].append(held.encrypt(column, row_key, clear))
            if column.indexed:
                columns[f"{column.name}_index"].append(held.blind_index(column, clear))
    about = {"version": version, "to": held.versions()[table.name], "ids": [row[0] for row in found]}
    await connection.execute(_fill(_PUT, table), about | columns)
    return len(found)


def _fill(statement: str, table: SealedTable) -> sql.Composed:
    """Return a statement of ours for one table of the register."""
    written = table.written()
    comma = sql.SQL(", ")
    return sql.SQL(statement).format(
        **table.parts(),
        columns=comma.join(sql.Identifier(one.name) for one in table.columns),
        names=comma.join(map(sql.Identifier, written)),
        arrays=comma.join(sql.SQL("{}::bytea[]").format(sql.Placeholder(name)) for name in written),
        sets=comma.join(sql.SQL("{0} = n.{0}").format(sql.Identifier(name)) for name in written),
    )


async def count_uses(
    connection: psycopg.AsyncConnection[Any], table: SealedTable = CUSTOMERS
) -> dict[int, VersionUse]:
    """Return by key version what this cell has of it."""
    rows = await connection.execute(_fill(_COUNT, table))
    return {version: VersionUse(*counts) for version, *counts in await rows.fetchall()}


async def count_columns(connection: psycopg.AsyncConnection[Any]) -> dict[str, dict[int, int]]:
    """Return, for every sealed column of the register (`core.customers.name`), its values by key version.

    The proof of a rotation. It looks at each column by itself, and rests on nothing that the re-wrapping
    says of itself. The values of shredded customers open under no version and are left out.
    """
    found: dict[str, dict[int, int]] = {}
    for table in SEALED_TABLES.values():
        for column in table.columns:
            path = f"{table.name}.{column.name}"
            statement = sql.SQL(_COUNT_COLUMN).format(
                **table.parts(), path=sql.Literal(path), column=sql.Identifier(column.name)
            )
            rows = await (await connection.execute(statement)).fetchall()
            found[path] = {version: count for _, version, count in rows}
    return found


async def close_versions(
    connection: psycopg.AsyncConnection[Any], versions: list[int], table: str = TABLE
) -> None:
    """Take no row under these versions any more (BY120); in force for what begins after the commit."""
    await connection.execute(_CLOSE, [table, versions])


async def reopen_version(connection: psycopg.AsyncConnection[Any], version: int, table: str = TABLE) -> None:
    """Take rows under a version again: a backup of its time was restored."""
    await connection.execute(_REOPEN, [table, version])


async def forget_customer(connection: psycopg.AsyncConnection[Any], customer_id: str) -> bool:
    """Note that a customer's key is destroyed, and make the row's indexes random: nobody finds it by value.

    Returns whether there is such a customer here; doing it twice changes nothing that matters.
    """
    values = {"one": secrets.token_bytes(32), "other": secrets.token_bytes(32), "id": customer_id}
    changed = await connection.execute(_FORGET, values)
    if changed.rowcount == 0:
        return False
    await connection.execute(_NOTE, [customer_id])
    return True
