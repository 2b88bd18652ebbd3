"""Verify what is stored by reading all of it: every frame opened, unpacked, pg_verifybackup, WAL headers."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from replication.backup.archive import Archive
from replication.backup.errors import ArchiveBroken, BackupError
from replication.backup.health import mark_failed, unmark_failed
from replication.backup.plan import check_segment_head
from replication.backup.sealed import read_sealed
from replication.backup.take import (
    MANIFEST,
    TAKE_SECONDS,
    TAR,
    Source,
    archive_lock,
    remove_staged,
    stage_name,
    unpack,
)
from replication.postgres.copy import PostgresError, run_program

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read and what was wrong with it; label or segment -> why."""

    backups: int
    segments: int
    failures: dict[str, str]


async def verify_archive(source: Source, archive: Archive, tell: Tell) -> Verified:
    """Read every backup and all WAL; what fails is noted, so that `status` is red until it passes or goes."""
    failures: dict[str, str] = {}
    with archive_lock(archive):
        remove_staged(source, archive)
        labels = archive.labels()
        for done, label in enumerate(labels):
            tell("backups", done, len(labels))
            try:
                await _verify_backup(source, archive, label)
                unmark_failed(archive, label)
            except (BackupError, PostgresError, OSError) as error:
                failures[label] = str(error)
                mark_failed(archive, label, str(error)[:500])
    have = archive.archived()
    names = sorted(have.whole | have.begun)
    for done, name in enumerate(names):
        tell("segments", done, len(names))
        try:
            clear = await asyncio.to_thread(archive.read_segment, name)
            if clear:
                check_segment_head(clear[:40], name, archive.system)
        except FileNotFoundError:
            continue  # dropped by retention, or became whole, meanwhile
        except ArchiveBroken as error:
            failures[str(name)] = str(error)
    tell("segments", len(names), len(names))
    return Verified(len(labels), len(names), failures)


async def _verify_backup(source: Source, archive: Archive, label: str) -> None:
    stored = archive.read_stored(label)
    await asyncio.to_thread(archive.check_files, stored, digests=True)
    directory, stage = archive.bases / label, source.staging / stage_name(archive)
    for _ in read_sealed(directory / MANIFEST, archive.key, archive.context(f"base/{label}/{MANIFEST}")):
        continue
    try:
        context = archive.context(f"base/{label}/{TAR}")
        await asyncio.to_thread(unpack, archive, source.copy, directory / TAR, context, stage)
        await run_program(source.copy, "pg_verifybackup", "-n", str(stage), timeout_seconds=TAKE_SECONDS)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
