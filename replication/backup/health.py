"""What stands between a cell and its restore: one look at its archive, and the findings."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from replication.backup.archive import Archive, Stored
from replication.backup.errors import BackupError
from replication.backup.plan import Backup, Kind, Range, chain_of, find_missing, find_range, usable
from replication.backup.sealed import read_note, write_note

FAILED = "failed.json"
RESTORES = "restores"


@dataclass(frozen=True, slots=True)
class Health:
    """The state of one archive; instants aware UTC, `findings` empty when all is well."""

    cell: str
    system: str
    newest_full: Stored | None
    newest_incremental: Stored | None
    reach: Range
    lag_seconds: float | None
    lag_bytes: int | None
    last_restore: dict[str, Any] | None
    findings: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Say whether the cell could be restored up to now."""
        return not self.findings


def read_health(archive: Archive, now: datetime, lag_limit: float) -> Health:
    """Look at an archive without opening its large files; a damaged note is a finding, not an error."""
    findings: list[str] = []
    stored = _readable(archive, findings)
    backups = [each.backup for each in stored]
    reach, lag_seconds, lag_bytes = Range(None, None), None, None
    try:
        progress = archive.read_progress()
        if progress is None:
            findings.append("nothing was archived yet")
        else:
            ancestry = archive.ancestry(progress.timeline)
            reach = find_range(backups, ancestry, progress.covered_until)
            lag_bytes = max(0, progress.source_lsn - progress.archived_lsn)
            if progress.covered_until is not None:
                lag_seconds = (now - progress.covered_until).total_seconds()
            if lag_seconds is None or lag_seconds > lag_limit:
                findings.append(f"the archive lags: {_words(lag_seconds)}, limit {lag_limit:g} s")
            findings += _chain_findings(archive, backups, ancestry, progress.archived_lsn)
    except BackupError as error:
        findings.append(str(error))
    return Health(
        archive.cell,
        archive.system,
        _newest(stored, Kind.FULL),
        _newest(stored, Kind.INCREMENTAL),
        reach,
        lag_seconds,
        lag_bytes,
        read_last_restore(archive),
        tuple(findings),
    )


def sound_chain(archive: Archive) -> tuple[Backup, ...] | None:
    """Return the newest chain that is whole, unspoilt, with its WAL and no gap; None when there is none."""
    try:
        progress = archive.read_progress()
        if progress is None:
            return None
        backups = [s.backup for s in _readable(archive, [])]
        ancestry = archive.ancestry(progress.timeline)
        fitting = usable(backups, ancestry)
        if not fitting:
            return None
        newest = max(fitting, key=lambda b: b.ended)
        gap = find_missing(ancestry, archive.archived(), newest.start_lsn, progress.archived_lsn)
        return None if gap else chain_of(backups, newest)
    except BackupError:
        return None


def mark_failed(archive: Archive, label: str, why: str) -> None:
    """Note that a backup did not pass: it is red from now on and no chain is built on it."""
    name = f"base/{label}/{FAILED}"
    write_note(archive.root / name, archive.key, archive.context(name), {"why": why}, durable=True)


def unmark_failed(archive: Archive, label: str) -> None:
    """Take the note back: the backup passed again."""
    (archive.bases / label / FAILED).unlink(missing_ok=True)


def write_restore(archive: Archive, plain: dict[str, Any]) -> None:
    """Keep what a checked restore found; `plain` holds `at` (ISO UTC) and `good`."""
    stamp = str(plain["at"]).replace(":", "").replace("+0000", "Z")
    name = f"{RESTORES}/{stamp}.json"
    write_note(archive.root / name, archive.key, archive.context(name), plain, durable=True)


def read_last_restore(archive: Archive) -> dict[str, Any] | None:
    """Return the last restore whose checks were good; None when there was none."""
    for path in sorted((archive.root / RESTORES).glob("*.json"), reverse=True):
        try:
            plain = read_note(path, archive.key, archive.context(f"{RESTORES}/{path.name}"))
        except BackupError:
            continue
        if plain.get("good"):
            return plain
    return None


def _readable(archive: Archive, findings: list[str]) -> list[Stored]:
    """Return the backups whose note, sizes and last verification are in order; say why others are not."""
    good = []
    for label in archive.labels():
        try:
            stored = archive.read_stored(label)
            archive.check_files(stored, digests=False)
            failed = archive.bases / label / FAILED
            if failed.exists():
                findings.append(
                    f"{label} failed its verification: {json.loads(failed.read_text())['note']['why']}"
                )
                continue
            good.append(stored)
        except BackupError as error:
            findings.append(str(error))
    return good


def _chain_findings(archive: Archive, backups: list[Backup], ancestry: Any, archived_lsn: int) -> list[str]:
    fitting = usable(backups, ancestry)
    if not fitting:
        return ["no base backup that could be restored"]
    found = []
    newest = max(fitting, key=lambda b: b.ended)
    missing = find_missing(ancestry, archive.archived(), newest.start_lsn, archived_lsn)
    if missing:
        found.append(f"WAL is missing behind {newest.label}: {missing[0]} and {len(missing) - 1} more")
    return found


def _newest(stored: list[Stored], kind: Kind) -> Stored | None:
    return max((s for s in stored if s.backup.kind is kind), key=lambda s: s.backup.ended, default=None)


def _words(lag_seconds: float | None) -> str:
    return "how far is not known" if lag_seconds is None else f"{lag_seconds:.1f} s behind"
