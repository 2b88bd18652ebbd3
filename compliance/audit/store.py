"""The SQL of the audit trail on one cell's database: seal a window, look at the heads, keep a checkpoint.

Every function runs inside a transaction of the caller's, as biyi_audit, on the cell's primary. What is
signed must be on both sites: a look writes a record to the log, so that its commit waits for the synchronous
copy, and only after that commit may anything it saw be signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from compliance.audit.chain import Entry, Head, Sealing, begin_chain, plan_block, read_block
from compliance.audit.checkpoint import CellMark, Checkpoint, Mark

AuditConnection = psycopg.AsyncConnection[Any]

_LOCK = 0x62797A
"""Advisory lock of a cell's sealing: notaries of both sites take turns. Source: our choice."""
PAGE_ENTRIES = 2000
"""Entries of one block, but for those of its last transaction. Source: our choice; a page is sealed in about
20 ms, of the 3 s that a transaction may take."""

_LAST = """
select c.chain_id, b.number, b.line, b.digests
from audit.chain c left join lateral (
    select number, line, digests from audit.blocks order by number desc limit 1
) b on true
"""

# Rows and bound are of one snapshot. With ties: a transaction's entries are never split between blocks.
_PENDING = """
with edge as materialized (select pg_snapshot_xmin(pg_current_snapshot()) as xmin)
select edge.xmin::text, page.xid::text, page.entry_id, page.line
from edge left join (
    select e.xid, e.entry_id, e.line from audit.entries e
    where e.xid >= %(below)s::text::xid8 and e.xid < (select xmin from edge)
    order by e.xid fetch first %(page)s rows with ties
) page on true
order by page.xid, page.entry_id
"""

_ADD_BLOCK = """
insert into audit.blocks (number, upto, line, digests, hash) values (%s, %s::text::xid8, %s, %s, %s)
"""

_LOOK = """
select pg_logical_emit_message(true, 'biyi.audit', ''), c.chain_id, e.epoch, b.line, b.digests,
    (select encode(hash, 'hex') from audit.blocks where number = %(number)s) as remembered,
    (select jsonb_object_agg(site, jsonb_build_array(number, encode(hash, 'hex'), at)) from (
        select distinct on (site) site, number, hash, line::jsonb ->> 'at' as at
        from audit.checkpoints order by site, number desc
    ) newest) as newest
from biyi.epoch e, audit.chain c left join lateral (
    select line, digests from audit.blocks order by number desc limit 1
) b on true
"""

_KEEP = """
insert into audit.checkpoints (site, number, line, signature, hash) values (%s, %s, %s, %s, %s)
on conflict do nothing
"""
_KEPT = "select encode(hash, 'hex') from audit.checkpoints where site = %s and number = %s"


@dataclass(frozen=True, slots=True)
class NewestCheckpoint:
    """The last checkpoint of a site: its place and its time (ISO 8601 UTC)."""

    mark: Mark
    at: str


@dataclass(frozen=True, slots=True)
class CellLook:
    """What a cell's database says now; `remembered` is the hash (hex) of the block that was asked for."""

    head: CellMark
    remembered: str | None
    newest: Mapping[str, NewestCheckpoint]


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one sealing did: how many entries, and whether more are waiting already."""

    entries: int
    more: bool


async def seal_next(
    connection: AuditConnection, sealing: Sealing, page_entries: int = PAGE_ENTRIES
) -> Sealed:
    """Seal the next window if it has entries; run again after an unknown outcome it seals nothing twice.

    `sealing.chain` is read from the database, whatever the caller says.
    """
    # A statement of its own: the one that reads the last block has a snapshot from after the lock.
    await connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
    chain, head = await read_head(connection, sealing.cell)
    cursor = await connection.execute(_PENDING, {"below": str(head.upto), "page": page_entries})
    rows = await cursor.fetchall()
    entries = tuple(Entry(int(row[1]), row[2], row[3]) for row in rows if row[1] is not None)
    if not entries:
        return Sealed(0, more=False)
    more = len(entries) >= page_entries
    upto = entries[-1].xid + 1 if more else int(rows[0][0])
    own = Sealing(sealing.cell, chain, sealing.epoch, sealing.site, sealing.at)
    block = plan_block(own, head, upto, entries)
    await connection.execute(
        _ADD_BLOCK, [block.number, str(block.upto), block.line, block.digests, block.hash]
    )
    return Sealed(len(entries), more)


async def read_head(connection: AuditConnection, cell: str) -> tuple[str, Head]:
    """Return the id and the head of the cell's chain."""
    row = await (await connection.execute(_LAST)).fetchone()
    if row is None:
        raise LookupError(f"cell {cell}: audit.chain has no row")
    chain, number, line, digests = row
    return chain, begin_chain(cell, chain) if number is None else read_block(line, bytes(digests)).head


async def look(connection: AuditConnection, cell: str, remembered: int) -> CellLook:
    """Return the cell's head, the hash of block `remembered`, and the newest checkpoints kept here."""
    row = await (await connection.execute(_LOOK, {"number": remembered})).fetchone()
    if row is None:
        raise LookupError(f"cell {cell}: audit.chain or biyi.epoch has no row")
    _, chain, epoch, line, digests, found, newest = row
    head = begin_chain(cell, chain) if line is None else read_block(line, bytes(digests)).head
    if remembered == 0:
        found = begin_chain(cell, chain).hash.hex()
    return CellLook(
        CellMark(chain, epoch, head.number, head.entries, head.hash.hex()),
        found,
        {site: NewestCheckpoint(Mark(n, digest), at) for site, (n, digest, at) in (newest or {}).items()},
    )


async def keep_checkpoint(connection: AuditConnection, checkpoint: Checkpoint) -> bool:
    """Keep a checkpoint; False when its number is another one's. Twice the same is kept once."""
    mark, site = checkpoint.mark, checkpoint.statement.site
    await connection.execute(
        _KEEP, [site, mark.number, checkpoint.line, checkpoint.signature, bytes.fromhex(mark.hash)]
    )
    row = await (await connection.execute(_KEPT, [site, mark.number])).fetchone()
    return row is not None and row[0] == mark.hash
