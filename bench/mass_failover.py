"""Many cells lose a site at once: real agents and a real etcd, modelled PostgreSQL.

`python -m bench.mass_failover [--cells 2 --cells 64 …] [--json]`; writes bench/results/mass-failover.json.
One site's agent is killed (SIGKILL) and its copies' servers are gone with it. The other site takes over the
half of the cells that were at home there, and releases the sync set of its own. Two cores do not hold 64
cells' PostgreSQL servers: a modelled one promotes as long as a real one (`PROMOTION_SECONDS`), any number at
once; so the figures say what agents and etcd add to that, and nothing about a disk that many share.
"""

import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import click
from rich.console import Console
from rich.table import Table

from bench._stand import percentile, write_result
from bench.idle_cells import FLUSHED, IdleServer, copy_at, fresh_home, grant_all, real_etcd, with_cells
from replication.agent import Agent
from replication.etcd import Etcd
from replication.failover.act import Actor
from replication.failover.loop import CopyLoop, CopyRound
from replication.failover.observe import CopyObserver
from replication.failover.ports import CopyServer
from replication.failover.view import SiteView, now_ms
from replication.journal import Journal
from replication.model import DATA_SITES, CopyId, Site
from replication.postgres.observe import ServerStatus
from replication.settings import PlaceSettings, SiteSettings, read_site_settings
from replication.tls import open_identity
from runbooks.stand.topology import Stand

PROMOTION_SECONDS = 0.123
"""What a promotion takes. Source: bench/results/peers.json, promotion_s, median of ten real ones."""
COMMIT_SECONDS = 0.005
"""What a marker's commit takes. Source: our choice, a slow disk's flush."""
REST_SECONDS = 3.0
"""Rest before the loss, so that each agent has heard the other. Source: our choice, three silences."""
MOST_SECONDS = 60.0
"""Patience with all cells. Source: our choice, far above the promise of 5 s."""


class LosableServer(IdleServer):
    """A copy's server beside a site that can be lost: what a takeover and a leave ask of it, and no more."""

    def __init__(self, settings: SiteSettings, place: PlaceSettings) -> None:
        super().__init__(settings, place)
        self._lost_file = settings.home_dir.parent / "lost"
        self._timeline, self._epoch = 1, 1
        self._receives, self._names = not self._primary, {copy_at(self._peer)} if self._primary else set()
        self._opened = self._primary
        self.done_at: float | None = None
        """Monotonic seconds at which its customers were served again: opened here, or waiting for nobody."""

    async def read_status(self) -> ServerStatus:
        """Return what such a server says; at the loss of the other site all its connections break."""
        seen = await super().read_status()
        lost = self._lost_file.exists()
        return ServerStatus(
            in_recovery=not self._primary,
            timeline=self._timeline,
            wal_flush_lsn=FLUSHED if self._primary else 0,
            received_lsn=FLUSHED,
            replayed_lsn=FLUSHED,
            receiver_state="streaming" if self._receives and not lost else None,
            receiver_message_token=seen.receiver_message_token,
            upstream=seen.upstream,
            sync_names=frozenset(self._names),
            followers=() if lost or not self._primary else seen.followers,
            epoch=self._epoch,
        )

    def is_open(self) -> bool:
        """Say whether it admits clients."""
        return self._opened

    async def stop_receiver(self, _own_id: CopyId) -> None:
        """Receive nothing more."""
        self._receives = False

    async def promote(self, timeline: int, timeout_seconds: float) -> int:
        """Become a primary, in the time that it takes."""
        async with asyncio.timeout(timeout_seconds):
            await asyncio.sleep(PROMOTION_SECONDS)
        self._primary, self._timeline = True, timeline or self._timeline + 1
        return self._timeline

    async def write_marker(self, epoch: int, _own_id: CopyId, _timeout_seconds: float) -> int:
        """Commit the epoch's row."""
        await asyncio.sleep(COMMIT_SECONDS)
        self._epoch = epoch
        return FLUSHED

    async def set_sync_names(self, names: frozenset[CopyId]) -> None:
        """Wait for these from now on."""
        self._names = set(names)
        if self._opened and not names:
            self.done_at = time.monotonic()

    async def open_to_clients(self) -> None:
        """Admit clients."""
        self._opened, self.done_at = True, time.monotonic()


