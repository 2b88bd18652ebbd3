"""The agent of a data site, or of some of its copies: beats, one loop a copy, and a small HTTP face.

`python -m replication.agent --settings .biyi/idc/site.json`; SIGTERM stops the copies cleanly.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import aiohttp
import click
from aiohttp import web

from replication.backup.service import keep_service_running
from replication.beats import plan_beats
from replication.etcd import Etcd, EtcdUnavailable
from replication.exposure_keeper import ExposureKeeper
from replication.failover.loop import CopyLoop
from replication.failover.states import CopyState, Seen
from replication.failover.view import SiteView
from replication.forced import Forcing
from replication.forced import routes as forced_routes
from replication.gate import admit_only
from replication.grants import HOLD
from replication.health import health_served
from replication.journal import encode
from replication.memory import settle_memory
from replication.metrics import AgentSnapshot, agent_figures, health_routes, metrics_routes
from replication.model import Beat, Site
from replication.postgres.renewal import keep_telling
from replication.settings import PlaceSettings, SettingsError, SiteSettings, read_site_settings
from replication.tls import OPERATOR, open_identity
from replication.watchdog import Heartbeat, heartbeat_path

log = logging.getLogger("biyi.agent")

LEADER_SECONDS = 5.0
"""Pause between two looks at where etcd's leader is. Source: our choice, far above an election."""
WATCHDOG_PAUSE_SECONDS = 1.0
"""Pause before a watchdog that ended is started again. Source: our choice."""
AGENTS_ASK = frozenset({"/v1/probe", "/v1/status"})
"""All that another agent asks: whether it lives, and before a forced promotion what it sees."""
CONSOLE_ASKS = frozenset({"/v1/status"})
"""All that a web console asks: it shows, and does nothing."""
MOVE_SECONDS = 20.0
"""How long a move request waits for its end. Source: our choice, far above the 1 s a move takes."""


async def show_life(view: SiteView, heartbeat: Heartbeat) -> None:
    """Beat for the watchdog after each look: it ends the site's primaries when this loop stands still.

    Not while they should have ended already: an agent that freezes, wakes and crashes would otherwise buy
    a primary that nobody confirms the watchdog's whole patience once more, and again.
    """
    look = 0
    while True:
        look = await view.next_look(look)
        if not view.sight.is_overdue():
            heartbeat.beat()


MakeLoop = Callable[[SiteSettings, PlaceSettings, SiteView, Etcd], CopyLoop]
"""Makes the loop of one own place."""


