"""More API processes beside a site's own: replicas in a burst, a new release that is tried out.

Each has a port of its own, written nowhere; whoever started it tells the customers' balancer. It carries the
site's mark, so that `biyi stand down` and the loss of the site end it too.
"""

import signal
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from replication.model import DATA_SITES, Site
from replication.settings import read_site_settings, write_site_settings
from runbooks.stand.home import home_lock
from runbooks.stand.processes import (
    Program,
    Running,
    find_marked,
    is_alive,
    mark_of,
    signal_processes,
    start_detached,
    wait_until_gone,
    write_pids,
)
from runbooks.stand.sites import KILL_PATIENCE_S, live_processes, pids_path, start_missing
from runbooks.stand.topology import LOOPBACK, StandError, read_stand
from runbooks.stand.up import find_binaries, last_words

PREFIX = "api-"
"""Names of these processes begin so; the site's own is `api`."""
RELEASED = "core_app.api"
"""The program of the API as it is."""
DRAIN_S = 14.0
"""Patience with requests under way at an API that ends. Source: our choice, above its own 12 s of grace."""


@dataclass(frozen=True, slots=True)
class Replica:
    """An API process beside the site's own."""

    name: str
    site: Site
    url: str
    running: Running
    log_path: Path

    def check_alive(self) -> None:
        """Raise StandError with its last words when it has ended."""
        if not is_alive(self.running):
            raise StandError(f"{self.name} of {self.site} ended; {last_words(self.log_path)}")


def start_replica(home: Path, site: Site, name: str, program: str = RELEASED) -> Replica:
    """Start one; it listens some seconds later. `program` is the Python module that is the API."""
    stand = read_stand(home)
    port = _free_port()
    own = stand.site_dir(site)
    settings_path = own / f"{name}.json"
    write_site_settings(settings_path, replace(read_site_settings(own / "site.json"), api_port=port))
    outside = ("--bureau", "fake", "--identity", "fake")
    command = (sys.executable, "-m", program, "--settings", str(settings_path), *outside)
    log_path = own / "logs" / f"{name}.log"
    running = start_detached(Program(name, command, port), mark_of(stand.home, site, name), log_path)
    return Replica(name, site, f"https://{LOOPBACK}:{port}", running, log_path)


def stop_replica(replica: Replica) -> None:
    """End one as an orchestrator does: it finishes what it has begun; SIGKILL only after `DRAIN_S`."""
    _end([replica.running])


def stop_all_replicas(home: Path) -> int:
    """End whatever replicas a killed drill has left; returns how many there were."""
    found = [
        running
        for site in DATA_SITES
        for running in find_marked(f"{read_stand(home).home}|{site}|{PREFIX}", ())
    ]
    _end(found)
    return len(found)


def replace_api(home: Path, site: Site) -> tuple[int, int]:
    """End a site's own API, which drains, and start it anew at its port; return both process ids."""
    stand = read_stand(home)
    with home_lock(stand.home, patience_s=5):
        live = live_processes(stand.home, site)
        if "api" not in live:
            raise StandError(f"{site} has no API that runs; `biyi stand up` starts what is missing")
        old = live.pop("api")
        _end([old])
        write_pids(pids_path(stand.home, site), live)
        start_missing(stand, site, find_binaries(), ("api",))
        return old.pid, live_processes(stand.home, site)["api"].pid


def _end(processes: list[Running]) -> None:
    signal_processes(processes, signal.SIGTERM)
    left = wait_until_gone(processes, DRAIN_S)
    signal_processes(left, signal.SIGKILL)
    wait_until_gone(left, KILL_PATIENCE_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
