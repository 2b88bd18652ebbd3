"""Start, know again and end the stand's processes.

A process is known by pid *and* start time, so that a reused pid is never touched; each one also
carries BIYI_STAND_PROCESS=<home>|<site>|<program> in its environment, which its children inherit.
"""

import atexit
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from runbooks.stand.topology import StandError

MARK = "BIYI_STAND_PROCESS"
_SAME_START_S = 0.5
"""Start times closer than this are the same: btime in /proc/stat moves a little with the clock."""
_FOREIGN_PREFIXES = ("PG", "ETCD_")
_PROXIES = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
)
_children: dict[int, subprocess.Popen[bytes]] = {}


@atexit.register
def _let_go() -> None:
    """Reap what has ended and leave the rest running: they are meant to outlive us, nothing to warn of."""
    for child in _children.values():
        if child.poll() is None:
            child.returncode = 0
    _children.clear()


@dataclass(frozen=True, slots=True)
class Running:
    """A started process: pid and start time (seconds since the epoch) together are its identity."""

    pid: int
    started: float


@dataclass(frozen=True, slots=True)
class Program:
    """What to start: its name, command line, additions to the environment, and the port it will own."""

    name: str
    command: tuple[str, ...]
    port: int
    environment: tuple[tuple[str, str], ...] = ()


def mark_of(home: Path, site: str, program: str) -> str:
    """Return what a process of the stand carries in its environment."""
    return f"{home}|{site}|{program}"


def start_detached(program: Program, mark: str, log_path: Path) -> Running:
    """Start `program` in a session of its own, output to its log; it outlives us."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN_PREFIXES) and name not in _PROXIES
    }
    environment = {**kept, "PYTHONUNBUFFERED": "1", MARK: mark, **dict(program.environment)}
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        child = subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    _children[child.pid] = child
    return Running(child.pid, psutil.Process(child.pid).create_time())


def is_alive(running: Running) -> bool:
    """Return whether that very process still runs (a zombie does not)."""
    child = _children.get(running.pid)
    if child is not None and child.poll() is not None:
        del _children[running.pid]
        return False
    try:
        process = psutil.Process(running.pid)
        same = abs(process.create_time() - running.started) < _SAME_START_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def signal_processes(processes: Iterable[Running], number: signal.Signals) -> None:
    """Send a signal to each that is still the same process."""
    for running in processes:
        if is_alive(running):
            try:
                os.kill(running.pid, number)
            except ProcessLookupError:
                continue


def wait_until_gone(processes: Iterable[Running], patience_s: float) -> list[Running]:
    """Wait at most `patience_s` for the processes to end; return those that have not."""
    end = time.monotonic() + patience_s
    left = [running for running in processes if is_alive(running)]
    while left and time.monotonic() < end:
        time.sleep(0.02)
        left = [running for running in left if is_alive(running)]
    return left


def with_descendants(processes: Iterable[Running]) -> list[Running]:
    """Return the living ones among `processes` followed by all their descendants."""
    found: dict[int, Running] = {}
    for running in processes:
        if is_alive(running):
            found.setdefault(running.pid, running)
            try:
                children = psutil.Process(running.pid).children(recursive=True)
            except psutil.NoSuchProcess:
                continue
            for child in children:
                found.setdefault(child.pid, Running(child.pid, child.create_time()))
    return list(found.values())


def find_marked(mark_prefix: str, directories: Sequence[Path]) -> list[Running]:
    """Return processes with a mark that starts so, or that work in one of the data `directories`.

    PostgreSQL overwrites its environment with its title, but stands in its data directory.
    """
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    roots = tuple(f"{directory}/" for directory in directories)
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            marked = process.environ().get(MARK, "").startswith(mark_prefix)
            if marked or (roots and (process.cwd() + "/").startswith(roots)):
                found.append(Running(process.pid, process.create_time()))
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or not ours to look at: then it was not started by us
    return found


def read_pids(path: Path) -> dict[str, Running]:
    """Read a site's pids.json; empty when there is none, StandError when it is spoilt."""
    try:
        return {name: Running(**plain) for name, plain in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise StandError(
            f"{path}: not a list of processes ({error}); remove it, then `biyi stand down`"
        ) from error


def write_pids(path: Path, processes: Mapping[str, Running]) -> None:
    """Write a site's pids.json in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps({name: asdict(running) for name, running in processes.items()}, indent=2))
    aside.replace(path)