class Agent:
    """The agent of one data site, or of those of its copies that have a directory in the settings."""

    def __init__(
        self,
        settings: SiteSettings,
        etcd: Etcd,
        session: aiohttp.ClientSession,
        make_loop: MakeLoop = CopyLoop.of_place,
    ) -> None:
        self.settings = settings
        self.etcd = etcd
        self.silent_members: frozenset[str] = frozenset()
        """Etcd members that did not answer at the last look (`LEADER_SECONDS` ago at most)."""
        self.view = SiteView(settings, etcd, session)
        self.loops = {
            place.name: make_loop(settings, place, self.view, etcd) for place in settings.agent_places()
        }
        self.forcing = Forcing(settings, self.view, self.loops, session)

    async def run(self) -> None:
        """Beat, look and loop until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.view.run())
            tasks.create_task(show_life(self.view, Heartbeat(heartbeat_path(self.settings))))
            tasks.create_task(self._beat())
            tasks.create_task(self._keep_leader_at_witness())
            tasks.create_task(keep_telling(self.settings))
            tasks.create_task(ExposureKeeper(self.settings, self.view, self.loops.values(), self.etcd).run())
            for name, loop in self.loops.items():
                tasks.create_task(_kept_running(loop), name=name)

    async def shut_down(self) -> None:
        """Stop all copies of the site cleanly, side by side; one that does not stop is left to its fence."""
        ended = await asyncio.gather(
            *(loop.shut_down() for loop in self.loops.values()), return_exceptions=True
        )
        for place, error in zip(self.loops, ended, strict=True):
            if isinstance(error, BaseException):
                log.error("%s did not stop: %s: %s", place, type(error).__name__, error)

    async def _beat(self) -> None:
        """Write the agent's beats, under a lease of its own."""
        limits = self.settings.failover
        agent, count, lease = secrets.token_hex(4), 0, 0
        while True:
            count += 1
            down = frozenset(str(loop.down) for loop in self.loops.values() if loop.down)
            full = full_disks(loop.seen for loop in self.loops.values())
            beat = Beat(self.settings.site, agent, count, down, full, holds(self.loops.values()))
            try:
                renewal_due = count % max(1, limits.site_lease_seconds * 1000 // 3 // limits.beat_ms) == 1
                if not lease or (renewal_due and not await self.etcd.keep_lease(lease)):
                    lease = await self.etcd.grant_lease(limits.site_lease_seconds)
                for key, planned in plan_beats(self.settings, self.view.sight, beat).items():
                    await self.etcd.put(key, planned.to_json(), lease=lease)
            except EtcdUnavailable as error:
                log.warning("beat not written: %s", error)
                lease = 0
            await asyncio.sleep(limits.beat_ms / 1000)

    async def _keep_leader_at_witness(self) -> None:
        """The loss of a data site then costs no etcd election (research failover §1c)."""
        while True:
            await asyncio.sleep(LEADER_SECONDS)
            try:
                self.silent_members = await self.etcd.silent_members()
                if not await self.etcd.lead_at(Site.WITNESS):
                    log.info("etcd's leadership was handed to the witness")
            except EtcdUnavailable as error:
                log.warning("etcd's leader not asked: %s", error)


def full_disks(looks: Iterable[Seen | None]) -> frozenset[str]:
    """Return the copies that were last seen on a full disk."""
    return frozenset(str(seen.own.copy) for seen in looks if seen and seen.own.copy and seen.own.disk_full)


def holds(loops: Iterable[CopyLoop]) -> frozenset[str] | None:
    """Return the own places with data, broken ones too; None until each has been looked at."""
    seen = [loop.seen for loop in loops]
    if not all(seen):
        return None
    return frozenset(s.own.place for s in seen if s and s.own.state is not CopyState.ABSENT)


async def _kept_running(loop: CopyLoop) -> None:
    """A round that fails in an unforeseen way is logged, and the next round looks at the world anew."""
    while True:
        try:
            await loop.run()
        except Exception:
            log.exception("round of %s failed", loop.place.name)
            await asyncio.sleep(1)


def status(agent: Agent) -> dict[str, object]:
    """Return what the agent sees and decides, for `biyi cells` and `biyi why`."""
    world = agent.view.sight.world
    return {
        "site": agent.settings.site,
        "etcd_members_silent": sorted(agent.silent_members),
        "etcd_answers": agent.view.sight.read_ok,
        "silent_for_ms": dict(agent.view.sight.silent_for_ms),
        "hold": world.hold if world else False,
        "exposures": encode(world.exposures) if world else {},
        "grants": {cell: encode(g.grant) for cell, g in world.grants.items()} if world else {},
        "places": {
            name: {"seen": encode(loop.seen), "decision": encode(loop.decision), "down": encode(loop.down)}
            for name, loop in agent.loops.items()
        },
    }


def snapshot(agent: Agent) -> AgentSnapshot:
    """Return what the agent knows now, for its metrics and probes."""
    sight = agent.view.sight
    return AgentSnapshot(
        site=agent.settings.site,
        world=sight.world,
        etcd_answers=sight.read_ok,
        members_silent=len(agent.silent_members),
        silent_for_ms=dict(sight.silent_for_ms),
        places={name: (loop.seen, loop.decision) for name, loop in agent.loops.items()},
    )


async def move(agent: Agent, cell: str, to: Site) -> Mapping[str, object]:
    """Move a cell whose primary stands here to the other data site; wait for the end, bounded."""
    world = agent.view.sight.world
    seen = world.grants.get(cell) if world else None
    if seen is None:
        return {"outcome": "refused", "why": f"no grant of a cell {cell!r} is known here"}
    if seen.grant.primary.site is to:
        return {"outcome": "done", "why": "the primary stands there already", "epoch": seen.grant.epoch}
    loop = agent.loops.get(seen.grant.primary.place)
    if loop is None:
        return {"outcome": "refused", "why": f"the primary is at {seen.grant.primary.site}: ask its agent"}
    if not any(copy.site is to for copy in seen.grant.sync_set):
        return {"outcome": "refused", "why": f"no copy at {to} is in the sync set, so none may be promoted"}
    full = loop.seen.disk_full if loop.seen else frozenset()
    if any(str(copy) in full for copy in seen.grant.sync_set if copy.site is to):
        return {"outcome": "refused", "why": f"the disk of the copy at {to} is full: free space there first"}
    loop.ask_move(to)
    try:
        return await _wait_for_move(agent, cell, to, seen.grant.epoch)
    finally:
        loop.ask_move(None)


async def _wait_for_move(agent: Agent, cell: str, to: Site, epoch_before: int) -> Mapping[str, object]:
    look = agent.view.looks
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(MOVE_SECONDS):
            while True:
                look = await agent.view.next_look(look)
                now = agent.view.sight.world.grants[cell].grant if agent.view.sight.world else None
                if now and now.candidate is None and now.epoch > epoch_before and now.primary.site is to:
                    return {"outcome": "done", "why": "moved", "epoch": now.epoch}
    return {"outcome": "unknown", "why": f"not settled after {MOVE_SECONDS:g} s; see `biyi why {cell}`"}


def routes(agent: Agent) -> web.RouteTableDef:
    """Return the agent's HTTP face."""
    table = web.RouteTableDef()

    @table.get("/v1/probe")
    async def probe(_: web.Request) -> web.Response:
        waits_ms, places = agent.view.sight.promise(), sorted(agent.loops)
        return web.json_response({"site": agent.settings.site, "waits_ms": waits_ms, "places": places})

    @table.get("/v1/status")
    async def get_status(_: web.Request) -> web.Response:
        return web.json_response(status(agent))

    @table.post("/v1/cells/{cell}/move")
    async def post_move(request: web.Request) -> web.Response:
        try:
            to = Site((await request.json())["to"])
        except (ValueError, KeyError, TypeError):
            return web.json_response({"outcome": "refused", "why": 'body needs {"to": site}'}, status=422)
        answer = await move(agent, request.match_info["cell"], to)
        return web.json_response(
            answer, status={"done": 200, "refused": 409}.get(str(answer["outcome"]), 504)
        )

    @table.put("/v1/hold")
    async def hold(_: web.Request) -> web.Response:
        await agent.etcd.put(HOLD, "held")
        return web.json_response({"hold": True})

    @table.delete("/v1/hold")
    async def release(_: web.Request) -> web.Response:
        await agent.etcd.delete(HOLD)
        return web.json_response({"hold": False})

    return table


async def keep_watchdog(path: Path) -> None:
    """Keep a watchdog running beside this agent; cancelled, it ends the watchdog."""
    command = (sys.executable, "-m", "replication.watchdog", "--settings", str(path), "--agent")
    while True:
        process = await asyncio.create_subprocess_exec(*command, str(os.getpid()))
        try:
            log.error("the watchdog ended with %d", await process.wait())
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        await asyncio.sleep(WATCHDOG_PAUSE_SECONDS)


async def serve(settings: SiteSettings, path: Path) -> None:
    """Run the agent until SIGTERM or SIGINT, then stop the copies cleanly."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with (
        open_identity(settings.tls_dir, "agent") as identity,
        Etcd(settings.etcd_urls, identity.to("etcd")) as etcd,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=identity.to("agent")), trust_env=False
        ) as session,
    ):
        agent = Agent(settings, etcd, session)
        application = web.Application(
            middlewares=admit_only(
                identity,
                asking={"agent", "console", OPERATOR},
                only={"agent": AGENTS_ASK, "console": CONSOLE_ASKS},
            )
        )
        application.add_routes(routes(agent))
        application.add_routes(forced_routes(agent.forcing))
        application.add_routes(metrics_routes(lambda: agent_figures(snapshot(agent))))
        health = health_routes(
            settings, lambda: snapshot(agent), lambda: agent.view.next_look(agent.view.looks)
        )
        application.add_routes(health)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        address = (settings.listen_host, settings.agent_port)
        await web.TCPSite(runner, *address, ssl_context=identity.serving()).start()
        watchdog = asyncio.create_task(keep_watchdog(path))
        running = asyncio.create_task(agent.run())
        backups = asyncio.create_task(_keep_backups(settings, path))
        stopping = asyncio.create_task(stop.wait())
        async with health_served(settings, identity, health):
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await agent.shut_down()  # the archive gets the last WAL before its process ends
        watchdog.cancel()
        backups.cancel()
        await asyncio.gather(watchdog, backups, return_exceptions=True)
        await runner.cleanup()


async def _keep_backups(settings: SiteSettings, path: Path) -> None:
    """Keep the site's backup process running; without backup settings there is none."""
    if settings.backup is not None:
        await keep_service_running(path, settings.home_dir / "logs" / "backup.log")


@click.command()
@click.option(
    "--settings", "path", type=click.Path(path_type=Path), required=True, help="site.json of the site"
)
def main(path: Path) -> None:
    """Run the agent of one data site."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = read_site_settings(path)
        settings.require_agent()
    except SettingsError as error:
        click.echo(error, err=True)
        sys.exit(2)
    settle_memory()
    asyncio.run(serve(settings, path))


if __name__ == "__main__":
    main()
