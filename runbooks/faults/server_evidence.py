"""What the servers themselves wrote down during a run: epochs opened (journals), alarms (logs)."""

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from replication.model import DATA_SITES, Site
from runbooks.drills.checkers import Finding, make_finding
from runbooks.evidence import StageMark
from runbooks.faults.checkers import Opening

_ALARMS = re.compile(
    r"PANIC:|invalid page|could not read block|incorrect resource manager|checksum verification failed"
    r"|record with incorrect prev-link .* while|unexpected pageaddr .* PANIC"
    r"|corrupt(?! and should not be used)"
)
"""Lines of PostgreSQL that no fault here may cause: nothing of ours damages a file.

"The backup being taken is corrupt and should not be used" is its word for a base backup that a promotion cut
off: nothing is damaged, and the backup never counts (`replication.backup.take`).
"""
_TROUBLES = re.compile(r"Traceback \(most recent call last\)|round of \S+ failed")
"""Lines of our own processes that tell of something unforeseen."""


def note_sizes(home: Path) -> dict[Path, int]:
    """Return how long each log of the stand is now, so that only what follows is read later."""
    return {path: path.stat().st_size for path in _logs(home)}


def read_new_lines(home: Path, sizes: dict[Path, int], pattern: re.Pattern[str]) -> list[str]:
    """Return lines written since `sizes` that match, each with the name of its log."""
    found = []
    for path in _logs(home):
        with path.open("rb") as stream:
            stream.seek(sizes.get(path, 0))
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                if pattern.search(text):
                    found.append(f"{path.parent.parent.name} {path.stem}: {text[:300]}")
    return found


def check_alarms(home: Path, sizes: dict[Path, int]) -> Finding:
    """No server panicked or found its own files damaged."""
    return make_finding("no_server_panicked", read_new_lines(home, sizes, _ALARMS), len(_logs(home)), {})


def find_troubles(home: Path, sizes: dict[Path, int]) -> list[str]:
    """Return lines of our processes that tell of something unforeseen; not judged, but worth a look."""
    return read_new_lines(home, sizes, _TROUBLES)


def find_openings(stages: Iterable[StageMark]) -> list[Opening]:
    """Return from journal stages when which place began to serve clients in which epoch."""
    return [
        Opening(stage.at_ns, stage.cell, stage.epoch, stage.place)
        for stage in stages
        if stage.stage == "opened"
    ]


def keep_logs(home: Path, folder: Path) -> None:
    """Copy every log of the stand into the evidence, for a run that did not hold."""
    for path in _logs(home):
        kept = folder / "logs" / f"{path.parent.parent.name}-{path.name}"
        kept.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, kept)


def _logs(home: Path) -> Sequence[Path]:
    return [
        path for site in (*DATA_SITES, Site.WITNESS) for path in sorted((home / site / "logs").glob("*.log"))
    ]
