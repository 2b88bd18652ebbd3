"""Find a copy's PostgreSQL processes, stop, continue and kill them by pid and start time."""

import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

from runbooks.faults.catalogue import Victims
from runbooks.stand.processes import Running, signal_processes

_TITLES = {
    Victims.BACKEND: "biyi_app ",
    Victims.WALSENDER: "walsender ",
    Victims.CHECKPOINTER: "checkpointer",
    Victims.WALWRITER: "walwriter",
    Victims.WALRECEIVER: "walreceiver",
    Victims.STARTUP: "startup",
}
"""How PostgreSQL titles them, behind `postgres: `."""


def find_postmaster(data_dir: Path) -> psutil.Process | None:
    """Return the postmaster that works in a data directory, None when there is none."""
    try:
        pid = int((data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        return process if Path(process.cwd()) == data_dir and _lives(process) else None
    except (OSError, ValueError, psutil.Error):
        return None


def find_victims(data_dir: Path, victims: Victims, pick: float) -> list[Running]:
    """Return the processes meant; one, chosen by `pick` in [0, 1), where there are several of a kind."""
    postmaster = find_postmaster(data_dir)
    if postmaster is None:
        return []
    if victims is Victims.POSTMASTER:
        return _running([postmaster])
    try:
        children = postmaster.children(recursive=True)
    except psutil.Error:
        return []
    if victims is Victims.TREE:
        return _running([postmaster, *children])
    titled = [child for child in children if _title(child).startswith(f"postgres: {_TITLES[victims]}")]
    # Sessions at work first: a stopped idle one would break nothing.
    busy = [child for child in titled if not _title(child).endswith("idle")] or titled
    return _running(busy[int(pick * len(busy)) :][:1])


def stop_processes(found: Iterable[Running]) -> None:
    """SIGSTOP each that is still the same process."""
    signal_processes(found, signal.SIGSTOP)


def continue_processes(found: Iterable[Running]) -> None:
    """SIGCONT each that is still the same process."""
    signal_processes(found, signal.SIGCONT)


def kill_processes(found: Iterable[Running]) -> None:
    """SIGKILL each that is still the same process."""
    signal_processes(found, signal.SIGKILL)


def _running(processes: Sequence[psutil.Process]) -> list[Running]:
    found = []
    for process in processes:
        try:
            found.append(Running(process.pid, process.create_time()))
        except psutil.Error:
            continue
    return found


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def _lives(process: psutil.Process) -> bool:
    return bool(process.status() != psutil.STATUS_ZOMBIE)
