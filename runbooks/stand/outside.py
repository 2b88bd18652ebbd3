"""The world outside all sites: two fake banks. They live when a site dies, and die when a drill says so."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from runbooks.stand.certificates import tls_dir
from runbooks.stand.home import is_free
from runbooks.stand.ports import BANKS, OUTSIDE
from runbooks.stand.processes import (
    Program,
    Running,
    find_marked,
    is_alive,
    mark_of,
    read_pids,
    signal_processes,
    start_detached,
    wait_until_gone,
    write_pids,
)
from runbooks.stand.topology import Stand, StandError

_STOP_PATIENCE_S = 3.0
"""Patience with a bank at SIGTERM. Source: our choice; it gives running requests half a second."""
_KILL_PATIENCE_S = 5.0
"""Patience with SIGKILLed banks to be gone. Source: our choice; the kernel needs milliseconds."""


def book_path(home: Path, bank: str) -> Path:
    """Return the path of a bank's book."""
    return home / OUTSIDE / f"{bank}.sqlite"


def pids_of_outside(home: Path) -> Path:
    """Return the path of the list of banks that were started."""
    return home / OUTSIDE / "pids.json"


def plan_bank(stand: Stand, bank: str) -> Program:
    """Return a bank's command line."""
    command = (sys.executable, "-m", "runbooks.stand.fake_bank")
    port = stand.ports[f"{OUTSIDE}/{bank}"]
    where = ("--book", str(book_path(stand.home, bank)), "--port", str(port))
    return Program(bank, (*command, *where, "--tls", str(tls_dir(stand.home, OUTSIDE))), port)


def start_banks(stand: Stand, banks: tuple[str, ...] = BANKS) -> list[str]:
    """Start those of `banks` that do not run; StandError when somebody else has a port."""
    running = {name: each for name, each in read_pids(pids_of_outside(stand.home)).items() if is_alive(each)}
    started = []
    for program in (plan_bank(stand, bank) for bank in banks if bank not in running):
        found = find_marked(mark_of(stand.home, OUTSIDE, program.name), ())
        if not found and not is_free(program.port):
            raise StandError(f"port {program.port} ({program.name}) is taken by another program; end that")
        log_path = stand.home / OUTSIDE / "logs" / f"{program.name}.log"
        mark = mark_of(stand.home, OUTSIDE, program.name)
        running[program.name] = found[0] if found else start_detached(program, mark, log_path)
        started.append(f"{OUTSIDE} {program.name}")
    if started:
        write_pids(pids_of_outside(stand.home), running)
    return started


def kill_bank(home: Path, bank: str) -> float:
    """SIGKILL a bank and return the instant before (monotonic seconds); StandError when it does not run."""
    running = read_pids(pids_of_outside(home)).get(bank)
    if running is None or not is_alive(running):
        raise StandError(f"{bank} does not run; `biyi stand up` starts it")
    at_s = time.monotonic()
    with suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGKILL)
    if wait_until_gone([running], _KILL_PATIENCE_S):
        raise StandError(f"{bank} (process {running.pid}) survives SIGKILL; look at `ps`")
    return at_s


def stop_banks(home: Path) -> list[str]:
    """Stop every bank of the stand, bounded; returns those that had to be killed."""
    banks = _banks_of(home)
    signal_processes(banks, signal.SIGTERM)
    left = wait_until_gone(banks, _STOP_PATIENCE_S)
    signal_processes(left, signal.SIGKILL)
    wait_until_gone(left, _KILL_PATIENCE_S)
    if pids_of_outside(home).exists():
        write_pids(pids_of_outside(home), {})
    return [f"{OUTSIDE} ({each.pid})" for each in left]


def _banks_of(home: Path) -> list[Running]:
    try:
        recorded = list(read_pids(pids_of_outside(home)).values())
    except StandError:
        recorded = []  # spoilt pids.json: the marks still find everything
    known = {each.pid for each in recorded}
    marked = find_marked(f"{home}|{OUTSIDE}|", ())
    return [*recorded, *(each for each in marked if each.pid not in known)]
