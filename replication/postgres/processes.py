"""Which processes belong to a data directory, and ending them.

PostgreSQL's processes have the directory as their working directory: that tells them from a stranger
who got a recycled pid, and finds backends whose postmaster is dead. Programs that work on the
directory from outside (pg_rewind, pg_basebackup) are told by their arguments.
"""

import asyncio
import os
import time
from pathlib import Path

import psutil

from replication.postgres.copy import Copy, PostgresError

POLL_SECONDS = 0.01
_KILL_SECONDS = 5.0
"""Patience with SIGKILL. Source: our choice; only a process in an uninterruptible disk wait takes longer."""


def _works_in(process: psutil.Process, directory: Path) -> bool:
    """Say whether a process is a live `postgres` with `directory` as its working directory."""
    try:
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and process.name().startswith("postgres")
            and os.path.samefile(f"/proc/{process.pid}/cwd", directory)
        )
    except (psutil.Error, OSError):
        return False


def _is_told_about(process: psutil.Process, directory: Path) -> bool:
    """Say whether a live PostgreSQL program was started with `directory` (or one beside it) as argument."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE or not process.name().startswith(("pg_", "postgres")):
            return False
        wanted = {str(directory), f"{directory}.new"}
        return any(argument.rpartition("=")[2] in wanted for argument in process.cmdline())
    except psutil.Error:
        return False


def processes_of(copy: Copy) -> list[psutil.Process]:
    """Return every live process that works on the directory, whoever its parent is."""
    return [
        process
        for process in psutil.process_iter()
        if _works_in(process, copy.data_dir) or _is_told_about(process, copy.data_dir)
    ]


def read_postmaster(copy: Copy) -> psutil.Process | None:
    """Return the running postmaster; None when there is none or its pid file is stale."""
    try:
        pid = int((copy.data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
    except (FileNotFoundError, NotADirectoryError, ValueError, psutil.Error):
        return None
    return process if _works_in(process, copy.data_dir) else None


async def wait_gone(copy: Copy, process: psutil.Process, timeout_seconds: float) -> bool:
    """Wait until a process of the directory has ended (a zombie has); False when it has not in time."""
    deadline = time.monotonic() + timeout_seconds
    while _works_in(process, copy.data_dir):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


async def kill_all(copy: Copy) -> None:
    """Kill every process of the directory and see that none is left; PostgresError when one is.

    The postmaster goes first: it could fork. Looking again catches a backend born meanwhile.
    """
    postmaster = read_postmaster(copy)
    if postmaster is not None:
        _kill(postmaster)
    deadline = time.monotonic() + _KILL_SECONDS
    while left := processes_of(copy):
        for process in left:
            _kill(process)
        if time.monotonic() > deadline:
            pids = ", ".join(str(process.pid) for process in left)
            raise PostgresError(f"{copy.place.name}: processes {pids} survive SIGKILL")
        await asyncio.sleep(POLL_SECONDS)


async def end_leftovers(copy: Copy) -> None:
    """Kill what is left of an earlier run and remove its lock files, of the directory and of the socket.

    A killed postmaster that its parent has not reaped yet (a zombie) would count as alive for the
    next one. Without a process in the directory these files guard nothing.
    """
    await kill_all(copy)
    (copy.data_dir / "postmaster.pid").unlink(missing_ok=True)
    if copy.place.socket_path is not None:
        lock = Path(f"{copy.place.socket_path}.lock")
        if _locked_by(lock) == str(copy.data_dir):  # another server's stays: it may live
            lock.unlink(missing_ok=True)


def _locked_by(lock: Path) -> str | None:
    """Return the data directory that a lock file names in its second line (pidfile.h)."""
    try:
        return lock.read_text().split("\n")[1]
    except (OSError, IndexError):
        return None


def _kill(process: psutil.Process) -> None:
    """Send SIGKILL; psutil compares the start time, so a recycled pid is never hit."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
