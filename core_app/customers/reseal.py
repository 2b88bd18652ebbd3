"""Seal customers' rows anew under the newest key version, a batch a transaction; count and close versions.

For the keeper of keys only: it runs as biyi_owner, which alone may change sealed columns. Nothing is
remembered between batches but the rows themselves, so a run that was cut off goes on where it stood.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import psycopg

from compliance.protection.fields import CUSTOMER_ID_NUMBER, CUSTOMER_NAME, CUSTOMER_PHONE
from compliance.protection.vault import Vault

TABLE = "core.customers"

# Rows that a business transaction holds are left for a later batch: nobody waits for anybody.
_TAKE = """
select customer_id, name, id_number, phone from core.customers c
where keys.sealed_version(name) = %(version)s
    and not exists (select from keys.shredded s where s.customer_id = c.customer_id)
order by customer_id limit %(limit)s for no key update skip locked
"""
_PUT = """
with put as (
    update core.customers c set name = n.name, id_number = n.id_number, id_number_index = n.id_number_index,
        phone = n.phone, phone_index = n.phone_index
    from unnest(%(ids)s::text[], %(name)s::bytea[], %(id_number)s::bytea[], %(id_number_index)s::bytea[],
        %(phone)s::bytea[], %(phone_index)s::bytea[])
        as n (customer_id, name, id_number, id_number_index, phone, phone_index)
    where c.customer_id = n.customer_id
    returning 1
)
insert into keys.rewraps (relation, from_version, to_version, row_count)
select 'core.customers', %(version)s, %(to)s, count(*) from put having count(*) > 0
on conflict (relation, from_version, to_version)
do update set row_count = rewraps.row_count + excluded.row_count, at = now()
"""
_COUNT = """
select v.version, coalesce(r.row_count, 0), coalesce(w.row_count, 0), coalesce(s.row_count, 0)
from (select keys.sealed_version(name) as version from core.customers
      union select from_version from keys.rewraps union select to_version from keys.rewraps) as v
left join (select keys.sealed_version(name) as version, count(*) as row_count from core.customers c
           where not exists (select from keys.shredded x where x.customer_id = c.customer_id)
           group by 1) as r using (version)
left join (select from_version as version, sum(row_count)::bigint as row_count from keys.rewraps
           group by 1) as w using (version)
left join (select keys.sealed_version(name) as version, count(*) as row_count from core.customers c
           join keys.shredded x using (customer_id) group by 1) as s using (version)
order by 1
"""
_CLOSE = """
insert into keys.closed_versions (relation, key_version)
select 'core.customers', v from unnest(%s::integer[]) as v on conflict do nothing
"""
_REOPEN = "delete from keys.closed_versions where relation = 'core.customers' and key_version = %s"
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
    connection: psycopg.AsyncConnection[Any], vault: Vault, version: int, limit: int
) -> int:
    """Re-wrap up to `limit` rows of `version` inside the caller's transaction; return how many there were.

    SealBroken names the first row that does not open: it is damaged, and nothing of the batch is changed.
    """
    rows = await connection.execute(_TAKE, {"version": version, "limit": limit})
    found = await rows.fetchall()
    if not found:
        return 0
    held = vault.now()
    columns: dict[str, list[bytes]] = {
        name: [] for name in ("name", "id_number", "id_number_index", "phone", "phone_index")
    }
    for customer_id, *sealed in found:
        for column, stored in zip((CUSTOMER_NAME, CUSTOMER_ID_NUMBER, CUSTOMER_PHONE), sealed, strict=True):
            clear = held.decrypt(column, customer_id, stored)
            columns[column.name].append(held.encrypt(column, customer_id, clear))
            if column.indexed:
                columns[f"{column.name}_index"].append(held.blind_index(column, clear))
    about = {"version": version, "to": held.versions()[TABLE], "ids": [row[0] for row in found]}
    await connection.execute(_PUT, about | columns)
    return len(found)


async def count_uses(connection: psycopg.AsyncConnection[Any]) -> dict[int, VersionUse]:
    """Return by key version what this cell has of it."""
    rows = await connection.execute(_COUNT)
    return {version: VersionUse(*counts) for version, *counts in await rows.fetchall()}


async def close_versions(connection: psycopg.AsyncConnection[Any], versions: list[int]) -> None:
    """Take no row under these versions any more (BY120); in force for what begins after the commit."""
    await connection.execute(_CLOSE, [versions])


async def reopen_version(connection: psycopg.AsyncConnection[Any], version: int) -> None:
    """Take rows under a version again: a backup of its time was restored."""
    await connection.execute(_REOPEN, [version])


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
