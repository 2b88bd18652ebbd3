"""The agents' cost from 2 to 64 idle cells, and far more: real agents and a real etcd, modelled PostgreSQL.

`python -m bench.idle_cells [--cells 2 --cells 64 …] [--seconds 20] [--json]`; writes
bench/results/idle-cells.json. Two cores do not hold 64 cells' PostgreSQL servers, so each copy here is a
server at rest that answers at once (`IdleServer`); agents, grants, beats, journal and etcd are those of
production. `bench/cost_at_rest.py` measures whole cells, as many as the machine holds.
"""

import asyncio
import contextlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import aiohttp
import click
import psutil
from rich.console import Console
from rich.table import Table

from bench.cost_at_rest import cpu_seconds
from replication.agent import Agent
from replication.etcd import Etcd
from replication.failover.act import Actor
from replication.failover.loop import CopyLoop, CopyRound
from replication.failover.observe import CopyObserver
from replication.failover.ports import CopyServer, Directory
from replication.failover.states import Step
from replication.failover.view import SiteView, now_ms
from replication.grants import GRANTS, PREFIX, parse_world
from replication.journal import Journal
from replication.model import DATA_SITES, CopyId, Grant, Mode, Site, other_data_site
from replication.postgres.observe import Follower, ServerStatus
from replication.settings import PlaceSettings, SiteSettings, read_site_settings
from replication.tls import open_identity
from runbooks.stand.etcd_leader import lead_at_witness
from runbooks.stand.home import UpOptions, prepare_stand, wipe
from runbooks.stand.sites import start_missing
from runbooks.stand.topology import Stand, make_cells
from runbooks.stand.up import down, find_binaries

RESULT = Path(__file__).parent / "results" / "idle-cells.json"
SETTLE_SECONDS = 2.0
"""Pause after each loop has decided something, so that the first looks are over. Source: our choice."""
READY_SECONDS = 60.0
"""Patience with that: two processes start and look for the first time. Source: our choice, far above."""
FLUSHED = 1 << 24
"""Where every idle copy's WAL ends, in bytes."""
LEADER_SECONDS = 20.0
"""Patience with etcd's first election. Source: our choice, ten times what it takes."""


def copy_at(place: PlaceSettings) -> CopyId:
    """Return the id of the one copy that ever stood at `place`."""
    return CopyId(place.cell, place.site, place.ordinal, "0")


class IdleServer:
    """A copy's server at rest: a primary that nobody asks anything, or the standby that follows it.

    Only looks are modelled: at rest the agent carries nothing out, and whatever it tried would be an
    AttributeError in its log and a decision other than HOLD in the result.
    """

    def __init__(self, settings: SiteSettings, place: PlaceSettings) -> None:
        self.place = place
        self._primary = settings.cell(place.cell).home is place.site
        self._peer = next(p for p in settings.places if p.cell == place.cell and p.site is not place.site)

    async def read_directory(self) -> Directory:
        """Return a whole directory whose server runs."""
        return Directory(True, False, True, not self._primary, copy_at(self.place))

    async def read_status(self) -> ServerStatus:
        """Return what such a server says; the token moves as its standby's replies do."""
        token = str(time.monotonic_ns())
        follower = Follower(copy_at(self._peer), "streaming", FLUSHED, FLUSHED, token)
        return ServerStatus(
            in_recovery=not self._primary,
            timeline=1,
            wal_flush_lsn=FLUSHED if self._primary else 0,
            received_lsn=FLUSHED,
            replayed_lsn=FLUSHED,
            receiver_state=None if self._primary else "streaming",
            receiver_message_token=token,
            upstream=None if self._primary else (self._peer.host, self._peer.port),
            sync_names=frozenset({copy_at(self._peer)}) if self._primary else frozenset(),
            followers=(follower,) if self._primary else (),
            epoch=1,
        )

    def is_open(self) -> bool:
        """Say that a primary admits clients."""
        return self._primary

    async def release(self) -> None:
        """Nothing to drop."""


