"""The backup process of one data site: archives every cell's WAL, takes backups when due, drops old ones.

A process of its own, so that ciphers never hold up a failover; started by the site's agent, whose end
it notices by its standard input and does not survive.
`python -m replication.backup.service --settings .biyi/idc/site.json`
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import psycopg

from compliance.protection.errors import ProtectionError
from replication.backup.archive import current_archive
from replication.backup.archiver import CellArchiver
from replication.backup.errors import BackupError
from replication.backup.frames import BackupKey
from replication.backup.health import sound_chain
from replication.backup.plan import Kind, Timetable, decide_due
from replication.backup.sealed import open_backup_key
from replication.backup.take import Source, apply_retention, take_backup
from replication.memory import settle_memory
from replication.postgres.copy import Copy, PostgresError, is_standby_directory
from replication.settings import (
    BackupSettings,
    PlaceSettings,
    SettingsError,
    SiteSettings,
    read_site_settings,
)

log = logging.getLogger("biyi.backup")

LOOK_SECONDS = 10.0
"""Pause between two looks at what is due. Source: our choice, far under the shortest timetable."""
_AGAIN_SECONDS = 60.0
_NICENESS = 10
"""A ninth of the weight of those that customers wait for, so the lag stays bounded. Source: our choice."""


def source_of(settings: SiteSettings, backup: BackupSettings, place: PlaceSettings, key: BackupKey) -> Source:
    """Return what backups of a place are taken with."""
    return Source(Copy.of_place(settings, place), backup.directory, backup.staging, key)


def archived_places(settings: SiteSettings) -> tuple[PlaceSettings, ...]:
    """Return the places whose WAL is archived here: of each cell the copy that may be in the sync set.

    Only where its directory is: a pod has one copy of the site's, and not the others'.
    """
    return tuple(place for place in settings.agent_places() if place.ordinal == 0)


async def run_site(settings: SiteSettings, backup: BackupSettings) -> None:
    """Archive and take backups until cancelled."""
    key = open_backup_key(settings.key_file)
    async with asyncio.TaskGroup() as tasks:
        for place in archived_places(settings):
            archiver = CellArchiver(place, settings.passfile, backup.directory, key)
            tasks.create_task(archiver.run(), name=f"archive {place.name}")
            source = source_of(settings, backup, place, key)
            tasks.create_task(_take_when_due(source, backup), name=f"backup {place.name}")


async def _take_when_due(source: Source, backup: BackupSettings) -> None:
    await asyncio.sleep(backup.first_after)
    if not is_standby_directory(source.copy):
        await asyncio.sleep(backup.first_after)
    while True:
        try:
            await _take_if_due(source, backup)
        except (psycopg.Error, OSError, TimeoutError, BackupError, PostgresError) as error:
            log.warning("backup of %s: %s: %s", source.copy.place.cell, type(error).__name__, error)
            await asyncio.sleep(_AGAIN_SECONDS)
        await asyncio.sleep(LOOK_SECONDS)


async def _take_if_due(source: Source, backup: BackupSettings) -> None:
    archive = current_archive(source.directory, source.copy.place.cell, source.key)
    chain = sound_chain(archive) if archive else None
    table = Timetable(timedelta(seconds=backup.full_every), timedelta(seconds=backup.incremental_every))
    now = datetime.now(UTC)  # noqa: TID251 - this process's one clock reader for timetables
    due = decide_due(chain, table, now, on_standby=is_standby_directory(source.copy))
    if due is None:
        return
    stored = await take_backup(source, due, lambda step: log.info("%s: %s", source.copy.place.cell, step))
    log.info("cell %s: %s in %.1f s", source.copy.place.cell, stored.backup.label, stored.seconds)
    if archive is not None and stored.backup.kind is Kind.FULL:
        labels, segments = apply_retention(archive, backup.keep_full)
        log.info("cell %s: dropped %d backups, %d segments", archive.cell, len(labels), segments)


async def keep_service_running(settings_path: Path, log_path: Path) -> None:
    """Run the service as a child until cancelled; one that ends is started again after a pause."""
    while True:
        with log_path.open("ab") as output:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "replication.backup.service", "--settings", str(settings_path)),
                stdin=asyncio.subprocess.PIPE,  # never written to: its end tells the child that we are gone
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,  # `give_way` is for the whole session, and the agent's goes first
            )
        try:
            code = await child.wait()
        except asyncio.CancelledError:
            child.terminate()
            await child.wait()
            raise
        log.warning("the backup service ended with %d; again in %g s", code, 1.0)
        await asyncio.sleep(1.0)


async def serve(settings: SiteSettings, backup: BackupSettings) -> None:
    """Run until SIGTERM, SIGINT or the end of standard input."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin.fileno(), stop.set)
    running = asyncio.create_task(run_site(settings, backup))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def give_way() -> None:
    """Let the agent, the databases and the core go first: sealing a segment anew is 0.3 s of a core.

    Where Linux groups processes by session it weighs the groups, and `nice` only within one (sched(7)).
    """
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):  # no autogroups here: then `nice` alone does it
        Path("/proc/self/autogroup").write_text(f"{_NICENESS}\n")


@click.command()
@click.option(
    "--settings", "path", type=click.Path(path_type=Path), required=True, help="site.json of the site"
)
def main(path: Path) -> None:
    """Run the backups of one data site; for the agent to start, not for people."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = read_site_settings(path)
        if settings.backup is None:
            raise SettingsError(f"{path}: no `backup`: this site keeps none")
        give_way()
        settle_memory()
        asyncio.run(serve(settings, settings.backup))
    except (SettingsError, ProtectionError) as error:
        click.echo(error, err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
