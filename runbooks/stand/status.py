"""What of the stand runs, as values; how the command line shows it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from replication.model import Site
from runbooks.stand.binaries import OLDEST_VALKEY, VALKEY_TLS_BIN
from runbooks.stand.control import ask_border
from runbooks.stand.home import is_free
from runbooks.stand.links import read_links
from runbooks.stand.outside import pids_of_outside
from runbooks.stand.ports import BANKS, OUTSIDE
from runbooks.stand.processes import Running, is_alive, read_pids
from runbooks.stand.sites import pids_path
from runbooks.stand.topology import Stand, read_stand, socket_of

_DATA_PROGRAMS = (
    "border", "etcd", "valkey", "agent", "api", "projector", "payer", "notary", "watcher", "console",
)  # fmt: skip
PROGRAMS = {
    Site.IDC: _DATA_PROGRAMS,
    Site.CLOUD: _DATA_PROGRAMS,
    Site.WITNESS: ("border", "etcd"),
}
_PORT_NAMES = {"border": "border-control", "etcd": "etcd-client"}


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process: `state` is listening, starting (runs, port still closed), dead (ended by itself or
    was killed outside) or stopped. `port` of what listens at a Unix socket is the number in its name."""

    site: str
    program: str
    pid: int | None
    port: int
    state: str


@dataclass(frozen=True, slots=True)
class StandStatus:
    """All processes, the links that are not plainly OK, PostgreSQL's places, how the caches are reached."""

    processes: tuple[ProcessStatus, ...]
    links: dict[str, str]
    connections: dict[Site, int]
    caches: str

    @property
    def whole(self) -> bool:
        """True when every process listens and every link is OK."""
        return all(p.state == "listening" for p in self.processes) and set(self.links.values()) == {"ok"}


def read_status(home: Path) -> StandStatus:
    """Look at every process and link of the stand; StandError when there is none."""
    stand = read_stand(home)
    processes = tuple(
        status for site in Site for status in (*_of_programs(stand, site), *_of_copies(stand, site))
    )
    processes += tuple(_of_banks(stand))
    connections = {}
    for status in processes:
        if status.program == "border" and status.state == "listening":
            with contextlib.suppress(OSError, ValueError):
                answer = ask_border(
                    socket_of(stand, f"{status.site}/border-control"), stand.control_token, {}
                )
                connections[Site(status.site)] = int(str(answer["connections"]))
    links = {name: state.text for name, state in read_links(home / "links.json").items()}
    return StandStatus(processes, links, connections, say_caches(stand))


def say_caches(stand: Stand) -> str:
    """Say how the sites' Valkeys are reached, and why not by TLS where they are not."""
    if stand.valkey_tls_bin is not None:
        return f"mutual TLS 1.3 ({stand.valkey_tls_bin})"
    return (
        "Unix sockets in private directories, not TLS: the wheel's build has none, and there was none in "
        f"{VALKEY_TLS_BIN} nor on PATH (valkey-server, redis-server {OLDEST_VALKEY[0]}+)"
    )


def _of_programs(stand: Stand, site: Site) -> list[ProcessStatus]:
    recorded = read_pids(pids_path(stand.home, site))
    names = {program: f"{site}/{_PORT_NAMES.get(program, program)}" for program in PROGRAMS[site]}
    return [_of_program(stand, program, recorded.get(program), name) for program, name in names.items()]


def _of_banks(stand: Stand) -> list[ProcessStatus]:
    recorded = read_pids(pids_of_outside(stand.home))
    return [_of_program(stand, bank, recorded.get(bank), f"{OUTSIDE}/{bank}") for bank in BANKS]


def _of_program(stand: Stand, program: str, running: Running | None, name: str) -> ProcessStatus:
    if running is None:
        state = "stopped"
    elif not is_alive(running):
        state = "dead"
    else:
        state = "starting" if is_free(stand.address(name)) else "listening"
    site, pid = name.partition("/")[0], running.pid if running else None
    return ProcessStatus(site, program, pid, stand.ports[name], state)


def _of_copies(stand: Stand, site: Site) -> list[ProcessStatus]:
    found = []
    for name in sorted(stand.ports):
        owner, _, service = name.partition("/")
        if owner == site and service.startswith("copy:"):
            port = stand.ports[name]
            pid = _postmaster_pid(stand.copies_dir(site) / service.removeprefix("copy:"))
            state = "stopped" if is_free(stand.address(name)) else "listening"
            found.append(ProcessStatus(site, service, pid if state == "listening" else None, port, state))
    return found


def _postmaster_pid(data_dir: Path) -> int | None:
    try:
        return int((data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
