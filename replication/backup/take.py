"""Take a base backup of the copy at this site: sealed while it is read, verified by reading it back.

It counts only once its files are on disk, unpack, pass pg_verifybackup, and the WAL it needs is in the
archive: then its directory gets its name. Whatever interrupts it before leaves a name with a leading dot.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from replication.backup.archive import Archive, Stored
from replication.backup.errors import ArchiveBroken, ArchiveBusy, BackupError
from replication.backup.frames import BackupKey
from replication.backup.plan import Backup, Kind, find_missing, is_in_history, plan_retention, superfluous
from replication.backup.sealed import SealedStream, SealedWriter, read_sealed
from replication.model import parse_lsn
from replication.postgres.copy import (
    REPL,
    Copy,
    PostgresError,
    as_owner,
    give_to_owner,
    make_directory,
    program_environment,
    read_password,
    run_program,
    write_file,
)
from replication.postgres.observe import TCP_OPTIONS, AdminConnection, connect_admin, read_status
from replication.transport import plan_calling

Tell = Callable[[str], None]
TAKE_SECONDS = 3600.0
"""Longest base backup. Source: our choice; 200 GB at 60 MB/s through SM4-GCM."""
_WAL_SECONDS = 30.0
_REPLAY_SECONDS = 15.0
_BLOCK = 1 << 18
_POLL_SECONDS = 0.1
TAR, MANIFEST = "base.tar", "manifest"
STAGED = re.compile(r"[a-z0-9]+-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Source:
    """The copy to take from, the archive's directory and key, and where to unpack in clear."""

    copy: Copy
    directory: Path
    staging: Path
    key: BackupKey


def say_nothing(_step: str) -> None:
    """Show nothing."""


