"""Writing an export: everything an auditor needs, one line a record, signed at the end.

    biyi-audit 1 <JSON: who, when, public keys>
    C <signature> <line>                  checkpoints, site after site
    B <hash> <digests> <line>             blocks, cell after cell, each followed by its entries
    E <transaction> <number> <JSON>
    T <signature> <JSON>                  what the file has to hold; signed by the exporting site

Hashes, digests and signatures in hex. Entries stand as they are hashed, so verifying parses none of them.
"""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from compliance.audit.checkpoint import Mark, read_checkpoint
from compliance.audit.digest import compute_sm3, hash_header
from compliance.audit.signing import PublicKeys, Signer, render_public_keys
from compliance.audit.store import AuditConnection

MAGIC = b"biyi-audit 1 "
_ROWS_AT_ONCE = 2000

_CHECKPOINTS = """
select number, line, signature from audit.checkpoints
where site = %s and number > %s and number <= coalesce(%s, number) order by number
"""
_BLOCKS = "select upto::text, line, digests, hash from audit.blocks order by number"
# Qualified: a bare xid would be the text, and 10 come before 9.
_ENTRIES = "select e.xid::text, e.entry_id, e.line from audit.entries e order by e.xid, e.entry_id"
_AROUND = """
select c.chain_id, (select count(*) from audit.blocks), (select count(*) from audit.entries),
    (select count(*) from audit.entries e
     where e.xid >= coalesce((select max(upto) from audit.blocks), '0'::xid8))
from audit.chain c
"""

Connect = Callable[[str], AbstractAsyncContextManager[AuditConnection]]
"""Gives a connection to a cell's primary that may read schema audit."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is exported: cells, the cell that keeps each site's checkpoints, what the sites remember.

    `remembered` was read before anything of the databases, so they can only hold more.
    `at` is when, ISO 8601 UTC.
    """

    cells: tuple[str, ...]
    chain_cells: Mapping[str, str]
    connect: Connect
    remembered: Mapping[str, Any]
    at: str


@dataclass(slots=True)
class Export:
    """What an export came to; `on_rows` is told of entries written, and how many there are."""

    on_rows: Callable[[int, int], None] = lambda done, total: None
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    checkpoints: dict[str, Mark] = field(default_factory=dict)
    entries: int = 0
    total: int = 0

    @property
    def unsealed(self) -> int:
        """Return how many entries no block held yet: they are not in the file."""
        return sum(int(cell["unsealed"]) for cell in self.cells.values())


async def write_export(
    path: Path, source: Source, signer: Signer, keys: PublicKeys, export: Export
) -> Export:
    """Write everything into `path`; psycopg.Error when a cell does not answer. Fills in `export`."""
    with path.open("wb") as file:
        header = {"at": source.at, "site": keys[signer.key_id].site, "keys": render_public_keys(keys)}
        first = MAGIC + json.dumps(header).encode() + b"\n"
        file.write(first)
        await _write_checkpoints(file, source, export)
        for cell in source.cells:
            async with source.connect(cell) as connection:
                await _write_cell(file, cell, connection, export)
        trailer = json.dumps(
            {
                "at": source.at, "key": signer.key_id, "header": compute_sm3(first).hex(),
                "cells": export.cells, "remembered": source.remembered,
                "checkpoints": {site: [mark.number, mark.hash] for site, mark in export.checkpoints.items()},
            }
        )  # fmt: skip
        file.write(f"T {signer.sign(trailer.encode()).hex()} {trailer}\n".encode())
    return export


async def _write_checkpoints(file: BinaryIO, source: Source, export: Export) -> None:
    """Write each site's checkpoints, so that no anchor names one that is younger than the reading.

    The first site is read again up to what the second one's anchors name.
    """
    rows: dict[str, list[tuple[int, str, bytes]]] = {}
    for site in source.chain_cells:
        rows[site] = await _read_checkpoints(source, site, 0, None)
    first = next(iter(source.chain_cells))
    others = [row for site, found in rows.items() if site != first for row in found]
    named = max(map(_anchor_of, others), default=0)
    newest = rows[first][-1][0] if rows[first] else 0
    if named > newest:
        rows[first] += await _read_checkpoints(source, first, newest, named)
    for site, found in rows.items():
        for number, line, signature in found:
            file.write(f"C {signature.hex()} {line}\n".encode())
            digest = hash_header(line.encode() + signature).hex()
            export.checkpoints[site] = Mark(number, digest)


def _anchor_of(row: tuple[int, str, bytes]) -> int:
    try:
        anchor = read_checkpoint(row[1], row[2]).statement.anchor
    except (ValueError, KeyError, TypeError):
        return 0  # damaged: exported as it stands, for the verifier to find
    return anchor.number if anchor else 0


async def _read_checkpoints(
    source: Source, site: str, after: int, upto: int | None
) -> list[tuple[int, str, bytes]]:
    async with source.connect(source.chain_cells[site]) as connection:
        found = await connection.execute(_CHECKPOINTS, [site, after, upto])
        return [(number, line, bytes(signature)) for number, line, signature in await found.fetchall()]


async def _write_cell(file: BinaryIO, cell: str, connection: AuditConnection, export: Export) -> None:
    """Write the blocks and entries of one cell, from one snapshot."""
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read, read only")
        row = await (await connection.execute(_AROUND)).fetchone()
        if row is None:
            raise LookupError(f"cell {cell}: audit.chain has no row")
        chain, blocks, total, unsealed = row
        export.total += total - unsealed
        entries = _stream(connection, "entries", _ENTRIES)
        waiting = await anext(entries, None)
        told: dict[str, Any] = {"chain": chain, "blocks": blocks, "entries": 0, "unsealed": unsealed}
        told["hash"] = ""
        async for upto, line, digests, digest in _stream(connection, "blocks", _BLOCKS):
            file.write(f"B {digest.hex()} {digests.hex()} {line}\n".encode())
            while waiting is not None and int(waiting[0]) < int(upto):
                file.write(f"E {waiting[0]} {waiting[1]} {waiting[2]}\n".encode())
                told["entries"] += 1
                waiting = await anext(entries, None)
            told["hash"] = digest.hex()
            export.on_rows(export.entries + told["entries"], export.total)
        await entries.aclose()
        export.entries += told["entries"]
        export.cells[cell] = told


async def _stream(connection: AuditConnection, name: str, query: str) -> AsyncGenerator[tuple[Any, ...]]:
    async with connection.cursor(name) as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        await cursor.execute(query.encode())
        async for row in cursor:
            yield row
