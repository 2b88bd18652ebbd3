"""Bring every cell's database up to date: `python -m core_app.migrate --settings <site.json>`.

Goes to the primary that each cell's grant names, as biyi_owner; exit 0 done, 1 refused, 3 a cell
could not be reached (run it again, it is idempotent).
"""

import asyncio
import sys
from pathlib import Path

import click
import psycopg

from core_app.sql.apply import MigrationChanged, apply_migrations, read_migrations
from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import follow_grants
from replication.model import GrantSeen
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import Identity
from replication.transport import plan_calling

_GRANTS_PATIENCE_SECONDS = 20.0
"""Source: our choice; the stand starts agents and migrations one after the other."""


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
    """Migrate each cell in turn; a cell that is up to date is left alone."""
    grants = await asyncio.wait_for(_read_grants(site), _GRANTS_PATIENCE_SECONDS)
    migrations = read_migrations()
    for cell in site.cells:
        place = site.place(grants[cell.name].grant.primary.place)
        connection = await psycopg.AsyncConnection.connect(
            **plan_calling(place),
            dbname="biyi",
            user="biyi_owner",
            passfile=str(site.passfile),
            connect_timeout=5,
            autocommit=True,
        )
        async with connection:
            applied = await apply_migrations(connection, migrations)
        click.echo(f"{cell.name}: {', '.join(applied) or 'up to date'}")


async def _read_grants(site: SiteSettings) -> dict[str, GrantSeen]:
    """Return the grants once every cell has one."""
    wanted = {cell.name for cell in site.cells}
    async with Etcd(site.etcd_urls, Identity(site.tls_dir, "migrate").to("etcd")) as etcd:
        async for grants in follow_grants(etcd):
            if wanted <= grants.keys():
                return grants
    raise CellsUnknown(f"grants of {sorted(wanted)}: the following of grants ended")


if __name__ == "__main__":
    main()