@contextlib.contextmanager
def archive_lock(archive: Archive) -> Iterator[None]:
    """Hold the archive for taking or dropping; ArchiveBusy when another process has it."""
    with (archive.root / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveBusy(
                f"cell {archive.cell}: another backup of it is being taken; wait for it"
            ) from None
        yield


@contextlib.asynccontextmanager
async def archive_turn(archive: Archive, patience_seconds: float) -> AsyncIterator[None]:
    """Hold the archive once it is free; ArchiveBusy when it is not within `patience_seconds`."""
    end = time.monotonic() + patience_seconds
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(archive_lock(archive))
                break
            except ArchiveBusy:
                if time.monotonic() >= end:
                    raise
            await asyncio.sleep(_POLL_SECONDS)
        yield


async def take_backup(
    source: Source, wanted: Kind, tell: Tell = say_nothing, *, patience_seconds: float = 0.0
) -> Stored:
    """Take a backup; an incremental one that cannot be becomes a full one. BackupError when none can be.

    Waits `patience_seconds` for another backup of the cell that is being taken here; then ArchiveBusy.
    """
    async with await connect_admin(source.copy.place, source.copy.passfile, timeout_seconds=3.0) as admin:
        archive = await _archive_of(source, admin)
        async with archive_turn(archive, patience_seconds):
            archive.remove_unfinished()
            remove_staged(source, archive)
            tell("checkpoint")
            await _checkpoint(source.copy, admin)
            parent = _parent(archive) if wanted is Kind.INCREMENTAL else None
            if parent is not None:
                try:
                    return await _take(source, archive, parent, tell)
                except PostgresError as error:
                    tell(f"incremental not possible ({str(error)[-200:]}): a full one instead")
            return await _take(source, archive, None, tell)


def remove_staged(source: Source, archive: Archive) -> None:
    """Remove clear text that an interrupted backup or verification left; only under the archive's lock."""
    for path in source.staging.glob(f"{archive.cell}-*"):
        if STAGED.fullmatch(path.name):
            shutil.rmtree(path)


def stage_name(archive: Archive) -> str:
    """Return a fresh name for a directory to unpack into."""
    return f"{archive.cell}-{secrets.token_hex(4)}"


def apply_retention(archive: Archive, keep_full: int) -> tuple[list[str], int]:
    """Drop what `plan_retention` says; return the labels dropped and the number of segments."""
    with archive_lock(archive):
        plan = plan_retention(archive.backups(), keep_full)
        for label in plan.drop:
            archive.drop(label)
        have = archive.archived()
        doomed = superfluous(have.whole | have.begun, plan.keep_from_lsn)
        for name in doomed:
            for path in (archive.wal / str(name), *archive.parts_of(name)):
                path.unlink(missing_ok=True)
    return list(plan.drop), len(doomed)


async def _archive_of(source: Source, admin: AdminConnection) -> Archive:
    row = await (await admin.execute("select system_identifier::text from pg_control_system()")).fetchone()
    archive = Archive(source.directory, source.copy.place.cell, str(row[0]) if row else "", source.key)
    if archive.read_progress() is None:
        raise BackupError(f"cell {archive.cell}: its WAL is not being archived here; does the agent run?")
    return archive


async def _checkpoint(copy: Copy, admin: AdminConnection) -> None:
    """Give a standby a fresh checkpoint to start from: asked of its primary, replayed here.

    Without it an incremental backup soon after another is refused. A primary that cannot be asked is
    no reason to take none.
    """
    status = await read_status(admin)
    if not status.in_recovery or status.upstream is None:
        return
    primary = replace(copy.place, host=status.upstream[0], port=status.upstream[1])
    with contextlib.suppress(psycopg.Error, TimeoutError, OSError):
        async with await connect_admin(primary, copy.passfile, timeout_seconds=3.0) as conn:
            await conn.execute("set statement_timeout = 0")
            async with asyncio.timeout(60):
                await conn.execute("checkpoint")
                row = await (await conn.execute("select pg_current_wal_flush_lsn()::text")).fetchone()
        end = time.monotonic() + _REPLAY_SECONDS
        while row and (await read_status(admin)).replayed_lsn < parse_lsn(str(row[0])):
            if time.monotonic() > end:
                return
            await asyncio.sleep(_POLL_SECONDS)


def _parent(archive: Archive) -> Backup | None:
    """Return the newest backup in the present history; None when there is none to build on."""
    progress = archive.read_progress()
    if progress is None:
        return None
    ancestry = archive.ancestry(progress.timeline)
    fitting = [b for b in archive.backups() if is_in_history(ancestry, b.timeline, b.stop_lsn)]
    return fitting[-1] if fitting else None


async def _take(source: Source, archive: Archive, parent: Backup | None, tell: Tell) -> Stored:
    began, clock = datetime.now(UTC), time.monotonic()  # noqa: TID251 - a shell: it stamps the label once
    kind = Kind.INCREMENTAL if parent else Kind.FULL
    label = f"{began:%Y%m%dT%H%M%S}{began.microsecond // 1000:03d}Z-{kind}"
    making = archive.bases / f".taking-{label}"
    making.mkdir(mode=0o700)
    stage = source.staging / stage_name(archive)
    try:
        tell("copying")
        tar_sm3, tar_bytes = await _copy_base(source, archive, parent, making, label)
        ended = datetime.now(UTC)  # noqa: TID251
        tell("verifying")
        await asyncio.to_thread(
            unpack, archive, source.copy, making / TAR, archive.context(f"base/{label}/{TAR}"), stage
        )
        await run_program(source.copy, "pg_verifybackup", "-n", str(stage), timeout_seconds=TAKE_SECONDS)
        text = (stage / "backup_manifest").read_bytes()
        backup = read_manifest(json.loads(text), archive, Backup(
            label, kind, parent.label if parent else None, began, ended, 0, 0, 0))  # fmt: skip
        manifest_sm3 = archive.write_sealed(making / MANIFEST, f"base/{label}/{MANIFEST}", text)
        tell("waiting for its WAL")
        await _wait_for_wal(archive, backup)
        files = {TAR: tar_sm3, MANIFEST: manifest_sm3}
        sizes = {name: (making / name).stat().st_size for name in files}
        verified = datetime.now(UTC)  # noqa: TID251
        stored = Stored(backup, files, sizes, tar_bytes, verified, round(time.monotonic() - clock, 3))
        archive.write_stored(making, stored)
        making.rename(archive.bases / label)
        return stored
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        shutil.rmtree(making, ignore_errors=True)


async def _copy_base(
    source: Source, archive: Archive, parent: Backup | None, making: Path, label: str
) -> tuple[str, int]:
    """Run pg_basebackup and seal what it writes; no clear byte touches the disk. Returns SM3 and size."""
    copy = source.copy
    arguments = ["--pgdata=-", "--format=tar", "--wal-method=none", "--checkpoint=fast", "--no-password",
                 f"--label={label}", f"--dbname={_conninfo(copy)}"]  # fmt: skip
    old_manifest = source.staging / f".manifest-{secrets.token_hex(4)}"
    if parent is not None:
        context = archive.context(f"base/{parent.label}/{MANIFEST}")
        frames = read_sealed(archive.bases / parent.label / MANIFEST, archive.key, context)
        write_file(copy, old_manifest, b"".join(frames).decode())
        arguments.append(f"--incremental={old_manifest}")
    writer = SealedWriter(making / TAR, archive.key, archive.context(f"base/{label}/{TAR}"))
    process = await asyncio.create_subprocess_exec(
        str(copy.pg_bin / "pg_basebackup"),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
        env=program_environment({"PGPASSWORD": read_password(copy.passfile, REPL)}),
        start_new_session=True,
        limit=_BLOCK,
        **as_owner(copy),
    )
    assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - both are pipes
    errors = asyncio.create_task(process.stderr.read())
    try:
        async with asyncio.timeout(TAKE_SECONDS):
            while block := await process.stdout.read(_BLOCK):
                await asyncio.to_thread(writer.write, block)
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            while await process.stdout.read(_BLOCK):  # asyncio ends a process only when its pipes are empty
                continue
            await process.wait()
            writer.abandon()
        old_manifest.unlink(missing_ok=True)
        said = (await errors).decode(errors="replace").strip()
    if code != 0:
        writer.abandon()
        raise PostgresError(f"pg_basebackup of {copy.place.name}: exit {code}: {said[-600:]}")
    return await asyncio.to_thread(writer.finish), writer.clear_bytes


def _conninfo(copy: Copy) -> str:
    return make_conninfo(
        user=REPL,
        dbname="replication",
        application_name=f"backup {copy.place.name}",
        connect_timeout=2,
        **plan_calling(copy.place),
        **TCP_OPTIONS,
    )


def read_manifest(manifest: dict[str, Any], archive: Archive, backup: Backup) -> Backup:
    """Return the backup with timeline and LSNs of PostgreSQL's manifest; ArchiveBroken if foreign."""
    system = str(manifest.get("System-Identifier"))
    if system != archive.system:
        raise ArchiveBroken(
            f"{backup.label}: a backup of system {system}, this archive is of {archive.system}"
        )
    ranges = sorted(manifest["WAL-Ranges"], key=lambda each: parse_lsn(each["Start-LSN"]))
    return replace(
        backup,
        timeline=int(ranges[-1]["Timeline"]),
        start_lsn=parse_lsn(ranges[0]["Start-LSN"]),
        stop_lsn=parse_lsn(ranges[-1]["End-LSN"]),
    )


async def _wait_for_wal(archive: Archive, backup: Backup) -> None:
    """Wait until the archive holds the WAL that makes the backup consistent; BackupError when it does not."""
    end = time.monotonic() + _WAL_SECONDS
    while True:
        progress = archive.read_progress()
        if progress is not None and progress.archived_lsn >= backup.stop_lsn:
            ancestry = archive.ancestry(progress.timeline)
            missing = find_missing(ancestry, archive.archived(), backup.start_lsn, progress.archived_lsn)
            if not missing:
                return
            raise BackupError(f"{backup.label}: WAL is missing in the archive: {missing[0]}; does not count")
        if time.monotonic() > end:
            raise BackupError(f"{backup.label}: its WAL is not archived after {_WAL_SECONDS:g} s")
        await asyncio.sleep(_POLL_SECONDS)


def unpack(archive: Archive, copy: Copy, path: Path, context: str, target: Path) -> None:
    """Open a sealed tar into `target`, owned by PostgreSQL's user; ArchiveBroken when it was changed.

    What is unpacked is trusted only once this returned: then the final frame was seen.
    """
    make_directory(copy, target)
    frames = read_sealed(path, archive.key, context)
    try:
        with tarfile.open(fileobj=SealedStream(frames), mode="r|", bufsize=_BLOCK) as tar:
            # Python before 3.11.4 knows no filters; the bytes are ours then too, checked by their seal
            safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(target, **safely)  # noqa: S202  # as the line above says
    except tarfile.TarError as error:
        raise ArchiveBroken(f"{context}: not a tar file ({error})") from error
    for _ in frames:  # padding behind the end of the tar, and the final frame
        continue
    for directory, _, files in os.walk(target):
        Path(directory).chmod(0o700)
        give_to_owner(copy, Path(directory))
        for name in files:
            give_to_owner(copy, Path(directory) / name)
