"""A cell with a primary at idc and a sync copy at cloud, and the archive of each site going."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from compliance.protection.key_file import ensure_key_file
from replication.backup.archive import Archive, current_archive
from replication.backup.archiver import CellArchiver
from replication.backup.frames import BackupKey
from replication.backup.restore import Restored, discard, restore, restored_copy
from replication.backup.sealed import open_backup_key
from replication.backup.take import Source
from replication.model import Site, parse_lsn
from replication.postgres import control, replica
from replication.postgres.copy import Copy
from tests.integration.postgres.places import Pair, admin, free_port, make_pair, until, value


@dataclass
class Scene:
    pair: Pair
    key: BackupKey
    tasks: dict[Site, asyncio.Task[None]] = field(default_factory=dict)
    restored: list[Copy] = field(default_factory=list)

    def copy(self, site: Site) -> Copy:
        return self.pair.idc if site is Site.IDC else self.pair.cloud

    def directory(self, site: Site) -> Path:
        return self.pair.home / "backup" / site

    def source(self, site: Site = Site.CLOUD) -> Source:
        staging = self.pair.home / "copies"
        return Source(self.copy(site), self.directory(site), staging, self.key)

    def start_archiving(self, site: Site = Site.CLOUD) -> None:
        copy = self.copy(site)
        archiver = CellArchiver(copy.place, copy.passfile, self.directory(site), self.key)
        self.tasks[site] = asyncio.create_task(archiver.run())

    async def stop_archiving(self, site: Site = Site.CLOUD) -> None:
        task = self.tasks.pop(site)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def archive(self, site: Site = Site.CLOUD) -> Archive:
        found = current_archive(self.directory(site), "a", self.key)
        assert found is not None
        return found

    async def now_covered(self, primary: Site = Site.IDC, archive: Site = Site.CLOUD) -> datetime:
        """The primary's clock now; returns once the archive can restore that instant."""
        async with await admin(self.copy(primary)) as conn:
            now = await value(conn, "select clock_timestamp()")
        assert isinstance(now, datetime)

        async def covered() -> bool:
            found = current_archive(self.directory(archive), "a", self.key)
            progress = found.read_progress() if found else None
            known = progress.covered_until if progress else None
            return known is not None and (known - now).total_seconds() > 1

        await until(covered, "the archive covers now")
        return now.astimezone(UTC)

    async def archived(self, primary: Site = Site.IDC, archive: Site = Site.CLOUD) -> None:
        """Returns once all that the primary has written is in the archive."""
        async with await admin(self.copy(primary)) as conn:
            lsn = parse_lsn(str(await value(conn, "select pg_current_wal_flush_lsn()::text")))

        async def there() -> bool:
            found = current_archive(self.directory(archive), "a", self.key)
            progress = found.read_progress() if found else None
            return progress is not None and progress.archived_lsn >= lsn

        await until(there, "the WAL is archived")

    async def execute(self, *statements: str, site: Site = Site.IDC) -> None:
        async with await admin(self.copy(site)) as conn:
            await conn.execute("set statement_timeout = 0")
            for statement in statements:
                await conn.execute(statement.encode())

    async def restore(self, to: datetime, site: Site = Site.CLOUD) -> Restored:
        into = self.pair.home / "restored" / f"r{len(self.restored)}"
        into.parent.mkdir(exist_ok=True)
        into.parent.chmod(0o755)
        copy = restored_copy("a", self.copy(site), into, free_port())
        self.restored.append(copy)
        return await restore(self.archive(site), copy, to)

    async def rows_of(self, copy: Copy) -> list[int]:
        async with await admin(copy) as conn:
            cursor = await conn.execute("select n from ledger order by n")
            return [row[0] for row in await cursor.fetchall()]

    async def fail_over_to_cloud(self) -> None:
        await control.kill_hard(self.pair.idc)
        own_id = control.read_copy_id(self.pair.cloud)
        assert own_id is not None
        async with await admin(self.pair.cloud) as conn:
            await replica.stop_receiver(self.pair.cloud, conn, own_id)
            await replica.promote(self.pair.cloud, conn, timeout_seconds=10)


@contextlib.asynccontextmanager
async def a_scene() -> AsyncIterator[Scene]:
    pair = make_pair()
    ensure_key_file(pair.home / "field.key")
    scene = Scene(pair, open_backup_key(pair.home / "field.key"))
    try:
        await pair.make_sync()
        scene.start_archiving()
        await scene.execute("create table ledger (n int primary key)")
        await scene.archived()
        yield scene
    finally:
        for site in list(scene.tasks):
            await scene.stop_archiving(site)
        for copy in scene.restored:
            await discard(copy)
        await pair.end()
