"""Start what is missing at a site, lose a site, stop everything, change links."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from replication.model import Site
from runbooks.stand.control import ask_border
from runbooks.stand.home import home_lock, is_free, relocated_root
from runbooks.stand.links import (
    HEALED,
    LinkMode,
    LinkState,
    LinkTable,
    links_of_site,
    plain_links,
    read_links,
    write_links,
)
from runbooks.stand.outside import stop_banks
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
    with_descendants,
    write_pids,
)
from runbooks.stand.programs import AGENT_PROGRAMS, ServerBinaries, plan_programs
from runbooks.stand.topology import Stand, StandError, read_stand, socket_of, stand_path

KILL_PATIENCE_S = 10.0
"""Patience with SIGKILLed processes to be gone. Source: our choice; the kernel needs milliseconds."""
BORDER_PATIENCE_S = 3.0
"""Patience with a border that starts. Source: our choice; it needs 0.2 s on idle cores."""
SERVER_PATIENCE_S = 1.5
"""Patience with etcd and Valkey. Source: our choice; both are crash-safe, Valkey ends in 0.1 s."""
STOP_PATIENCE_S = 20.0
"""Patience with agents that stop PostgreSQL cleanly. Source: our choice; a shutdown checkpoint of a
small cell takes under 2 s."""


def pids_path(home: Path, site: Site) -> Path:
    """Return the path of a site's list of processes."""
    return home / site / "pids.json"


def live_processes(home: Path, site: Site) -> dict[str, Running]:
    """Return the site's processes that run, by program."""
    return {name: each for name, each in read_pids(pids_path(home, site)).items() if is_alive(each)}


def start_missing(
    stand: Stand, site: Site, binaries: ServerBinaries, names: tuple[str, ...] = ()
) -> list[str]:
    """Start those programs of `site` (all, or `names`) that do not run; returns the names started.

    StandError names a port that somebody else has taken. A process of ours that an interrupted
    command did not write down is taken over.
    """
    running = live_processes(stand.home, site)
    write_pids(pids_path(stand.home, site), running)  # what ended before is nothing to wait for
    started = []
    for program in plan_programs(stand, site, binaries):
        if program.name in running or (names and program.name not in names):
            continue
        found = _unrecorded(stand.home, site, program)
        if found is None:
            _check_ports(stand, site, program)
            log_path = stand.site_dir(site) / "logs" / f"{program.name}.log"
            found = start_detached(program, mark_of(stand.home, site, program.name), log_path)
        running[program.name] = found
        write_pids(pids_path(stand.home, site), running)
        started.append(program.name)
    return started


def set_links(home: Path, changes: LinkTable) -> None:
    """Write the changes to links.json and tell every living border; StandError when one does not obey."""
    stand = read_stand(home)
    path = home / "links.json"
    write_links(path, read_links(path) | changes)
    for site in Site:
        if "border" in live_processes(home, site):
            _tell_border(stand, site, changes)


def set_link(home: Path, name: str, state: LinkState) -> None:
    """Put one directed link (e.g. `idc>cloud`) into a state."""
    with home_lock(home, patience_s=5):
        set_links(home, {name: state})


def kill_site(home: Path, site: Site, *, keep_links: bool = False) -> float:
    """Lose a whole site: silence on its links, then SIGKILL to every process of it.

    Returns the instant of the loss (monotonic seconds): just before its links fell silent, or before
    the first SIGKILL with `keep_links`. StandError when something of the site still runs after 10 s.
    """
    with home_lock(home, patience_s=5):
        stand = read_stand(home)
        victims = _processes_of(home, site)
        border = live_processes(home, site).get("border")
        lost_at = time.monotonic()
        if not keep_links:
            set_links(home, dict.fromkeys(links_of_site(site), LinkState(LinkMode.HOLE)))
            if border is not None:
                with suppress(OSError, ValueError):
                    ask_border(
                        socket_of(stand, f"{site}/border-control"), stand.control_token, {"hand_over": True}
                    )
        left = _kill_all(home, site, victims)
        write_pids(pids_path(home, site), {})
        if left:
            raise StandError(f"{site}: processes {[each.pid for each in left]} survive SIGKILL; look at `ps`")
    return lost_at


def heal_site(home: Path, site: Site) -> None:
    """Make all links from and to `site` OK again."""
    set_links(home, dict.fromkeys(links_of_site(site), HEALED))


