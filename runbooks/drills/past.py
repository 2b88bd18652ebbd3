"""Drills that were run, read from the evidence they left, and which of them are overdue.

`read_past` reads the folders; `make_schedule` is pure.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbooks.drills.catalogue import DRILLS
from runbooks.drills.seal import SEAL_FILE

OURS_DAYS = 31
"""Longest time between two drills of a kind. Source: our choice, a month."""
LAW_DAYS = 366
"""Longest time the Level-3 scheme allows: at least yearly (GB/T 22239-2019, 8.1.10.13 and 8.1.9.13)."""


@dataclass(frozen=True, slots=True)
class PastDrill:
    """One drill that was begun. `verdict` is `holds`, `broken`, `unknown`, or `unfinished`: none was written.

    `rto_seconds` is the longest of its cells, `pause_seconds` the p99 of planned moves or the longest
    write pause of any cell; None where there is none.
    """

    drill: str
    site: str
    started_at: datetime
    verdict: str
    acknowledged: int | None
    lost: int | None
    failed: int | None
    rto_seconds: float | None
    pause_seconds: float | None
    broken: tuple[str, ...]
    folder: Path

    def to_plain(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "drill": self.drill,
            "site": self.site,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "verdict": self.verdict,
            "acknowledged": self.acknowledged,
            "lost": self.lost,
            "failed": self.failed,
            "rto_seconds": self.rto_seconds,
            "pause_seconds": self.pause_seconds,
            "broken": list(self.broken),
            "evidence": str(self.folder),
        }


@dataclass(frozen=True, slots=True)
class Due:
    """Where a drill stands: when it last held, whether our month or the law's year is over."""

    drill: str
    last_held: datetime | None
    last_run: PastDrill | None
    due_at: datetime | None
    overdue: bool
    unlawful: bool

    def to_plain(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "drill": self.drill,
            "last_held": self.last_held and self.last_held.isoformat(timespec="seconds"),
            "last_verdict": self.last_run and self.last_run.verdict,
            "due_at": self.due_at and self.due_at.isoformat(timespec="seconds"),
            "overdue": self.overdue,
            "beyond_a_year": self.unlawful,
        }


def read_past(home: Path) -> list[PastDrill]:
    """Return the drills in the stand's evidence, newest first."""
    return read_evidence(home / "evidence")


def read_evidence(evidence: Path) -> list[PastDrill]:
    """Return the drills in a folder of evidence, newest first; what is no drill's is left out."""
    folders = sorted(evidence.glob("*Z-*"), reverse=True)
    return [past for folder in folders if (past := _read_one(folder)) is not None]


def find_interrupted(evidence: Path) -> list[Path]:
    """Return the folders of drills that were killed, oldest first: they have neither verdict nor seal.

    A drill that ended by itself, aborted or refused, has put back what it broke and sealed its folder.
    """
    return [
        folder
        for folder in sorted(evidence.glob("*Z-*"))
        if not (folder / "verdict.json").exists()
        and not (folder / SEAL_FILE).exists()
        and _read_header(folder).get("drill") in DRILLS
    ]


def make_schedule(past: Iterable[PastDrill], now: datetime) -> list[Due]:
    """Return every drill of the catalogue with when it is due, the most urgent first.

    A drill counts when it held: one that found something broken, or that nobody finished, has to be repeated.
    """
    newest: dict[str, PastDrill] = {}
    held: dict[str, PastDrill] = {}
    for one in sorted(past, key=lambda p: p.started_at):
        newest[one.drill] = one
        if one.verdict == "holds":
            held[one.drill] = one
    found = [_due_of(name, held.get(name), newest.get(name), now) for name in DRILLS]
    return sorted(found, key=lambda due: due.due_at or datetime.min.replace(tzinfo=UTC))


def _due_of(name: str, held: PastDrill | None, newest: PastDrill | None, now: datetime) -> Due:
    if held is None:
        return Due(name, None, newest, None, overdue=True, unlawful=True)
    due_at = held.started_at + timedelta(days=OURS_DAYS)
    unlawful = now > held.started_at + timedelta(days=LAW_DAYS)
    return Due(name, held.started_at, newest, due_at, overdue=now > due_at, unlawful=unlawful)


def _read_one(folder: Path) -> PastDrill | None:
    header = _read_header(folder)
    name = header.get("drill")
    if name not in DRILLS:
        return None
    try:
        verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        verdict = {}
    rtos = [c.get("rto_seconds") for c in _mapping(verdict.get("cells")).values() if isinstance(c, Mapping)]
    checks = _mapping(verdict.get("checks"))
    return PastDrill(
        drill=str(name),
        site=str(header.get("site", "")),
        started_at=datetime.fromisoformat(str(header["started_at"])),
        verdict=str(verdict.get("verdict", "unfinished")),
        acknowledged=verdict.get("acknowledged"),
        lost=verdict.get("lost"),
        failed=verdict.get("failed"),
        rto_seconds=max((r for r in rtos if r is not None), default=None),
        pause_seconds=_read_pause(verdict),
        broken=tuple(sorted(check for check, found in checks.items() if found != "holds")),
        folder=folder,
    )


def _read_pause(verdict: Mapping[str, Any]) -> float | None:
    pauses = _mapping(verdict.get("write_pause_seconds")).values()
    longest: float | None = _mapping(verdict.get("pause_seconds")).get("p99", max(pauses, default=None))
    return longest


def _read_header(folder: Path) -> Mapping[str, Any]:
    """Return the first line of a drill's history; empty when it has none."""
    try:
        with (folder / "history.jsonl").open(encoding="utf-8") as file:
            return _mapping(json.loads(file.readline()))
    except (OSError, ValueError):
        return {}


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}
