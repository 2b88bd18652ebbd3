"""What counts as a backup, what does not, and what is kept."""

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from compliance.protection.key_file import ensure_key_file
from replication.backup.archive import Archive, find_archives
from replication.backup.archiver import CellArchiver, SegmentSink
from replication.backup.compare import Checks, TableCheck, ZeroCheck, check_table, check_zeros
from replication.backup.errors import ArchiveBroken, ArchiveBusy, BackupError
from replication.backup.health import read_health
from replication.backup.plan import Kind, find_missing
from replication.backup.sealed import open_backup_key
from replication.backup.take import apply_retention, take_backup
from replication.backup.verify import verify_archive
from replication.postgres import control
from tests.integration.backup.scene import Scene
from tests.integration.postgres.places import admin, make_pair, until

LIMIT_SECONDS = 5.0


def red(archive: Archive) -> tuple[str, ...]:
    return read_health(archive, datetime.now(UTC), LIMIT_SECONDS).findings


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


async def test_the_archive_lags_under_five_seconds_under_load(scene: Scene) -> None:
    lags = []

    async def write(worker: int) -> None:
        async with await admin(scene.pair.idc) as conn:
            for n in range(250):
                await conn.execute(f"insert into ledger values ({worker * 1000 + n})")

    async def look() -> None:
        while True:
            lags.append(read_health(scene.archive(), datetime.now(UTC), LIMIT_SECONDS).lag_seconds)
            await asyncio.sleep(0.05)

    await scene.now_covered()
    looking = asyncio.create_task(look())
    await asyncio.gather(*(write(worker) for worker in range(4)))
    looking.cancel()
    assert lags
    assert all(lag is not None and lag < LIMIT_SECONDS for lag in lags), max(lag or 99 for lag in lags)


async def test_damage_is_found_is_red_and_is_never_restored(scene: Scene) -> None:
    stored = await take_backup(scene.source(), Kind.FULL)
    at = await scene.now_covered()
    archive = scene.archive()
    assert red(archive) == ()
    tar = archive.bases / stored.backup.label / "base.tar"
    flip(tar, 5_000_000)
    with pytest.raises(ArchiveBroken, match="was changed or moved"):
        await scene.restore(at)
    found = await verify_archive(scene.source(), archive, lambda *_: None)
    assert "SM3" in found.failures[stored.backup.label]
    assert any("failed its verification" in finding for finding in red(archive))
    flip(tar, 5_000_000)
    assert (await verify_archive(scene.source(), archive, lambda *_: None)).failures == {}
    assert red(archive) == ()
    tar.write_bytes(tar.read_bytes()[:-100])
    assert any("base.tar" in finding for finding in red(archive))


async def test_damaged_or_missing_wal_is_found_and_is_never_restored(scene: Scene) -> None:
    await take_backup(scene.source(), Kind.FULL)
    await scene.execute("insert into ledger values (1)", "select pg_switch_wal()", "select txid_current()")
    at = await scene.now_covered()
    archive = scene.archive()
    victim = archive.wal / str(max(archive.archived().whole))
    flip(victim, 100_000)
    with pytest.raises(ArchiveBroken, match="was changed or moved"):
        await scene.restore(at)
    assert str(victim.name) in (await verify_archive(scene.source(), archive, lambda *_: None)).failures
    victim.unlink()
    assert any("WAL is missing behind" in finding and victim.name in finding for finding in red(archive))
    with pytest.raises(ArchiveBroken, match="WAL is missing"):
        await scene.restore(at)


async def test_the_files_of_another_cluster_are_refused(scene: Scene) -> None:
    """Same cell, same names, same key: another system identifier."""
    stored = await take_backup(scene.source(), Kind.FULL)
    own = scene.archive()
    foreign = Archive(own.directory, "a", "7000000000000000001", scene.key)
    shutil.copytree(own.root, foreign.root)
    with pytest.raises(ArchiveBroken, match="belongs elsewhere"):
        foreign.read_stored(stored.backup.label)
    name = max(own.archived().whole | own.archived().begun)
    with pytest.raises(ArchiveBroken, match="was changed or moved"):
        foreign.read_segment(name)
    clear = own.read_segment(name)
    for part in foreign.parts_of(name):
        part.unlink()
    sink = SegmentSink(foreign, name.timeline, name.start_lsn)
    with pytest.raises(ArchiveBroken, match="this archive is of 7000000000000000001"):
        sink.take(name.start_lsn, clear)
    sink.close()