async def run_agent(settings: SiteSettings) -> dict[str, Any]:
    """Run the site's agent until SIGTERM; when each cell was served again, or why it was not."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    servers: dict[str, LosableServer] = {}

    def make_loop(settings: SiteSettings, place: PlaceSettings, view: SiteView, etcd: Etcd) -> CopyLoop:
        servers[place.name] = LosableServer(settings, place)
        server = cast(CopyServer, servers[place.name])
        journal = Journal(settings.home_dir / "journal" / f"{place.name}.jsonl", place.cell)
        actor = Actor(settings, server, etcd, journal)
        observer = CopyObserver(settings, server, view.sight, now_ms)
        return CopyLoop(place, view, CopyRound(settings.failover, observer, actor, journal), server, journal)

    async with (
        open_identity(settings.tls_dir, "agent") as identity,
        Etcd(settings.etcd_urls, identity.to("etcd")) as etcd,
        aiohttp.ClientSession() as session,
    ):
        agent = Agent(settings, etcd, session, make_loop)
        running = asyncio.create_task(agent.run())
        stopping = asyncio.create_task(stop.wait())
        while not all(loop.decision for loop in agent.loops.values()) and not running.done():
            await asyncio.sleep(0.1)
        click.echo("ready")
        waited_for = asyncio.create_task(_all_served(servers))
        await asyncio.wait({running, stopping, waited_for}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, waited_for):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return {
            name: str(agent.loops[name].decision) if server.done_at is None else server.done_at
            for name, server in servers.items()
        }


async def _all_served(servers: dict[str, LosableServer]) -> None:
    while any(server.done_at is None for server in servers.values()):
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def two_agents(stand: Stand, cells: int) -> AsyncIterator[dict[Site, asyncio.subprocess.Process]]:
    """Run both sites' agents over `cells` cells, each a process; none is left."""
    agents = {}
    for site in DATA_SITES:
        path = stand.site_dir(site) / "site.json"
        words = ("-m", "bench.mass_failover", "--agent", str(path), "--cells", str(cells))
        agents[site] = await asyncio.create_subprocess_exec(
            sys.executable, *words, stdout=asyncio.subprocess.PIPE, limit=2**24
        )
    try:
        ready = asyncio.gather(*(agent.stdout.readline() for agent in agents.values() if agent.stdout))
        try:
            await asyncio.wait_for(ready, MOST_SECONDS)
        except TimeoutError as late:
            raise click.ClickException(f"agents not ready after {MOST_SECONDS:g} s") from late
        yield agents
    finally:
        for agent in agents.values():
            if agent.returncode is None:
                agent.kill()
            await agent.wait()


async def lose_site(cells: int, home: Path) -> dict[str, Any]:
    """Lose idc once; the seconds until each cell was served again at the other site."""
    async with real_etcd(home) as stand:
        settings = with_cells(read_site_settings(stand.site_dir(Site.IDC) / "site.json"), cells)
        await grant_all(stand, settings)
        async with two_agents(stand, cells) as agents:
            await asyncio.sleep(REST_SECONDS)
            lost_at = time.monotonic()
            (home / "lost").touch()
            agents[Site.IDC].kill()
            telling = asyncio.create_task(agents[Site.CLOUD].communicate())
            if not (await asyncio.wait({telling}, timeout=MOST_SECONDS))[0]:
                agents[Site.CLOUD].terminate()  # it then says what it waits for
            said = json.loads((await asyncio.wait_for(telling, MOST_SECONDS))[0])
    if waits := {name: why for name, why in said.items() if isinstance(why, str)}:
        some = "; ".join(f"{name}: {why}" for name, why in sorted(waits.items())[:3])
        raise click.ClickException(
            f"{len(waits)} of {len(said)} cells not served after {MOST_SECONDS:g} s: {some}"
        )
    served = {name: at - lost_at for name, at in said.items()}
    homes = {cell.name: cell.home for cell in settings.cells}
    taken = [s for name, s in served.items() if homes[settings.place(name).cell] is Site.IDC]
    kept = [s for name, s in served.items() if homes[settings.place(name).cell] is Site.CLOUD]
    return {"cells": cells, "taken_over": _spread(taken), "released": _spread(kept)}


def _spread(seconds: list[float]) -> dict[str, Any]:
    return {
        "cells": len(seconds),
        "p50_seconds": round(statistics.median(seconds), 3),
        "p95_seconds": round(percentile(seconds, 0.95), 3),
        "max_seconds": round(max(seconds), 3),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows for people."""
    table = Table(
        "cells", "", "of them", "p50 s", "p95 s", "longest s", title="A site's loss with many cells"
    )
    for row in rows:
        for side in ("taken_over", "released"):
            one = row[side]
            figures = (one["cells"], one["p50_seconds"], one["p95_seconds"], one["max_seconds"])
            table.add_row(str(row["cells"]), side.replace("_", " "), *map(str, figures))
    Console().print(table)


@click.command()
@click.option("--cells", "counts", type=click.IntRange(2, 4_000), multiple=True, default=(2, 64, 1000))
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
@click.option("--agent", type=click.Path(path_type=Path), hidden=True, help="Be a site's agent.")
def main(counts: tuple[int, ...], as_json: bool, agent: Path | None) -> None:
    """Lose a site with so many cells and write bench/results/mass-failover.json."""
    if agent is not None:
        click.echo(json.dumps(asyncio.run(run_agent(with_cells(read_site_settings(agent), counts[0])))))
        return
    rows, busy = [], os.getloadavg()[0]
    for cells in counts:
        Console(stderr=True).print(f"{cells} cells …")
        with fresh_home() as home:
            rows.append(asyncio.run(lose_site(cells, home)))
    result = write_result("mass-failover", {"promotion_seconds": PROMOTION_SECONDS, "rows": rows}, busy)
    if as_json:
        click.echo(json.dumps(result))
    else:
        show(rows)


if __name__ == "__main__":
    main()
