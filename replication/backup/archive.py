"""One cell's archive at one site: where its files lie, what is there, what may count.

`<backup directory>/<cell>-<system identifier>/`: wal/ (whole segments, `<segment>.<nonce>.part` of begun
ones, timeline histories), base/<label>/ (base.tar, manifest, backup.json), progress.json, restores/.
Every file is sealed or signed for its cell, system identifier and name: a file of another cell or of
another cluster's history does not open here, wherever it was copied to.
"""

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from replication.backup.coverage import Progress
from replication.backup.errors import ArchiveBroken, BackupError
from replication.backup.frames import BackupKey
from replication.backup.plan import (
    Ancestry,
    Archived,
    Backup,
    Kind,
    parse_history,
)
from replication.backup.sealed import SealedWriter, file_sm3, read_note, read_sealed, write_note
from replication.model import WAL_SEGMENT_BYTES, WalName
from replication.postgres.copy import sync_directory

NOTE = "backup.json"


@dataclass(frozen=True, slots=True)
class Stored:
    """A base backup and what its files must be; sizes in bytes, digests SM3 over the sealed bytes."""

    backup: Backup
    files: dict[str, str]
    sizes: dict[str, int]
    tar_bytes: int
    verified: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive of one cell at one site."""

    directory: Path
    cell: str
    system: str
    key: BackupKey = field(repr=False)

    @property
    def root(self) -> Path:
        """Directory of everything that belongs to this cell and system identifier."""
        return self.directory / f"{self.cell}-{self.system}"

    @property
    def wal(self) -> Path:
        """Directory of WAL."""
        return self.root / "wal"

    @property
    def bases(self) -> Path:
        """Directory of base backups; a name with a leading dot does not count."""
        return self.root / "base"

    def make(self) -> None:
        """Make the directories that are missing; only their owner may look into them."""
        for path in (self.directory, self.root, self.wal, self.bases, self.root / "restores"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def context(self, name: str) -> str:
        """Return what a file is bound to."""
        return f"{self.cell}|{self.system}|{name}"

    def archived(self) -> Archived:
        """Return which segments are there."""
        whole, begun = set(), set()
        for path in self.wal.iterdir() if self.wal.exists() else ():
            stem, _, rest = path.name.partition(".")
            name = WalName.parse(stem)
            if name and not rest:
                whole.add(name)
            elif name and rest.endswith(".part"):
                begun.add(name)
        return Archived(frozenset(whole), frozenset(begun))

    def parts_of(self, name: WalName) -> list[Path]:
        """Return the begun files of a segment."""
        return sorted(self.wal.glob(f"{name}.*.part"))

    def begin_segment(self, name: WalName) -> tuple[Path, SealedWriter]:
        """Begin a segment's file; an interrupted one is never appended to."""
        path = self.wal / f"{name}.{secrets.token_hex(4)}.part"
        return path, SealedWriter(path, self.key, self.context(str(name)))

    def end_segment(self, name: WalName, path: Path, writer: SealedWriter) -> None:
        """Make a begun file the whole segment; other begun ones of it go."""
        writer.finish()
        path.replace(self.wal / str(name))
        for part in self.parts_of(name):
            part.unlink()
        sync_directory(self.wal)

    def read_segment(self, name: WalName) -> bytes:
        """Return a segment's clear bytes, of a begun one what is there; ArchiveBroken when damaged."""
        context = self.context(str(name))
        whole = self.wal / str(name)
        if whole.exists():
            clear = b"".join(read_sealed(whole, self.key, context))
            if len(clear) != WAL_SEGMENT_BYTES:
                raise ArchiveBroken(f"segment {name}: {len(clear)} bytes, needs {WAL_SEGMENT_BYTES}")
            return clear
        begun = [b"".join(read_sealed(p, self.key, context, unfinished=True)) for p in self.parts_of(name)]
        return max(begun, key=len, default=b"")

    def read_history(self, timeline: int) -> str:
        """Return a timeline's history; empty for timeline 1, ArchiveBroken when it is not there."""
        if timeline == 1:
            return ""
        name = f"{timeline:08X}.history"
        path = self.wal / name
        if not path.exists():
            raise ArchiveBroken(f"cell {self.cell}: {name} is not in the archive")
        return b"".join(read_sealed(path, self.key, self.context(name))).decode()

    def ancestry(self, timeline: int) -> Ancestry:
        """Return the ancestry of a timeline as archived."""
        return parse_history(self.read_history(timeline), timeline)

    def keep_history(self, timeline: int, text: str) -> None:
        """Store a timeline's history; another one of the same number is set aside with its WAL."""
        name = f"{timeline:08X}.history"
        path = self.wal / name
        if path.exists():
            if self.read_history(timeline) == text:
                return
            self.set_aside(timeline)
        self.write_sealed(path, name, text.encode())

    def set_aside(self, timeline: int) -> Path:
        """Move all files of an abandoned timeline, whose number was given twice, out of the way."""
        aside = self.root / f"aside-{timeline:08X}-{secrets.token_hex(4)}"
        aside.mkdir(mode=0o700)
        for path in list(self.wal.glob(f"{timeline:08X}*")):
            path.replace(aside / path.name)
        sync_directory(self.wal)
        return aside

    def write_sealed(self, path: Path, name: str, clear: bytes) -> str:
        """Write a small sealed file in one piece; return its SM3."""
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        writer = SealedWriter(aside, self.key, self.context(name))
        writer.write(clear)
        digest = writer.finish()
        aside.replace(path)
        sync_directory(path.parent)
        return digest

    def write_progress(self, progress: Progress) -> None:
        """Say how far the archive is; not forced to disk, it is written every second."""
        write_note(
            self.root / "progress.json",
            self.key,
            self.context("progress.json"),
            _plain(asdict(progress)),
            durable=False,
        )

    def read_progress(self) -> Progress | None:
        """Return how far the archive said it was; None before its first word."""
        path = self.root / "progress.json"
        if not path.exists():
            return None
        plain = read_note(path, self.key, self.context("progress.json"))
        covered = plain.pop("covered_until")
        at = datetime.fromisoformat(plain.pop("at"))
        return Progress(covered_until=datetime.fromisoformat(covered) if covered else None, at=at, **plain)

    def write_stored(self, directory: Path, stored: Stored) -> None:
        """Write a backup's own note into its directory, last of all its files."""
        name = f"base/{stored.backup.label}/{NOTE}"
        write_note(directory / NOTE, self.key, self.context(name), _plain(asdict(stored)), durable=True)

    def labels(self) -> list[str]:
        """Return the labels of the backups that count, oldest first (labels begin with the instant)."""
        found = self.bases.iterdir() if self.bases.exists() else ()
        return sorted(p.name for p in found if not p.name.startswith(".") and (p / NOTE).exists())

    def read_stored(self, label: str) -> Stored:
        """Return a backup's note; ArchiveBroken when it was changed."""
        name = f"base/{label}/{NOTE}"
        plain = read_note(self.root / name, self.key, self.context(name))
        backup = plain.pop("backup")
        for instant in ("began", "ended"):
            backup[instant] = datetime.fromisoformat(backup[instant])
        backup["kind"] = Kind(backup["kind"])
        plain["verified"] = datetime.fromisoformat(plain["verified"])
        return Stored(backup=Backup(**backup), **plain)

    def stored(self) -> list[Stored]:
        """Return all backups that count, oldest first."""
        return [self.read_stored(label) for label in self.labels()]

    def backups(self) -> list[Backup]:
        """Return all backups that count as values to plan with, oldest first."""
        return [stored.backup for stored in self.stored()]

    def check_files(self, stored: Stored, *, digests: bool) -> None:
        """Compare a backup's files with its note, by size or by SM3; ArchiveBroken names the first bad."""
        directory = self.bases / stored.backup.label
        for name, size in stored.sizes.items():
            path = directory / name
            found = path.stat().st_size if path.exists() else None
            if found != size:
                raise ArchiveBroken(f"{stored.backup.label}/{name}: {found} bytes, needs {size}")
            if digests and file_sm3(path) != stored.files[name]:
                raise ArchiveBroken(f"{stored.backup.label}/{name}: its SM3 is not what was written")

    def drop(self, label: str) -> None:
        """Drop a backup: it counts no more before its first file goes."""
        doomed = self.bases / f".dropped-{label}-{secrets.token_hex(4)}"
        (self.bases / label).replace(doomed)
        sync_directory(self.bases)
        shutil.rmtree(doomed)

    def remove_unfinished(self) -> None:
        """Remove what interrupted backups and drops left; only under the archive's lock."""
        for path in list(self.bases.glob(".*")):
            if path.is_dir():
                shutil.rmtree(path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value.isoformat() if isinstance(value, datetime) else value


def find_archives(directory: Path, cell: str, key: BackupKey) -> Iterator[Archive]:
    """Yield the archives of a cell, one for each system identifier seen."""
    for path in sorted(directory.glob(f"{cell}-*")) if directory.exists() else ():
        system = path.name.removeprefix(f"{cell}-")
        if path.is_dir() and system.isdigit():
            yield Archive(directory, cell, system, key)


def current_archive(directory: Path, cell: str, key: BackupKey) -> Archive | None:
    """Return the archive of a cell that was written last; None when there is none."""
    found = [(a.read_progress(), a) for a in find_archives(directory, cell, key)]
    return max(((p.at, a) for p, a in found if p), key=lambda each: each[0], default=(None, None))[1]


def require_archive(directory: Path, cell: str, key: BackupKey) -> Archive:
    """Return the current archive of a cell; BackupError when nothing was ever archived."""
    archive = current_archive(directory, cell, key)
    if archive is None:
        raise BackupError(f"{directory}: nothing of cell {cell} was ever archived here")
    return archive