def stop_everything(home: Path) -> list[str]:
    """Stop all processes of the stand, PostgreSQL cleanly; returns what had to be killed.

    Agents go first (they stop PostgreSQL), then the servers, the borders last: until then the sites
    can still speak. Whatever is left, from whatever crash, is ended hard. Leaves no process.
    """
    recorded = {site: _recorded(home, site) for site in Site}
    early = [each for live in recorded.values() for name, each in live.items() if name in AGENT_PROGRAMS]
    signal_processes(early, signal.SIGTERM)
    wait_until_gone(early, STOP_PATIENCE_S)
    signal_processes(_postmasters(home), signal.SIGINT)  # of an agent that is gone; fast shutdown
    wait_until_gone(_postmasters(home), STOP_PATIENCE_S / 2)
    late = [each for live in recorded.values() for name, each in live.items() if name not in AGENT_PROGRAMS]
    borders = [live["border"] for live in recorded.values() if "border" in live]
    servers = [each for each in late if each not in borders]
    signal_processes(servers, signal.SIGTERM)
    # An etcd leader would wait for a successor among members that stop as well; what it has
    # acknowledged is on disk, so it may be killed.
    signal_processes(wait_until_gone(servers, SERVER_PATIENCE_S), signal.SIGKILL)
    signal_processes(borders, signal.SIGTERM)
    wait_until_gone(borders, 2)
    forced = stop_banks(home)
    for site in Site:
        rest = _processes_of(home, site)
        forced += [f"{site} {_name_of(each)}" for each in rest]
        if left := _kill_all(home, site, rest):
            raise StandError(f"{site}: processes {[each.pid for each in left]} survive SIGKILL; look at `ps`")
        if pids_path(home, site).exists():
            write_pids(pids_path(home, site), {})
    return forced


def data_directories(home: Path, site: Site) -> list[Path]:
    """Return where processes of a site's servers may be standing."""
    roots = [home, relocated_root(home)]
    if stand_path(home).exists():
        with suppress(StandError):
            roots.append(read_stand(home).data_root or home)
    return [root / site / "copies" for root in dict.fromkeys(roots)]


def _tell_border(stand: Stand, site: Site, changes: LinkTable) -> None:
    """Tell a living border; one that has just been started may not listen yet, so ask again a while."""
    end = time.monotonic() + BORDER_PATIENCE_S
    while True:
        try:
            ask_border(
                socket_of(stand, f"{site}/border-control"),
                stand.control_token,
                {"links": plain_links(changes)},
            )
            return
        except (OSError, ValueError) as error:
            if not isinstance(error, ConnectionRefusedError | FileNotFoundError) or time.monotonic() > end:
                raise StandError(f"border of {site}: {error}; see `biyi stand logs {site} border`") from error
            time.sleep(0.02)


def _recorded(home: Path, site: Site) -> dict[str, Running]:
    try:
        return live_processes(home, site)
    except StandError:
        return {}  # spoilt pids.json: the marks still find everything


def _processes_of(home: Path, site: Site) -> list[Running]:
    """Return every process of a site, the agent first (it could restart what is killed before it)."""
    recorded = _recorded(home, site)
    ordered = sorted(recorded.items(), key=lambda item: item[0] != "agent")
    found = with_descendants(each for _, each in ordered)
    known = {each.pid for each in found}
    marked = find_marked(f"{home}|{site}|", data_directories(home, site))
    return found + [each for each in marked if each.pid not in known]


def _kill_all(home: Path, site: Site, victims: list[Running]) -> list[Running]:
    """SIGKILL all at once, then whatever was born meanwhile, until nothing is left; bounded."""
    end = time.monotonic() + KILL_PATIENCE_S
    while victims and time.monotonic() < end:
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim.pid, signal.SIGKILL)
        wait_until_gone(victims, KILL_PATIENCE_S / 4)
        victims = _processes_of(home, site)
    return victims


def _postmasters(home: Path) -> list[Running]:
    """Return running postmasters: processes in a data directory whose parent is not in one."""
    found = [each for site in Site for each in find_marked("\0", data_directories(home, site))]
    pids = {each.pid for each in found}
    heads = []
    for each in found:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(each.pid).ppid() not in pids:
                heads.append(each)
    return heads


def _name_of(running: Running) -> str:
    try:
        return f"{psutil.Process(running.pid).name()} ({running.pid})"
    except psutil.NoSuchProcess:
        return f"({running.pid})"


def _unrecorded(home: Path, site: Site, program: Program) -> Running | None:
    """Return a running process of ours with that very command line that no pids.json knows.

    Not so the program's own path: a server may be started by a script that knows where its libraries are.
    """
    for found in find_marked(mark_of(home, site, program.name), ()):
        with suppress(psutil.Error):
            if tuple(psutil.Process(found.pid).cmdline()[1:]) == program.command[1:]:
                return found
    return None


def _check_ports(stand: Stand, site: Site, program: Program) -> None:
    """Raise StandError for a port of `program` that somebody else listens at."""
    starts = {
        "border": ("border-", "to/"),
        "etcd": ("etcd-",),
        "agent": ("agent",) if _postmasters(stand.home) else ("agent", "copy:"),
    }.get(program.name, (program.name,))
    for name, port in stand.ports.items():
        owner, _, service = name.partition("/")
        if owner == site and service.startswith(starts) and not is_free(stand.address(name)):
            raise StandError(
                f"port {port} ({name.replace('/', ' ')}) is taken by another program; end that, or choose "
                "other ports with `biyi stand up --fresh` (it deletes the data)"
            )
