"""Bring every cell's database up to date: `python -m core_app.migrate --settings <site.json>`.

Goes to the primary that each cell's grant names, as biyi_owner, some cells side by side; exit 0 done,
1 refused, 3 a cell could not be reached (run it again, it is idempotent).
"""

import asyncio
import sys
import time
from pathlib import Path

import click
import psycopg

from core_app.sql.apply import Migration, MigrationChanged, apply_migrations, read_migrations
from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import read_world
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import Identity
from replication.transport import plan_calling

_PATIENCE_SECONDS = 20.0
"""Patience with a cell that has no grant or does not let us in yet. Source: our choice; the stand starts
agents and migrations together, and a move or a takeover is over by then."""
_PAUSE_SECONDS = 0.1
_SIDE_BY_SIDE = 8
"""Cells at once. Source: our choice; a migration is mostly the server's work, and each cell has its own."""


class CellsUnknown(Exception):
    """Not every cell has a grant yet."""


@click.command()
@click.option("--settings", "settings_file", type=click.Path(path_type=Path), required=True)
def main(settings_file: Path) -> None:
    """Apply what is missing of core_app/sql/migrations to every cell's primary."""
    try:
        asyncio.run(migrate_cells(read_site_settings(settings_file)))
    except (SettingsError, MigrationChanged) as error:
        click.echo(f"biyi migrate: {error}", err=True)
        sys.exit(1)
    except (EtcdUnavailable, CellsUnknown, TimeoutError, psycopg.OperationalError) as error:
        click.echo(f"biyi migrate: {type(error).__name__}: {error}", err=True)
        sys.exit(3)


async def migrate_cells(site: SiteSettings) -> None:
    """Migrate every cell; a cell that is up to date is left alone. What one cell raises ends no other's."""
    migrations, turns = read_migrations(), asyncio.Semaphore(_SIDE_BY_SIDE)
    async with Etcd(site.etcd_urls, Identity(site.tls_dir, "migrate").to("etcd")) as etcd:

        async def migrate(cell: str) -> None:
            async with turns:
                applied = await _migrate_cell(site, etcd, cell, migrations)
            click.echo(f"{cell}: {', '.join(applied) or 'up to date'}")

        ended = await asyncio.gather(*(migrate(cell.name) for cell in site.cells), return_exceptions=True)
    failed = [error for error in ended if error is not None]
    # What is refused for good is said before what may be tried again.
    for error in sorted(failed, key=lambda error: not isinstance(error, MigrationChanged)):
        raise error


async def _migrate_cell(
    site: SiteSettings, etcd: Etcd, cell: str, migrations: tuple[Migration, ...]
) -> tuple[str, ...]:
    """Return what was applied to one cell, whose primary may not be there yet or change meanwhile.

    Once connected nothing is tried again: a statement that fails there fails again.
    """
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            connection = await _connect(site, etcd, cell)
        except (EtcdUnavailable, CellsUnknown, psycopg.OperationalError):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
            continue
        async with connection:
            return await apply_migrations(connection, migrations)


async def _connect(site: SiteSettings, etcd: Etcd, cell: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
    """Connect to the primary that the cell's grant names now; CellsUnknown when it has none yet."""
    seen = (await read_world(etcd)).grants.get(cell)
    if seen is None:
        raise CellsUnknown(f"cell {cell}: no grant yet")
    return await psycopg.AsyncConnection.connect(
        **plan_calling(site.place(seen.grant.primary.place)),
        dbname="biyi",
        user="biyi_owner",
        passfile=str(site.passfile),
        connect_timeout=5,
        autocommit=True,
    )


if __name__ == "__main__":
    main()
