"""Build a fresh directory that is a cell as it was at a chosen instant, and run it fenced to look at it.

The restored server can be mistaken for a copy by nobody: it has no copy id, another port, an hba that
admits the local administrator only and no replication, archives nothing and follows nobody.
"""

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from replication.backup.archive import Archive
from replication.backup.errors import ArchiveBroken, BackupError
from replication.backup.plan import (
    Ancestry,
    Backup,
    check_segment_head,
    choose_chain,
    find_missing,
    needed_segment,
)
from replication.backup.take import TAR, unpack
from replication.model import WAL_SEGMENT_BYTES, WalName
from replication.postgres import control
from replication.postgres.conf import SYNC_NAMES, UPSTREAM, write_conf
from replication.postgres.copy import (
    ADMIN,
    COPY_ID_FILE,
    STANDBY_SIGNAL,
    Copy,
    PostgresError,
    give_to_owner,
    make_directory,
    run_program,
    sync_directory,
    write_file,
)
from replication.postgres.observe import connect_admin
from replication.postgres.processes import read_postmaster
from replication.settings import PlaceSettings

Tell = Callable[[str, int, int], None]
"""Told the step, how much of it is done and how much there is."""
COMBINE_SECONDS = 3600.0
RECOVERY_SECONDS = 3600.0
"""Longest recovery. Source: our choice; an hour of WAL replays in minutes."""
_POLL_SECONDS = 0.1
_HBA = f"""\
# biyi: restored, for looking at only
local all {ADMIN} scram-sha-256
host all {ADMIN} 127.0.0.1/32 scram-sha-256
"""
_ENDED_EARLY = "recovery ended before configured recovery target was reached"