async def test_a_cell_of_other_segments_is_refused_by_its_archiver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sixteen of our names would lie in one of its segments: nothing may be archived under them."""
    pair = make_pair()
    directory = pair.home / "backup"
    ensure_key_file(pair.home / "field.key")
    key = open_backup_key(pair.home / "field.key")
    monkeypatch.setattr(control, "WAL_SEGMENT_BYTES", 16 << 20)
    try:
        await pair.make_primary()
        archiver = CellArchiver(pair.idc.place, pair.idc.passfile, directory, key)
        with pytest.raises(BackupError, match="WAL segments of 16MB, needs 1MB: make the cell anew"):
            await archiver.stream_once()
        assert list(find_archives(directory, "a", key)) == []
    finally:
        await pair.end()


@pytest.mark.slow
async def test_retention_keeps_what_every_kept_backup_needs(scene: Scene) -> None:
    kept = []
    for kind in (Kind.FULL, Kind.INCREMENTAL, Kind.FULL, Kind.INCREMENTAL):
        kept.append((await take_backup(scene.source(), kind)).backup.label)
        await scene.execute("select pg_switch_wal()", "select txid_current()")
    await scene.archived()
    archive = scene.archive()
    before = archive.archived().whole
    dropped, segments = apply_retention(archive, keep_full=1)
    assert (sorted(dropped), archive.labels()) == (kept[:2], kept[2:])
    assert segments > 0
    assert len(archive.archived().whole) == len(before) - segments
    progress = archive.read_progress()
    assert progress is not None
    for backup in archive.backups():
        ancestry = archive.ancestry(progress.timeline)
        assert find_missing(ancestry, archive.archived(), backup.start_lsn, progress.archived_lsn) == ()
    await scene.execute("insert into ledger values (5)")
    restored = await scene.restore(await scene.now_covered())
    assert restored.chain == tuple(kept[2:])
    assert await scene.rows_of(restored.copy) == [5]


async def test_an_interrupted_backup_leaves_nothing_that_counts(scene: Scene) -> None:
    archive = scene.archive()

    async def half_written() -> bool:
        return any(path.stat().st_size > 1_000_000 for path in archive.bases.glob(".taking-*/base.tar"))

    taking = asyncio.create_task(take_backup(scene.source(), Kind.FULL))
    await until(half_written, "the backup is half written")
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    assert (list(archive.bases.iterdir()), archive.labels()) == ([], [])
    killed = archive.bases / ".taking-20261122T000000000Z-full"
    killed.mkdir()
    (killed / "backup.json").write_text("{}")
    assert archive.labels() == []
    await take_backup(scene.source(), Kind.FULL)
    assert len(archive.labels()) == 1
    assert not killed.exists()


@pytest.mark.slow
async def test_a_backup_waits_its_turn_or_is_refused(scene: Scene) -> None:
    """Two at once of one cell: the one that waits is taken after the other, the one that does not is told."""
    first = asyncio.create_task(take_backup(scene.source(), Kind.FULL))

    async def is_being_taken() -> bool:
        return any(scene.archive().bases.glob(".taking-*"))

    await until(is_being_taken, "the first is being taken")
    with pytest.raises(ArchiveBusy, match="another backup of it is being taken"):
        await take_backup(scene.source(), Kind.FULL)
    second = await take_backup(scene.source(), Kind.FULL, patience_seconds=120)
    assert first.done()
    assert scene.archive().labels() == [first.result().backup.label, second.backup.label]


async def test_a_backup_whose_wal_is_not_archived_does_not_count(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.stop_archiving()
    monkeypatch.setattr("replication.backup.take._WAL_SECONDS", 0.5)
    with pytest.raises(BackupError, match="its WAL is not archived"):
        await take_backup(scene.source(), Kind.FULL)
    assert scene.archive().labels() == []
    assert "no base backup that could be restored" in red(scene.archive())


MAKE = "create table t (n int primary key, at timestamptz, word text)"


async def test_rows_that_were_lost_changed_or_invented_are_told_apart(scene: Scene) -> None:
    """Row 1 is equal, 2 changed since, 3 only in the living cell, 4 only restored, 9 is later."""
    to = datetime.now(UTC)
    await scene.execute("create database living")
    async with await admin(scene.pair.idc) as conn, await admin(scene.pair.idc, "living") as live:
        for each, words in ((conn, "1 a 2 b 4 d"), (live, "1 a 2 c 3 x")):
            await each.execute(MAKE)
            for n, word in zip(words.split()[::2], words.split()[1::2], strict=True):
                await each.execute("insert into t values (%s, '2026-01-01', %s)", (int(n), word))
        await live.execute("insert into t values (9, now(), 'later')")
        found = await check_table(conn, live, TableCheck("public", "t", ("n",), "at", fixed=False), to)
        assert (found.rows, found.same_rows, found.later_changed) == (3, 1, 1)
        assert (found.foreign, found.lost, found.good) == (1, 1, False)
        found = await check_table(conn, live, TableCheck("public", "t", ("n",), "at", fixed=True), to)
        assert (found.foreign, found.lost) == (2, 1)
        alone = await check_table(conn, None, TableCheck("public", "t", ("n",), "at", fixed=True), to)
        assert (alone.sm3, alone.foreign, alone.good) == (found.sm3, None, True)
        zeros = Checks((), (ZeroCheck("sum", "select 0"), ZeroCheck("bad", "select 7")))
        assert [zero.good for zero in await check_zeros(conn, zeros)] == [True, False]
