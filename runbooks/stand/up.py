"""Bring the whole stand up and wait until it serves; bring it down; bring a lost site back."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import read_world
from replication.model import DATA_SITES, Grant, Mode, Site
from runbooks.stand.binaries import find_etcd, find_valkey
from runbooks.stand.certificates import authority_file
from runbooks.stand.etcd_leader import lead_at_witness, leader_site
from runbooks.stand.home import UpOptions, home_lock, prepare_stand, wipe
from runbooks.stand.links import healed_table, read_links, unhealthy
from runbooks.stand.outside import start_banks
from runbooks.stand.processes import is_alive, read_pids
from runbooks.stand.programs import ServerBinaries
from runbooks.stand.sites import heal_site, pids_path, set_links, start_missing, stop_everything
from runbooks.stand.topology import LOOPBACK, Stand, StandError, read_stand

Progress = Callable[[str, int, int], None]
"""Told the stage that begins, how many are done and how many there are."""
STAGES = ("programs", "processes", "etcd leader", "agents", "migrations", "cells", "entrances")
MIGRATE_AGAIN = 3
"""Exit code of core_app.migrate for a cell that it could not reach, e.g. while it was moving."""
_LOOK_EVERY_S = 0.1
_ANSWER_PATIENCE_S = 2.0
_LAST_LINES = 5


@dataclass(frozen=True, slots=True)
class UpDone:
    """What `up` found and did; `healed` names links that were not OK."""

    stand: Stand
    seconds: float
    started: tuple[str, ...]
    healed: tuple[str, ...]


def no_progress(_stage: str, _done: int, _total: int) -> None:
    """Show nothing."""


def find_binaries() -> ServerBinaries:
    """Find etcd and valkey; StandError when a package is missing."""
    etcd, version = find_etcd()
    return ServerBinaries(etcd, version, find_valkey())


async def up(home: Path, options: UpOptions, progress: Progress = no_progress) -> UpDone:
    """Bring the stand of `home` up and return once every cell is SYNC and both entrances serve.

    Harmless when it is up already: starts what is missing, heals every link. StandError says which
    stage failed and where to look; what was started then goes on running for the next `up` or `down`.
    """
    begun = time.monotonic()
    home = home.resolve()

    def stage(index: int) -> None:
        progress(STAGES[index] if index < len(STAGES) else "up", index, len(STAGES))

    with home_lock(home):
        stage(0)
        if options.fresh:
            stop_everything(home)
            wipe(home)
        stand = prepare_stand(home, options)
        binaries = find_binaries()
        stage(1)
        healed = unhealthy(read_links(home / "links.json"))
        set_links(home, healed_table())
        started = _start(stand, binaries, ("border", "etcd", "valkey", "agent")) + start_banks(stand)
        end = begun + options.patience_s
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_PATIENCE_S)) as http:
            stage(2)
            await _until(stand, end, "etcd has a leader", lambda: _has_leader(http, stand))
            await lead_at_witness(http, stand)
            stage(3)
            await _until_all_answer(http, stand, "agent", end)
            stage(4)
            await _migrate_all(stand, end)
            # Not before their tables are there: a dozen programs that start take all cores, and the one that
            # makes the tables, which they all would wait for, gets its dozenth.
            started += _start(stand, binaries, ("api", "projector", "payer", "notary", "watcher", "console"))
            stage(5)
            await _until(stand, end, "every cell is open and SYNC", lambda: cells_serve(http, stand))
            stage(6)
            await _until_all_answer(http, stand, "api", end)
            await _until_all_answer(http, stand, "payer", end)
            await _until_all_answer(http, stand, "notary", end)
            await _until_all_answer(http, stand, "watcher", end)
            await _until_all_answer(http, stand, "console", end)
        stage(7)
    return UpDone(stand, time.monotonic() - begun, tuple(started), tuple(healed))


def down(home: Path) -> list[str]:
    """Stop the stand of `home`, bounded; leaves no process. Returns what had to be killed."""
    if not home.exists():
        return []
    with home_lock(home.resolve(), patience_s=5):
        return stop_everything(home.resolve())


def start_site(home: Path, site: Site) -> list[str]:
    """Bring a lost site back: heal its links, start its processes; returns what was started, at once.

    Rejoining is the agents' work and goes on after this returns.
    """
    home = home.resolve()
    with home_lock(home, patience_s=5):
        stand = read_stand(home)
        binaries = find_binaries()
        heal_site(home, site)
        return start_missing(stand, site, binaries)


async def _migrate_all(stand: Stand, end: float) -> None:
    """Wait until the migrations of all cells ran; they begin as soon as a cell lets them in."""
    while True:
        running = asyncio.create_task(migrate(stand))

        async def has_ended(task: asyncio.Task[bool] = running) -> bool:
            return task.done()

        try:
            await _until(stand, end, "migrations ran (migrate.log)", has_ended)
            if await running:
                return
        finally:
            running.cancel()


async def migrate(stand: Stand) -> bool:
    """Apply the lending core's migrations to every cell; False when a cell was out of reach, so again.

    StandError with its last words when it fails for good.
    """
    command = (sys.executable, "-m", "core_app.migrate", "--settings")
    settings = stand.site_dir(Site.IDC) / "site.json"
    log_path = stand.site_dir(Site.IDC) / "logs" / "migrate.log"
    with log_path.open("ab") as log:
        child = await asyncio.create_subprocess_exec(*command, str(settings), stdout=log, stderr=log)
        try:
            code = await child.wait()
        except asyncio.CancelledError:
            child.terminate()
            raise
    if code not in (0, MIGRATE_AGAIN):
        raise StandError(f"migrations ended with {code}; {last_words(log_path)}")
    return code == 0


def last_words(log_path: Path) -> str:
    """Return the end of a log for an error message."""
    try:
        lines = log_path.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    except FileNotFoundError:
        return f"{log_path} was never written"
    return f"the end of {log_path}:\n  " + "\n  ".join(lines)


def _start(stand: Stand, binaries: ServerBinaries, names: tuple[str, ...]) -> list[str]:
    return [f"{site} {name}" for site in Site for name in start_missing(stand, site, binaries, names)]


async def _until(stand: Stand, end: float, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `holds`; StandError at the deadline or as soon as a process has died."""
    while not await holds():
        for site in Site:
            for name, running in read_pids(pids_path(stand.home, site)).items():
                if not is_alive(running):
                    log_path = stand.site_dir(site) / "logs" / f"{name}.log"
                    raise StandError(
                        f"{name} of {site} ended while waiting that {what}; {last_words(log_path)}"
                    )
        if time.monotonic() > end:
            raise StandError(
                f"waited in vain that {what}; see `biyi stand status` and `biyi stand logs <site>`"
            )
        await asyncio.sleep(_LOOK_EVERY_S)


