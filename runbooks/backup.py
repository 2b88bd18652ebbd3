"""`biyi backup now | list | verify | status` and `biyi restore`: exit 0 done and good, 1 refused or red."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import psycopg
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from compliance.protection.errors import ProtectionError
from replication.backup.archive import Archive, Stored, current_archive, require_archive
from replication.backup.errors import ArchiveBusy, BackupError
from replication.backup.frames import BackupKey
from replication.backup.health import Health, read_health
from replication.backup.plan import Kind
from replication.backup.sealed import open_backup_key
from replication.backup.service import source_of
from replication.backup.take import Source, apply_retention, take_backup
from replication.backup.verify import verify_archive
from replication.model import DATA_SITES, Site
from replication.postgres.copy import PostgresError
from replication.settings import BackupSettings, SiteSettings
from runbooks.cells import site_settings

T = TypeVar("T")
AT_ONCE = 4
"""Backups taken at a time by a command. Source: our choice, two a data site."""
BUSY_SECONDS = 120.0
"""Patience with a backup that the site's own service is taking. Source: our choice; a small cell: 2 s."""
Tell = Callable[[str, int, int], None]
_cell = click.option("--cell", help="Only this cell.")
_site = click.option(
    "--site", type=click.Choice([str(s) for s in DATA_SITES]), help="Only this site's archive."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


class Place:
    """One archive that a command looks at: a cell at a site."""

    def __init__(self, settings: SiteSettings, backup: BackupSettings, key: BackupKey, cell: str) -> None:
        self.settings, self.backup, self.key, self.cell = settings, backup, key, cell

    @property
    def site(self) -> Site:
        """Return the site the archive stands at."""
        return self.settings.site

    def archive(self) -> Archive:
        """Return the archive; BackupError when nothing was ever archived."""
        return require_archive(self.backup.directory, self.cell, self.key)

    def source(self) -> Source:
        """Return what backups of the cell are taken with here."""
        places = self.settings.own_places()
        place = next(p for p in places if p.cell == self.cell and p.ordinal == 0)
        return source_of(self.settings, self.backup, place, self.key)


def places(cell: str | None, site: str | None) -> list[Place]:
    """Return the archives that the options name; click.UsageError when there is no such cell."""
    found = []
    for own, settings in site_settings().items():
        if settings.backup is None or site not in (None, str(own)):
            continue
        names = [c.name for c in settings.cells if cell in (None, c.name)]
        if not names:
            raise click.UsageError(f"no cell {cell!r}; there are {', '.join(c.name for c in settings.cells)}")
        try:
            key = open_backup_key(settings.key_file)
        except ProtectionError as error:
            raise click.ClickException(str(error)) from error
        found += [Place(settings, settings.backup, key, name) for name in names]
    if not found:
        raise click.ClickException(
            "no site here keeps backups: the stand was made with --no-backups; `biyi stand down`, then "
            "`biyi stand up --backups`"
        )
    return found


@contextmanager
def progress(title: str) -> Iterator[Tell]:
    """Yield what steps are told to: a bar on stderr."""
    columns = (TextColumn("{task.description:24}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as bars:
        known: dict[str, Any] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in known:
                known[step] = bars.add_task(f"{title} {step}", total=max(total, 1))
            bars.update(known[step], completed=done if total else 1, total=max(total, 1))

        yield tell


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; what the archive or PostgreSQL refuses ends with exit 1 and says why."""
    try:
        return asyncio.run(work)
    except (BackupError, PostgresError, ProtectionError, psycopg.Error, OSError) as error:
        raise click.ClickException(str(error)) from error


@click.group()
def backup() -> None:
    """Take, list, verify and judge backups; every file is sealed with SM4-GCM."""


@backup.command("now")
@_cell
@_site
@click.option("--full", is_flag=True, help="A full backup; else an incremental one where that can be.")
@_json
def now_command(cell: str | None, site: str | None, full: bool, as_json: bool) -> None:
    """Take a backup of each cell at each site now, verify it, and drop what is older than needed.

    It counts only when it could be read back, passed pg_verifybackup, and its WAL is in the archive.
    """
    with progress("backups") as tell:
        taken = run(take_everywhere(places(cell, site), Kind.FULL if full else Kind.INCREMENTAL, tell))
    if as_json:
        click.echo(json.dumps([one.plain for one in taken]))
    for one in taken:
        if one.failed:
            click.echo(f"{one.title}: {one.failed}", err=True)
        elif not as_json:
            click.echo(
                f"{one.title}: {one.plain['label']}, {_size(one.plain['bytes'])}, verified, "
                f"{one.plain['seconds']:.1f} s; dropped {len(one.plain['dropped'])} older"
            )
    sys.exit(1 if any(one.failed for one in taken) else 0)


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup taken, or why it was not."""

    title: str
    plain: dict[str, Any]
    failed: str = ""


async def take_everywhere(found: list[Place], kind: Kind, tell: Tell) -> list[Taken]:
    """Take a backup of each place, a few at a time, and drop what is older than needed; errors are values."""
    turn, taken = asyncio.Semaphore(AT_ONCE), []

    async def take(place: Place) -> None:
        async with turn:
            taken.append(await _take(place, kind))
            tell("taken", len(taken), len(found))

    tell("taken", 0, len(found))
    await asyncio.gather(*(take(place) for place in found))
    return sorted(taken, key=lambda one: one.title)


def _drop_older(place: Place) -> tuple[list[str], int]:
    """Apply retention; while the site's own service takes a backup, that is left to the next one."""
    try:
        return apply_retention(place.archive(), place.backup.keep_full)
    except ArchiveBusy:
        return [], 0


async def _take(place: Place, kind: Kind) -> Taken:
    title, plain = f"{place.cell} at {place.site}", {"cell": place.cell, "site": str(place.site)}
    try:
        stored = await take_backup(place.source(), kind, patience_seconds=BUSY_SECONDS)
        dropped, segments = _drop_older(place)
    except (BackupError, PostgresError, psycopg.Error, OSError) as error:
        return Taken(title, {**plain, "failed": str(error)}, str(error))
    done = {**plain, **plain_stored(place.cell, stored), "dropped": dropped, "segments_dropped": segments}
    return Taken(title, done)


def plain_stored(cell: str, stored: Stored) -> dict[str, Any]:
    """Return a backup as JSON has it."""
    made = stored.backup
    return {
        "cell": cell, "label": made.label, "kind": made.kind, "parent": made.parent,
        "ended": made.ended.isoformat(), "timeline": made.timeline, "bytes": stored.tar_bytes,
        "sm3": stored.files, "seconds": stored.seconds,
    }  # fmt: skip


@backup.command("list")
@_cell
@_site
@_json
def list_command(cell: str | None, site: str | None, as_json: bool) -> None:
    """Show every backup that counts, and what each is built on."""
    rows = []
    for place in places(cell, site):
        archive = current_archive(place.backup.directory, place.cell, place.key)
        for stored in archive.stored() if archive else ():
            rows.append({"site": place.site, **plain_stored(place.cell, stored)})
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("cell", "site", "backup", "built on", "ended (UTC)", "size", "took")
    for row in rows:
        table.add_row(row["cell"], row["site"], row["label"], row["parent"] or "-", row["ended"][:19],
                      _size(row["bytes"]), f"{row['seconds']:.1f} s")  # fmt: skip
    Console().print(table)


@backup.command("verify")
@_cell
@_site
@_json
def verify_command(cell: str | None, site: str | None, as_json: bool) -> None:
    """Read all that is stored: open every frame, run pg_verifybackup, look at each segment; exit 1 if bad."""
    rows = []
    for place in places(cell, site):
        with progress(f"{place.cell} at {place.site}") as tell:
            found = run(verify_archive(place.source(), place.archive(), tell))
        rows.append({"cell": place.cell, "site": place.site, "backups": found.backups,
                     "segments": found.segments, "failures": found.failures})  # fmt: skip
        if not as_json:
            click.echo(f"{place.cell} at {place.site}: {found.backups} backups, {found.segments} segments, "
                       f"{len(found.failures)} bad")  # fmt: skip
            for name, why in found.failures.items():
                click.echo(f"  {name}: {why}")
    if as_json:
        click.echo(json.dumps(rows))
    sys.exit(1 if any(row["failures"] for row in rows) else 0)


@backup.command("status")
@_cell
@_site
@_json
def status_command(cell: str | None, site: str | None, as_json: bool) -> None:
    """Show for each cell and site whether it could be restored up to now; exit 1 when one could not."""
    rows = []
    now = datetime.now(UTC)  # noqa: TID251 - a command is a shell: it reads the clock once
    for place in places(cell, site):
        archive = current_archive(place.backup.directory, place.cell, place.key)
        health = read_health(archive, now, place.backup.lag_limit) if archive else None
        rows.append(plain_health(place, health))
    if as_json:
        click.echo(json.dumps(rows))
    else:
        _print_status(rows)
    sys.exit(0 if all(row["good"] for row in rows) else 1)


def plain_health(place: Place, health: Health | None) -> dict[str, Any]:
    """Return one archive's state as JSON has it."""
    if health is None:
        return {
            "cell": place.cell,
            "site": place.site,
            "good": False,
            "findings": ["nothing was ever archived"],
        }
    full, incremental = health.newest_full, health.newest_incremental
    first, last = health.reach.first, health.reach.last
    return {
        "cell": place.cell,
        "site": place.site,
        "good": health.good,
        "system": health.system,
        "newest_full": full.backup.ended.isoformat() if full else None,
        "newest_incremental": incremental.backup.ended.isoformat() if incremental else None,
        "from": first.isoformat() if first else None,
        "to": last.isoformat() if last else None,
        "lag_seconds": health.lag_seconds,
        "lag_bytes": health.lag_bytes,
        "last_verified_restore": health.last_restore,
        "findings": list(health.findings),
    }


def _print_status(rows: list[dict[str, Any]]) -> None:
    table = Table(
        "cell", "site", "state", "newest full", "newest incremental", "lag", "last verified restore"
    )
    for row in rows:
        lag = row.get("lag_seconds")
        restored = row.get("last_verified_restore")
        table.add_row(
            row["cell"], row["site"], "[green]good[/green]" if row["good"] else "[red]red[/red]",
            _short(row.get("newest_full")), _short(row.get("newest_incremental")),
            "-" if lag is None else f"{lag:.1f} s, {row['lag_bytes']} B",
            _short(restored["at"]) if restored else "never",
        )  # fmt: skip
    console = Console()
    console.print(table)
    for row in rows:
        for finding in row["findings"]:
            console.print(f"{row['cell']} at {row['site']}: {finding}", highlight=False, markup=False)


def _short(instant: str | None) -> str:
    return instant[:19] + "Z" if instant else "-"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
