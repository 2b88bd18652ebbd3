"""`biyi audit search`: the newest entries of the trail that say something, over all cells."""

import asyncio
import datetime as dt
import json
import sys
from dataclasses import dataclass
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.table import Table

from compliance.audit.store import AuditConnection
from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import read_world
from replication.settings import SiteSettings
from replication.tls import calling
from runbooks.audit_source import NoGrant, connect_audit
from runbooks.cells import site_settings

WINDOW = 20_000
"""Newest entries of each cell that are looked through. Source: our choice, a busy cell's last minutes or a
quiet one's months; what is older is in an export (`biyi audit export`)."""
_SHOWN = ("at", "what", "of", "actor", "role", "site", "kind", "status")

# Newest first along the primary key; the window bounds the work whatever is asked.
_SEARCH = """
with newest as materialized (
    select e.xid, e.entry_id, e.line from audit.entries e
    order by e.xid desc, e.entry_id desc limit %(window)s
), sealed as (select coalesce(max(upto), '0'::xid8) as upto from audit.blocks)
select n.entry_id, n.line, n.xid < sealed.upto as sealed
from newest n, sealed
where strpos(lower(n.line), lower(%(text)s)) > 0
    and (%(actor)s = '' or strpos(n.line::jsonb ->> 'actor', %(actor)s) > 0)
    and (%(what)s = '' or n.line::jsonb ->> 'what' like %(what)s || '%%')
    and (%(since)s::text is null or n.line::jsonb ->> 'at' >= %(since)s)
order by n.xid desc, n.entry_id desc limit %(limit)s
"""
_SEEN = "select count(*) from (select 1 from audit.entries limit %s) looked"


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; empty: anything. `since` is aware UTC."""

    text: str = ""
    actor: str = ""
    what: str = ""
    since: dt.datetime | None = None
    limit: int = 50


@click.command("search")
@click.argument("text", default="")
@click.option("--actor", default="", help="Part of who did it, as `staff:li.wei` or `channel:app`.")
@click.option("--what", default="", help="Beginning of what was done, as `staff.` or `loan.drawn`.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="UTC.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def search_command(
    text: str, *, actor: str, what: str, since: dt.datetime | None, limit: int, as_json: bool
) -> None:
    """Show the newest entries that contain TEXT, of all cells, the newest first.

    Looks through the newest 20,000 of each cell and says so. Entries hold ids, amounts and dates, never
    personal data in clear. Exit 3: a cell could not be read.

    \b
    biyi audit search --actor staff:li.wei
    biyi audit search --what staff. --since 2026-11-01
    biyi audit search L3f2-0123456789abcdef0123456789abcdef
    """
    wanted = Search(text, actor, what, since.replace(tzinfo=dt.UTC) if since else None, limit)
    try:
        found = asyncio.run(search_trail(next(iter(site_settings().values())), wanted))
    except (EtcdUnavailable, NoGrant, psycopg.Error, OSError) as error:
        click.echo(f"biyi audit search: {type(error).__name__}: {error}; look at `biyi cells`", err=True)
        sys.exit(3)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    table = Table("cell", *_SHOWN)
    for one in found["entries"]:
        table.add_row(one["cell"], *(str(one["line"].get(name, "-")) for name in _SHOWN))
    Console().print(table)
    click.echo(f"{len(found['entries'])} shown; looked through the newest {found['looked']:,} entries")


async def search_trail(settings: SiteSettings, wanted: Search) -> dict[str, Any]:
    """Return `entries` (cell, number, line, sealed; the newest first) and how many were `looked` through.

    EtcdUnavailable, NoGrant or psycopg.Error when a cell cannot be read: half a trail is no answer.
    """
    async with Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd")) as etcd:
        world = (await read_world(etcd)).grants
    if missing := [cell.name for cell in settings.cells if cell.name not in world]:
        raise NoGrant(f"no grant for {', '.join(missing)}")
    entries: list[dict[str, Any]] = []
    looked = 0
    for cell in settings.cells:
        async with connect_audit(settings, world[cell.name].grant) as connection:
            found, count = await search_cell(connection, wanted)
        looked += count
        entries += [{"cell": cell.name, **one} for one in found]
    entries.sort(key=lambda one: str(one["line"].get("at", "")), reverse=True)
    return {"entries": entries[: wanted.limit], "looked": looked, "window": WINDOW}


async def search_cell(connection: AuditConnection, wanted: Search) -> tuple[list[dict[str, Any]], int]:
    """Return a cell's entries (number, line, sealed), the newest first, and how many were looked through."""
    since = wanted.since.astimezone(dt.UTC).isoformat(timespec="seconds")[:19] if wanted.since else None
    values = {
        "text": wanted.text, "actor": wanted.actor, "what": wanted.what, "since": since,
        "limit": wanted.limit, "window": WINDOW,
    }  # fmt: skip
    rows = await (await connection.execute(_SEARCH, values)).fetchall()
    count = await (await connection.execute(_SEEN, [WINDOW])).fetchone()
    found = [{"number": number, "line": json.loads(line), "sealed": sealed} for number, line, sealed in rows]
    return found, count[0] if count else 0
