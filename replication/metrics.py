"""What an agent tells Prometheus and Kubernetes: figures of cells and copies, and whether it lives, serves.

Figures are made when they are asked for, from what the loops saw last: nothing is counted on the side.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from replication.failover.states import CopyState, Decision, Seen, Stream
from replication.gate import METRICS
from replication.grants import World
from replication.model import Mode, Site
from replication.settings import SiteSettings

LIVE_SECONDS = 2.5
"""How long `/livez` waits for the next look. Source: our choice; a look is due each 0.1 s and takes at most
1.2 s while etcd's members all hang. Below the prober's patience of 3 s."""


@dataclass(frozen=True, slots=True)
class AgentSnapshot:
    """What the agent knows now; `world` is None until etcd answered once. Milliseconds."""

    site: Site
    world: World | None
    etcd_answers: bool
    members_silent: int
    silent_for_ms: Mapping[Site, int]
    places: Mapping[str, tuple[Seen | None, Decision | None]]


def agent_figures(now: AgentSnapshot) -> Iterator[Metric]:
    """Return the figures of one agent, all gauges; bytes, yuan, seconds as their names say."""
    yield _single("biyi_etcd_up", "1 while etcd answers this agent", now.etcd_answers)
    yield _single("biyi_etcd_members_silent", "etcd members that did not answer", now.members_silent)
    silent = Gauge("biyi_site_silent_seconds", "Since a data site's beat changed", labels=["peer"])
    for site, silent_ms in now.silent_for_ms.items():
        silent.add_metric([str(site)], silent_ms / 1000)
    yield silent
    if now.world is not None:
        yield from _cells(now.world)
    yield from _copies(now.places)


def _single(name: str, text: str, value: float) -> Gauge:
    return Gauge(name, text, value=float(value))


def _cells(world: World) -> Iterator[Metric]:
    epoch = Gauge("biyi_cell_epoch", "Grows by one when the primary changes", labels=["cell"])
    mode = Gauge("biyi_cell_mode", "1 for the mode the grant is in", labels=["cell", "mode"])
    primary = Gauge("biyi_cell_primary", "1 for the place of the primary", labels=["cell", "place", "at"])
    sync = Gauge("biyi_cell_sync_copies", "Copies beside the primary that have all", labels=["cell"])
    at_risk = Gauge("biyi_cell_exposed_bytes", "WAL that only the primary's site has", labels=["cell"])
    yuan = Gauge("biyi_cell_exposed_yuan", "Money moved in it, upper bound", labels=["cell"])
    for cell, seen in world.grants.items():
        grant = seen.grant
        epoch.add_metric([cell], grant.epoch)
        for each in Mode:
            mode.add_metric([cell, str(each)], float(grant.mode is each))
        primary.add_metric([cell, grant.primary.place, str(grant.primary.site)], 1)
        sync.add_metric([cell], len(grant.sync_set))
        exposure = world.exposures.get(grant.primary.site, {}).get(cell)
        # Not knowable is no figure: a 0 would say that nothing is at risk.
        if exposure is None or exposure.exposed_bytes is not None:
            at_risk.add_metric([cell], (exposure.exposed_bytes or 0) if exposure else 0)
        if exposure is None or exposure.moved_fen is not None:
            yuan.add_metric([cell], (exposure.moved_fen or 0) / 100 if exposure else 0)
    yield from (epoch, mode, primary, sync, at_risk, yuan)


def _copies(places: Mapping[str, tuple[Seen | None, Decision | None]]) -> Iterator[Metric]:
    state = Gauge("biyi_copy_state", "1 for the state of the own copy", labels=["place", "state"])
    serves = Gauge("biyi_copy_serves", "1 if it serves clients or follows a primary", labels=["place"])
    lag = Gauge("biyi_copy_lag_bytes", "WAL that a follower has not flushed", labels=["place", "follower"])
    full = Gauge("biyi_copy_disk_full", "1 while its disk is full", labels=["place"])
    step = Gauge("biyi_copy_decision", "1 for the last decision", labels=["place", "step", "why"])
    for place, (seen, decision) in places.items():
        if seen is not None:
            for each in CopyState:
                state.add_metric([place, str(each)], float(seen.own.state is each))
            serves.add_metric([place], float(is_serving(seen)))
            full.add_metric([place], float(seen.own.disk_full))
            for follower in seen.own.followers:
                behind = max(0, seen.own.wal_flush_lsn - follower.flush_lsn)
                lag.add_metric([place, follower.copy.place], behind)
        if decision is not None:
            step.add_metric([place, str(decision.step), str(decision.why)], 1)
    yield from (state, serves, lag, full, step)


def is_serving(seen: Seen) -> bool:
    """Say whether a copy does its part: an open primary, or a standby whose stream lives.

    A fenced copy does not, and is not dead for it.
    """
    own = seen.own
    return (own.state is CopyState.PRIMARY and own.open) or (
        own.state is CopyState.STANDBY and own.stream is Stream.ALIVE
    )


@dataclass(frozen=True, slots=True)
class _Figures(Collector):
    make: Callable[[], Iterator[Metric]]

    def collect(self) -> Iterator[Metric]:
        return self.make()


def metrics_registry(make: Callable[[], Iterator[Metric]]) -> CollectorRegistry:
    """Return a registry that asks `make` for its figures each time, with those of the process beside them."""
    registry = CollectorRegistry()
    registry.register(_Figures(make))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def metrics_routes(make: Callable[[], Iterator[Metric]]) -> web.RouteTableDef:
    """Return `GET /metrics` for a process with an aiohttp face."""
    table, registry = web.RouteTableDef(), metrics_registry(make)

    @table.get(METRICS)
    async def get_metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return table


def health_routes(
    settings: SiteSettings, take: Callable[[], AgentSnapshot], next_look: Callable[[], Awaitable[int]]
) -> web.RouteTableDef:
    """Return `/livez`: the agent still looks at the world, and `/readyz`: its own copies do their part.

    Own copies are those with a data directory here. `/livez` says nothing of them: to restart an agent for a
    fenced copy would take away the one that lifts the fence.
    """
    table = web.RouteTableDef()
    own = [place.name for place in settings.agent_places()]

    @table.get("/livez")
    async def livez(_: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(LIVE_SECONDS):
                await next_look()
        except TimeoutError:
            return web.json_response({"lives": False, "why": f"no look for {LIVE_SECONDS:g} s"}, status=503)
        return web.json_response({"lives": True})

    @table.get("/readyz")
    async def readyz(_: web.Request) -> web.Response:
        places = take().places
        waits = {}
        for name in own:
            seen, decision = places.get(name, (None, None))
            if seen is None or not is_serving(seen):
                waits[name] = {
                    "state": str(seen.own.state) if seen else "unknown",
                    "why": str(decision.why) if decision else "not looked at yet",
                }
        return web.json_response({"waits": waits}, status=503 if waits else 200)

    return table
