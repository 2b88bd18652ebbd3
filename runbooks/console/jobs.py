"""Work that a page started: a command of `biyi` that outlives the console, and what it said so far.

A job is a folder; both consoles of a stand see the same ones, so a job that kills a site can be watched at
the other.
"""

import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from runbooks.console.environment import make_environment

MOST_LINES = 400
"""Lines of a job's output that a page shows. Source: our choice; a drill writes some fifty."""
MOST_SHOWN = 50
"""Jobs in a list. Source: our choice, a screen or two."""
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
_SAME_START_SECONDS = 1.0
"""Two starts of one process id so near are the same process. Source: psutil's clock is rounded to 10 ms."""


@dataclass(frozen=True, slots=True)
class Job:
    """A command that was begun: `words` after `biyi`."""

    name: str
    kind: str
    words: tuple[str, ...]
    asked_by: str
    asked_at: str


@dataclass(frozen=True, slots=True)
class JobState:
    """How far a job is: `running`, `ended`, `lost` (nobody knows its end)."""

    job: Job
    state: str
    exit: int | None
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    lines: tuple[str, ...] = ()
    plain: Any = None

    @property
    def over(self) -> bool:
        """Say whether nothing more will come."""
        return self.state in ("ended", "lost")


class Jobs:
    """The jobs of a stand. `read_now` returns aware UTC; `new_id` eight hexadecimal digits."""

    def __init__(
        self, home: Path, site: str, read_now: Callable[[], dt.datetime], new_id: Callable[[], str]
    ) -> None:
        self._home, self._site = home, site
        self._folder = home / "console" / "jobs"
        self._read_now, self._new_id = read_now, new_id

    def begin(self, kind: str, words: Sequence[str], asked_by: str, handed: Mapping[str, str]) -> Job:
        """Begin a command in a session of its own; `handed` goes into its environment and nowhere else."""
        now = self._read_now()
        name = f"{now:%Y%m%dT%H%M%SZ}-{self._new_id()}"
        job = Job(name, kind, tuple(words), asked_by, now.isoformat(timespec="seconds"))
        folder = self._folder / name
        for one in (self._folder.parent, self._folder, folder):
            one.mkdir(mode=0o700, exist_ok=one is not folder)
        write_whole(folder / "job.json", asdict(job))
        with (folder / "runner.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "runbooks.console.run_job", str(folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=True,
                env={**make_environment(self._home, self._site), **handed}, start_new_session=True,
            )  # fmt: skip
        return job

    def find(self, name: str) -> JobState | None:
        """Return a job with its output; None when there is none of that name."""
        folder = self._folder / name
        if not _NAME.fullmatch(name) or not (folder / "job.json").is_file():
            return None
        return self._state(folder, whole=True)

    def list_newest(self, kind: str) -> list[JobState]:
        """Return the newest jobs of a kind, without output."""
        folders = sorted(self._folder.glob("*Z-*/job.json"), reverse=True)
        found = (self._state(path.parent, whole=False) for path in folders[:MOST_SHOWN])
        return [one for one in found if one.job.kind == kind]

    def _state(self, folder: Path, *, whole: bool) -> JobState:
        plain = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        job = Job(**{**plain, "words": tuple(plain["words"])})
        begun, runner = _read(folder / "begun.json"), _read(folder / "runner.json")
        running = runner is None or _is_running(runner)
        end = _read(folder / "end.json")  # after the look at the process: it writes this and then ends
        state = "ended" if end is not None else "running" if running else "lost"
        shown: dict[str, Any] = {}
        if whole:
            text = _read_text(folder / "stderr")
            shown = {"lines": tuple(text.splitlines()[-MOST_LINES:])}
            shown["plain"] = _read(folder / "stdout") if end is not None else None
        return JobState(
            job, state, end["exit"] if end else None, _instant(begun, "at"), _instant(end, "at"), **shown
        )


def _is_running(runner: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(runner["pid"])
        same = abs(process.create_time() - runner["started"]) < _SAME_START_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _instant(plain: dict[str, Any] | None, name: str) -> dt.datetime | None:
    return dt.datetime.fromisoformat(plain[name]) if plain else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _read(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except ValueError:
        return None


def write_whole(path: Path, plain: object) -> None:
    """Write a whole file of JSON or none."""
    made = path.with_suffix(".new")
    made.write_text(json.dumps(plain), encoding="utf-8")
    os.replace(made, path)
