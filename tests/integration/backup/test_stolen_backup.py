"""A stolen backup: whoever has the files and not the keys opens nothing and reads nothing of them."""

import os
import shutil
from pathlib import Path

import pytest

from compliance.protection import ring as rings
from compliance.protection.errors import ProtectionError
from compliance.protection.key_file import ensure_key_file
from compliance.protection.ring_file import make_ring
from replication.backup.archive import Archive, current_archive
from replication.backup.errors import ArchiveBroken
from replication.backup.frames import MAGIC
from replication.backup.plan import Kind
from replication.backup.restore import restore, restored_copy
from replication.backup.sealed import open_backup_key, read_sealed
from replication.backup.take import TAR, take_backup
from tests.faults.canaries import find_in_tree
from tests.integration.backup.scene import Scene
from tests.integration.postgres.places import free_port

ROOT = {"kind": "file", "file": "root.key"}
IN_THE_TAR, IN_THE_WAL = "CANARY-欧阳金丝雀-4403", "CANARY-深圳市金丝雀路-8806"
OF_POSTGRES = ("pg_catalog", "pg_statistic", "biyi_owner")
"""What any data directory holds in clear."""


async def stolen_from(scene: Scene, folder: Path) -> Archive:
    """Take a backup of a row, archive the WAL of another; return the thief's copy of both."""
    await scene.execute("create table people (name text)", f"insert into people values ('{IN_THE_TAR}')")
    await take_backup(scene.source(), Kind.FULL)
    await scene.execute(f"insert into people values ('{IN_THE_WAL}')")
    await scene.archived()
    await scene.stop_archiving()
    own = scene.archive()
    shutil.copytree(own.directory, folder)
    return Archive(folder, own.cell, own.system, own.key)


def own_ring(path: Path) -> Path:
    """Make the ring of a house of the thief's own."""
    path.mkdir(mode=0o700)
    ensure_key_file(path / "root.key")
    make_ring(path / "ring.json", rings.plant_rings(["cloud"], os.urandom)["cloud"], ROOT)
    return path / "ring.json"


def sealed_files(archive: Archive) -> dict[str, Path]:
    """Return the sealed files by the name that they are bound to, begun segments too."""
    found = {}
    for path in archive.root.rglob("*"):
        if path.is_file() and path.read_bytes()[: len(MAGIC)] == MAGIC:
            name = path.name.partition(".")[0] if path.suffix == ".part" else path.name
            found[name if path.parent == archive.wal else str(path.relative_to(archive.root))] = path
    return found


async def test_a_stolen_backup_opens_nothing_without_the_ring_and_shows_no_clear_value(
    scene: Scene, tmp_path: Path
) -> None:
    stolen = await stolen_from(scene, tmp_path / "stolen")
    sealed = sealed_files(stolen)
    label = stolen.labels()[0]
    assert f"base/{label}/{TAR}" in sealed
    assert len(sealed) >= 3, "tar, manifest, a segment"
    values = (IN_THE_TAR, IN_THE_WAL, *OF_POSTGRES)
    leaks, looked = find_in_tree(stolen.directory, values)
    assert (leaks, looked > 10_000_000) == ([], True)

    # The house itself reads both values out of the very same files.
    clear = {name: open_all(path, scene, stolen, name) for name, path in sealed.items()}
    assert IN_THE_TAR.encode() in clear[f"base/{label}/{TAR}"]
    assert any(IN_THE_WAL.encode() in text for name, text in clear.items() if "/" not in name)

    key = open_backup_key(own_ring(tmp_path / "thief"))
    with pytest.raises(ArchiveBroken, match="or to another key"):
        current_archive(stolen.directory, stolen.cell, key)
    forced = Archive(stolen.directory, stolen.cell, stolen.system, key)
    with pytest.raises(ArchiveBroken):
        forced.read_stored(label)
    for name, path in sealed.items():
        with pytest.raises(ArchiveBroken, match="was changed or moved"):
            next(read_sealed(path, key, stolen.context(name), unfinished=True))
    into = restored_copy("a", scene.pair.cloud, tmp_path / "restored", free_port())
    with pytest.raises(ArchiveBroken):
        await restore(forced, into, stolen.read_stored(label).backup.ended)
    assert not into.data_dir.exists()


def open_all(path: Path, scene: Scene, archive: Archive, name: str) -> bytes:
    """Return all clear bytes of a file, as the house opens it."""
    return b"".join(read_sealed(path, scene.key, archive.context(name), unfinished=True))


def test_a_ring_stolen_with_the_backup_opens_nothing_without_its_root(tmp_path: Path) -> None:
    ring = own_ring(tmp_path / "house")
    root = ring.with_name("root.key")
    assert open_backup_key(ring).secret
    root.unlink()
    with pytest.raises(ProtectionError, match=r"root\.key"):
        open_backup_key(ring)
    ensure_key_file(root)
    with pytest.raises(ProtectionError, match="not of this root"):
        open_backup_key(ring)