def idle_loop(settings: SiteSettings, place: PlaceSettings, view: SiteView, etcd: Etcd) -> CopyLoop:
    """Return production's loop over an idle server."""
    server = cast(CopyServer, IdleServer(settings, place))
    journal = Journal(settings.home_dir / "journal" / f"{place.name}.jsonl", place.cell)
    actor = Actor(settings, server, etcd, journal)
    one = CopyRound(settings.failover, CopyObserver(settings, server, view.sight, now_ms), actor, journal)
    return CopyLoop(place, view, one, server, journal)


def with_cells(settings: SiteSettings, count: int) -> SiteSettings:
    """Return the settings with `count` cells of two places each; no server listens at their ports.

    An agent looks after the places that have a directory; nobody looks into these.
    """
    nowhere = settings.home_dir / "nowhere"
    cells = make_cells(count)
    pairs = [(cell.name, site) for cell in cells for site in DATA_SITES]
    places = tuple(
        PlaceSettings(
            f"{cell}-{site}-0", cell, site, 0, "127.0.0.1", number, nowhere if site is settings.site else None
        )
        for number, (cell, site) in enumerate(pairs)
    )
    return replace(settings, cells=cells, places=places)


async def run_agent(settings: SiteSettings) -> Counter[str]:
    """Run the site's agent until SIGTERM; return the last decision of each of its loops, counted."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        open_identity(settings.tls_dir, "agent") as identity,
        Etcd(settings.etcd_urls, identity.to("etcd")) as etcd,
        aiohttp.ClientSession() as session,
    ):
        agent = Agent(settings, etcd, session, idle_loop)
        running = asyncio.create_task(agent.run())
        stopping = asyncio.create_task(stop.wait())
        while not all(loop.decision for loop in agent.loops.values()) and not running.done():
            await asyncio.sleep(0.1)
        click.echo("ready")
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return Counter(loop.decision.step.name if loop.decision else "NONE" for loop in agent.loops.values())


async def grant_all(stand: Stand, settings: SiteSettings) -> None:
    """Write each cell's grant as it is at rest: primary at home, the other copy in its sync set."""
    async with Etcd([stand.etcd_url(site) for site in Site], stand.calling("etcd")) as etcd:
        for cell in settings.cells:
            home = settings.place(f"{cell.name}-{cell.home}-0")
            away = settings.place(f"{cell.name}-{other_data_site(cell.home)}-0")
            grant = Grant(cell.name, 1, copy_at(home), frozenset({copy_at(away)}), Mode.SYNC)
            await etcd.put(GRANTS + cell.name, grant.to_json())


@contextlib.asynccontextmanager
async def real_etcd(home: Path) -> AsyncIterator[Stand]:
    """Run the three etcd members of a stand, led at the witness, and nothing else of it."""
    stand = prepare_stand(home, UpOptions(backups=False))
    try:
        for site in Site:
            start_missing(stand, site, find_binaries(), ("border", "etcd"))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            async with asyncio.timeout(LEADER_SECONDS):
                while not await lead_at_witness(http, stand):
                    continue
        yield stand
    finally:
        down(home)


async def started_agent(stand: Stand, site: Site, cells: int) -> asyncio.subprocess.Process:
    """Start the site's agent over `cells` idle cells as a process of its own."""
    path = stand.site_dir(site) / "site.json"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.idle_cells", "--agent", str(path), "--cells", str(cells),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class EtcdSeen:
    """One read of all that is shared: etcd's revision (it grows by one a write), and what was written."""

    revision: int
    beats: int
    """Beats that the agents of both sites have written in their lives."""
    grants: frozenset[tuple[str, int]]
    """Each cell's grant by its own revision."""


async def look_at_etcd(stand: Stand) -> EtcdSeen:
    """Read it, linearizably and at once, so that its parts belong together."""
    async with Etcd([stand.etcd_url(site) for site in Site], stand.calling("etcd")) as etcd:
        snapshot = await etcd.read_prefix(PREFIX)
    world = parse_world(snapshot)
    grants = frozenset((cell, seen.revision) for cell, seen in world.grants.items())
    return EtcdSeen(snapshot.revision, sum(beat.count for beat in world.beats.values()), grants)


