"""Where an export of the audit trail comes from: each cell's granted primary, each site's memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from compliance.audit.export import Export, Source, write_export
from compliance.audit.signing import PublicKeys, Signer, read_public_keys
from compliance.audit.store import AuditConnection
from core_app.audit.memory import FILE, read_memory
from replication.etcd import Etcd
from replication.grants import read_world
from replication.model import DATA_SITES, Grant
from replication.postgres.copy import AUDIT, DATABASE
from replication.settings import SiteSettings
from replication.tls import calling
from replication.transport import plan_calling

CONNECT_SECONDS = 5
"""Patience with connecting. Source: our choice, the promised 5 s of a failover."""


class NoGrant(Exception):
    """A cell has no grant: it is written nowhere."""


def read_keys(home: Path) -> PublicKeys:
    """Return the public keys of the stand in `home`; AuditKeyError when there are none."""
    return read_public_keys(home / "keys" / "audit-public.json")


async def export_stand(
    settings: SiteSettings, home: Path, path: Path, signer: Signer, on_rows: Callable[[int, int], None]
) -> Export:
    """Export every cell and both sites' checkpoints into `path`.

    EtcdUnavailable, NoGrant or psycopg.Error when a cell cannot be read; MemoryUnreadable, AuditKeyError.
    """
    # Before the databases: whatever is remembered must be in them.
    remembered = {str(site): read_memory(home / site / FILE).to_plain() for site in DATA_SITES}
    async with Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd")) as etcd:
        world = (await read_world(etcd)).grants
    grants = {name: seen.grant for name, seen in world.items()}
    if missing := [cell.name for cell in settings.cells if cell.name not in grants]:
        raise NoGrant(f"no grant for {', '.join(missing)}; see `biyi cells`")
    first = settings.cells[0].name
    chains = {
        str(site): next((cell.name for cell in settings.cells if cell.home is site), first)
        for site in DATA_SITES
    }
    source = Source(
        cells=tuple(cell.name for cell in settings.cells),
        chain_cells=chains,
        connect=lambda cell: connect_audit(settings, grants[cell]),
        remembered=remembered,
        at=datetime.now(UTC).isoformat(timespec="microseconds"),  # noqa: TID251 - a command's one look
    )
    return await write_export(path, source, signer, read_keys(home), Export(on_rows))


@asynccontextmanager
async def connect_audit(settings: SiteSettings, grant: Grant) -> AsyncIterator[AuditConnection]:
    """Connect as biyi_audit to a granted primary; psycopg.Error when it does not answer."""
    place = settings.place(grant.primary.place)
    connection: psycopg.AsyncConnection[Any] = await psycopg.AsyncConnection.connect(
        **plan_calling(place),
        dbname=DATABASE,
        user=AUDIT,
        passfile=str(settings.passfile),
        connect_timeout=CONNECT_SECONDS,
        autocommit=True,
        application_name="biyi-audit-export",
    )
    async with connection:
        yield connection


async def find_unsealed(settings: SiteSettings, grants: dict[str, Grant]) -> int:
    """Return how many entries no block holds yet, all cells together."""
    query = """
        select count(*) from audit.entries
        where xid >= coalesce((select max(upto) from audit.blocks), '0'::xid8)
    """
    unsealed = 0
    for grant in grants.values():
        async with connect_audit(settings, grant) as connection:
            row = await (await connection.execute(query)).fetchone()
            unsealed += int(row[0]) if row else 0
    return unsealed