async def _until_all_answer(http: aiohttp.ClientSession, stand: Stand, service: str, end: float) -> None:
    async def all_answer() -> bool:
        return all([await _answers(http, stand, site, service) for site in DATA_SITES])

    await _until(stand, end, f"the {service} of each site is ready", all_answer)


async def _has_leader(http: aiohttp.ClientSession, stand: Stand) -> bool:
    return await leader_site(http, stand) is not None


async def _answers(http: aiohttp.ClientSession, stand: Stand, site: Site, service: str) -> bool:
    path = {"api": "/readyz", "console": "/healthz"}.get(service, "/v1/status")
    try:
        url = f"https://{LOOPBACK}:{stand.port(site, service)}{path}"
        async with http.get(url, ssl=stand.calling(service)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def cells_serve(http: aiohttp.ClientSession, stand: Stand) -> bool:
    """Say whether every grant is SYNC with the other site, its primary open, and its whole sync set follows.

    The grant alone is not enough: it outlives a clean stop of everything.
    """
    try:
        async with Etcd([stand.etcd_url(site) for site in Site], stand.calling("etcd")) as etcd:
            grants = (await read_world(etcd)).grants
    except EtcdUnavailable:
        return False
    places: dict[str, Any] = {}
    for site in DATA_SITES:
        with suppress(aiohttp.ClientError, TimeoutError, ValueError):
            url = f"https://{LOOPBACK}:{stand.port(site, 'agent')}/v1/status"
            async with http.get(url, ssl=stand.calling("agent")) as response:
                places |= (await response.json())["places"]
    return all(
        cell.name in grants
        and _serves(grants[cell.name].grant, places.get(grants[cell.name].grant.primary.place))
        for cell in stand.cells
    )


def _serves(grant: Grant, place: dict[str, Any] | None) -> bool:
    own = ((place or {}).get("seen") or {}).get("own") or {}
    following = {follower["copy"] for follower in own.get("followers", ())}
    across = any(copy.site is not grant.primary.site for copy in grant.sync_set)
    in_sync = grant.mode is Mode.SYNC and across and {str(copy) for copy in grant.sync_set} <= following
    return in_sync and bool(own.get("open"))


def plain_up(done: UpDone) -> str:
    """Return the JSON form of what `up` did."""
    stand = done.stand
    entrances = {site: f"https://{LOOPBACK}:{stand.port(site, 'api')}" for site in DATA_SITES}
    plain = {"seconds": round(done.seconds, 2), "home": str(stand.home), "entrances": entrances}
    plain["consoles"] = {site: f"https://{LOOPBACK}:{stand.port(site, 'console')}/" for site in DATA_SITES}
    plain["authority"] = str(authority_file(stand.home))
    return json.dumps({**plain, "started": done.started, "healed_links": done.healed})