def tell_nothing(_step: str, _done: int, _total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A cell restored: what from, how far it got, and how long each step took (seconds)."""

    copy: Copy
    to: datetime
    chain: tuple[str, ...]
    timeline: int
    segments: int
    last_commit: datetime | None
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Reach:
    """The WAL that a restore reads; LSNs in bytes."""

    start_lsn: int
    end_lsn: int
    ancestry: Ancestry


def restored_copy(cell: str, like: Copy, into: Path, port: int) -> Copy:
    """Return the handle of a restored directory: no place of the deployment, on a port of its own."""
    near = like.place
    place = PlaceSettings(f"{cell}-restored", cell, near.site, 9, near.host, port, into, near.tls_dir)
    return replace(like, place=place, log_dir=into.parent)


async def restore(archive: Archive, copy: Copy, to: datetime, tell: Tell = tell_nothing) -> Restored:
    """Restore the cell into `copy`'s directory and leave its server running, fenced.

    `to` is aware UTC; every transaction committed at or before it is there, none after. Refused:
    TargetOutsideArchive before anything is made, BackupError when the directory is not empty.
    ArchiveBroken or PostgresError when the archive cannot give it; then the directory is removed.
    """
    into = copy.data_dir
    if into.exists() and any(into.iterdir()):
        raise BackupError(f"{into}: not empty; a restore needs a fresh directory")
    progress = archive.read_progress()
    if progress is None:
        raise BackupError(f"cell {archive.cell}: nothing was archived")
    ancestry = archive.ancestry(progress.timeline)
    chain = choose_chain(archive.backups(), ancestry, progress.covered_until, to)
    seconds: dict[str, float] = {}
    wal = copy.beside(".wal")
    try:
        with _timed(seconds, "unpack"):
            await _build(archive, copy, chain, tell)
        with _timed(seconds, "wal"):
            reach = _Reach(chain[-1].start_lsn, progress.archived_lsn, ancestry)
            segments = await _lay_out_wal(archive, copy, reach, tell)
        with _timed(seconds, "recover"):
            await _recover(copy, to, ancestry[-1].timeline, progress.archived_lsn, tell)
        last = await _last_commit(copy)
    except BaseException:
        await control.kill_hard(copy)
        for path in (into, wal):
            shutil.rmtree(path, ignore_errors=True)
        raise
    labels = tuple(backup.label for backup in chain)
    return Restored(copy, to, labels, ancestry[-1].timeline, segments, last, seconds)


async def discard(copy: Copy) -> None:
    """Stop a restored server and remove its directory."""
    await control.kill_hard(copy)
    for path in (copy.data_dir, copy.beside(".wal"), copy.beside(".pgpass"), copy.log_file):
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True) if path.is_file() else None


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - begun, 3)


async def _build(archive: Archive, copy: Copy, chain: tuple[Backup, ...], tell: Tell) -> None:
    """Unpack the chain, combine it, verify what came out."""
    stages = [copy.beside(f".{number}-{secrets.token_hex(2)}") for number in range(len(chain))]
    try:
        for number, (backup, stage) in enumerate(zip(chain, stages, strict=True)):
            tell("unpack", number, len(chain))
            archive.check_files(archive.read_stored(backup.label), digests=False)
            name = f"base/{backup.label}/{TAR}"
            await asyncio.to_thread(unpack, archive, copy, archive.root / name, archive.context(name), stage)
            await run_program(copy, "pg_verifybackup", "-n", str(stage), timeout_seconds=COMBINE_SECONDS)
        tell("unpack", len(chain), len(chain))
        await control.kill_hard(copy)
        copy.data_dir.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(copy.data_dir, ignore_errors=True)
        if len(stages) == 1:
            stages[0].rename(copy.data_dir)
        else:
            make_directory(copy, copy.data_dir)
            await run_program(
                copy, "pg_combinebackup", *map(str, stages), f"--output={copy.data_dir}",
                timeout_seconds=COMBINE_SECONDS,
            )  # fmt: skip
            await run_program(
                copy, "pg_verifybackup", "-n", str(copy.data_dir), timeout_seconds=COMBINE_SECONDS
            )
    finally:
        for stage in stages:
            shutil.rmtree(stage, ignore_errors=True)
    found = (await control.read_control(copy)).system_identifier
    if found != archive.system:
        raise ArchiveBroken(f"the backup is of system {found}, this archive is of {archive.system}")


async def _lay_out_wal(archive: Archive, copy: Copy, reach: _Reach, tell: Tell) -> int:
    """Open all WAL from the last backup's start into a directory that recovery reads; return how many.

    What is there now is what recovery will see: the archive may grow meanwhile.
    """
    start, end_lsn, ancestry = reach.start_lsn, reach.end_lsn, reach.ancestry
    missing = find_missing(ancestry, archive.archived(), start, end_lsn)
    if missing:
        raise ArchiveBroken(f"cell {archive.cell}: WAL is missing: {', '.join(map(str, missing[:3]))}")
    wal = copy.beside(".wal")
    make_directory(copy, wal)
    numbers = range(start // WAL_SEGMENT_BYTES, max(end_lsn - 1, start) // WAL_SEGMENT_BYTES + 1)
    for done, number in enumerate(numbers):
        tell("wal", done, len(numbers))
        await asyncio.to_thread(_lay_out, archive, copy, wal, needed_segment(ancestry, number))
    tell("wal", len(numbers), len(numbers))
    for ancestor in ancestry[1:]:
        name = f"{ancestor.timeline:08X}.history"
        if (archive.wal / name).exists():
            write_file(copy, wal / name, archive.read_history(ancestor.timeline))
    return len(numbers)


def _lay_out(archive: Archive, copy: Copy, wal: Path, name: WalName) -> None:
    clear = archive.read_segment(name)
    check_segment_head(clear[:40], name, archive.system)
    path = wal / str(name)
    path.touch(mode=0o600)
    path.write_bytes(clear + bytes(WAL_SEGMENT_BYTES - len(clear)))  # zeros are where the WAL ends
    give_to_owner(copy, path)


async def _recover(copy: Copy, to: datetime, timeline: int, end_lsn: int, tell: Tell) -> None:
    """Replay up to `to` and end recovery.

    No commit after `to` in what was laid out makes PostgreSQL stop; that it is all there up to `to`
    was known before, so then it goes on to the end of the WAL.
    """
    for name in (COPY_ID_FILE, STANDBY_SIGNAL, "postmaster.pid", "biyi.conf"):
        (copy.data_dir / name).unlink(missing_ok=True)
    target = {"recovery_target_time": f"{to.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"}
    write_file(copy, copy.data_dir / "recovery.signal", "")
    try:
        await _run_recovery(copy, {**_isolated(copy, timeline), **target}, end_lsn, tell)
    except PostgresError as error:
        if _ENDED_EARLY not in copy.log_file.read_text(errors="replace"):
            raise error
        await _run_recovery(copy, _isolated(copy, timeline), end_lsn, tell)


def _isolated(copy: Copy, timeline: int) -> dict[str, str]:
    return {
        SYNC_NAMES: "",
        UPSTREAM: "",
        "restore_command": f'cp "{copy.beside(".wal")}/%f" "%p"',
        "recovery_target_timeline": str(timeline),
        "recovery_target_action": "promote",
        "recovery_target_inclusive": "on",
        "archive_mode": "off",
        "summarize_wal": "off",
        "autovacuum": "off",
        "default_transaction_read_only": "on",
        "cluster_name": copy.place.name,
    }


async def _run_recovery(copy: Copy, settings: dict[str, str], end_lsn: int, tell: Tell) -> None:
    write_conf(copy, settings)
    write_file(copy, copy.data_dir / "pg_hba.conf", _HBA)
    copy.beside(".pgpass").unlink(missing_ok=True)  # it follows nobody
    copy.log_file.unlink(missing_ok=True)
    copy.log_file.touch(mode=0o600)
    give_to_owner(copy, copy.log_file)
    sync_directory(copy.data_dir)
    await run_program(
        copy, "pg_ctl", "start", "--no-wait", "--silent", f"--pgdata={copy.data_dir}",
        f"--log={copy.log_file}", timeout_seconds=30,
    )  # fmt: skip
    deadline = time.monotonic() + RECOVERY_SECONDS
    started = False
    while True:
        started = started or read_postmaster(copy) is not None
        done, lsn = await _position(copy)
        if lsn:
            tell("recover", lsn, end_lsn)
        if done:
            return
        if time.monotonic() > deadline:
            raise PostgresError(f"{copy.place.name}: recovery not done in {RECOVERY_SECONDS:g} s")
        if lsn is None and started and read_postmaster(copy) is None:
            tail = copy.log_file.read_text(errors="replace").splitlines()[-8:]
            raise PostgresError(f"{copy.place.name}: recovery ended: {' | '.join(tail)}")
        await asyncio.sleep(_POLL_SECONDS)


async def _position(copy: Copy) -> tuple[bool, int | None]:
    """Return whether recovery is over, and the LSN (bytes) reached; None while nobody is admitted."""
    try:
        async with await connect_admin(copy.place, copy.passfile, dbname="postgres") as conn:
            row = await (
                await conn.execute(
                    "select not pg_is_in_recovery(),"
                    " coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0'::pg_lsn"
                )
            ).fetchone()
    except (psycopg.Error, TimeoutError, OSError):
        return False, None
    return (bool(row[0]), int(row[1])) if row else (False, None)


async def _last_commit(copy: Copy) -> datetime | None:
    """Return the commit time of the last transaction that was replayed, from the server's log."""
    mark = "last completed transaction was at log time "
    for line in copy.log_file.read_text(errors="replace").splitlines():
        if mark in line:
            return datetime.fromisoformat(line.split(mark, 1)[1].strip())
    return None