async def measure(cells: int, seconds: float, home: Path) -> dict[str, Any]:
    """Measure `cells` idle cells for `seconds`."""
    async with real_etcd(home) as stand:
        await grant_all(stand, with_cells(read_site_settings(stand.site_dir(Site.IDC) / "site.json"), cells))
        agents = [await started_agent(stand, site, cells) for site in DATA_SITES]
        try:
            async with asyncio.timeout(READY_SECONDS):
                await asyncio.gather(*(agent.stdout.readline() for agent in agents if agent.stdout))
            await asyncio.sleep(SETTLE_SECONDS)
            looked = [psutil.Process(agent.pid) for agent in agents]
            begun, before = time.monotonic(), await look_at_etcd(stand)
            used, etcd_used = _cpu(looked), cpu_seconds(stand)["etcd"]
            await asyncio.sleep(seconds)
            lasted, after = time.monotonic() - begun, await look_at_etcd(stand)
            used, etcd_used = _cpu(looked) - used, cpu_seconds(stand)["etcd"] - etcd_used
            memory = max(process.memory_info().rss for process in looked)
        finally:
            said = await asyncio.gather(*(_end(agent) for agent in agents))
    decisions = sum((Counter(one) for one in said), Counter[str]())
    writes, beats = after.revision - before.revision, after.beats - before.beats
    return {
        "cells": cells,
        "etcd_writes_per_second": writes / lasted,
        "writes_beside_beats": writes - beats,
        "grants_changed": len(after.grants - before.grants),
        "loops_at_rest": decisions[Step.HOLD.name],
        "agent_cpu_cores_per_site": used / lasted / len(agents),
        "etcd_cpu_cores": etcd_used / lasted,
        "agent_memory_mb": memory / 1e6,
    }


def _cpu(processes: list[psutil.Process]) -> float:
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


async def _end(agent: asyncio.subprocess.Process) -> dict[str, int]:
    """End an agent and return its decisions; what does not end in time is killed and decided nothing."""
    if agent.returncode is None:
        agent.terminate()
    try:
        async with asyncio.timeout(20):
            said, _ = await agent.communicate()
    except TimeoutError:
        agent.kill()
        await agent.wait()
        return {}
    return dict(json.loads(said)) if said else {}


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows for people."""
    heads = (
        "cells",
        "writes/s",
        "beside beats",
        "at rest",
        "agent % of a core",
        "etcd %",
        "agent MB",
    )
    table = Table(*heads, title="Idle cells: real agents and etcd, modelled PostgreSQL")
    for row in rows:
        table.add_row(
            str(row["cells"]),
            f"{row['etcd_writes_per_second']:.2f}",
            str(row["writes_beside_beats"]),
            f"{row['loops_at_rest']} of {2 * row['cells']}",
            f"{100 * row['agent_cpu_cores_per_site']:.1f}",
            f"{100 * row['etcd_cpu_cores']:.1f}",
            f"{row['agent_memory_mb']:.0f}",
        )
    Console().print(table)


@contextlib.contextmanager
def fresh_home() -> Iterator[Path]:
    """Give a directory for a stand, and leave nothing of it."""
    home = Path(tempfile.mkdtemp(prefix="biyi-bench-"))
    try:
        yield home
    finally:
        wipe(home)
        shutil.rmtree(home)


@click.command()
@click.option("--cells", "counts", type=click.IntRange(1, 10_000), multiple=True, default=(2, 8, 64))
@click.option("--seconds", default=20.0, show_default=True, help="Length of each measurement.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
@click.option("--agent", type=click.Path(path_type=Path), hidden=True, help="Be a site's agent.")
def main(counts: tuple[int, ...], seconds: float, as_json: bool, agent: Path | None) -> None:
    """Measure idle cells and write bench/results/idle-cells.json."""
    if agent is not None:
        click.echo(json.dumps(asyncio.run(run_agent(with_cells(read_site_settings(agent), counts[0])))))
        return
    rows = []
    for cells in counts:
        Console(stderr=True).print(f"{cells} cells …")
        with fresh_home() as home:
            rows.append(asyncio.run(measure(cells, seconds, home)))
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "seconds": seconds,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        show(rows)
    sys.exit(any(row["loops_at_rest"] != 2 * row["cells"] or row["writes_beside_beats"] for row in rows))


if __name__ == "__main__":
    main()
