"""One drill at a time on a stand, and which one it is: a lock that ends with its process, however that ends.

The file says who holds it, for people and for the console, which follows the folder it names.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

PATIENCE_S = 0.5
"""Patience with the lock. Source: our choice; a look at it (`read_running`) holds it for microseconds."""


class DrillUnderWay(Exception):
    """Another drill runs; the message says which."""


@dataclass(frozen=True, slots=True)
class Running:
    """A drill under way: the process that runs it, its name, its folder's name in the evidence."""

    pid: int
    drill: str
    folder: str


def lock_path(home: Path) -> Path:
    """Return the lock's file."""
    return home / "evidence" / ".drill.lock"


@contextmanager
def drill_lock(home: Path) -> Iterator["DrillLock"]:
    """Hold the stand's drills while the block runs; DrillUnderWay when another process does."""
    path = lock_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        _take(stream, path)
        try:
            yield DrillLock(path)
        finally:
            stream.truncate(0)


def _take(stream: IO[str], path: Path) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > end_s:
                running = _parse(path)
                who = f"{running.drill} (process {running.pid})" if running else "another drill"
                raise DrillUnderWay(
                    f"{who} is running on this stand; wait for its end or stop it (Ctrl-C heals)"
                ) from error
            time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class DrillLock:
    """A lock that is held."""

    path: Path

    def tell(self, drill: str, folder: Path) -> None:
        """Say which drill holds it."""
        running = Running(os.getpid(), drill, folder.name)
        self.path.write_text(json.dumps(asdict(running)), encoding="utf-8")


def read_running(home: Path) -> Running | None:
    """Return the drill under way; None when none is, or it has not said yet which it is."""
    try:
        with lock_path(home).open(encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _parse(lock_path(home))


def _parse(path: Path) -> Running | None:
    try:
        return Running(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
