"""The steward of one data site: keeps the site's Kubernetes objects true to what etcd says.

`python -m replication.platform.steward --settings site.json --platform platform.json`. Any number may run at
once: a write is conditional on the version it was planned on and on the epoch (`writes.py`); nobody leads.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import click
from aiohttp import web

from replication.etcd import Etcd
from replication.failover.sight import SiteSight
from replication.failover.view import now_ms
from replication.gate import admit_only
from replication.grants import follow_grants, read_world
from replication.health import alive_routes, health_served
from replication.metrics import metrics_routes
from replication.model import DATA_SITES, Site, other_data_site
from replication.platform.cluster import (
    AUTOSCALERS,
    CELLS,
    DRILLS,
    PODS,
    SITES,
    SLICES,
    Cluster,
    ClusterUnavailable,
    Conflict,
    Kind,
    KubernetesCluster,
    open_client,
)
from replication.platform.drills import DrillRunner, is_forgotten, is_new, with_status
from replication.platform.figures import Figures
from replication.platform.lag import read_lags
from replication.platform.objects import (
    Look,
    is_lost,
    make_cell,
    make_sites,
    make_slice,
    plan_labels,
    plan_replicas,
    pod_name,
    slice_name,
)  # fmt: skip
from replication.platform.settings import PlatformSettings, read_platform_settings
from replication.platform.writes import Verb, Write, plan_autoscaler, plan_object, plan_pod, plan_slice
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import OPERATOR, open_identity

log = logging.getLogger("biyi.steward")

TELL_SECONDS = 2.0
"""Pause between two rounds when nothing happens. Source: our choice; six calls, whatever the cells."""
AGAIN_SECONDS = 1.0
"""Pause after the API server did not answer. Source: our choice."""
BREATH_SECONDS = 0.1
"""Least pause between two rounds: own writes come back as events. Source: our choice."""


class Steward:
    """Keeps one site's cluster true; holds nothing that is not in etcd or in the cluster."""

    def __init__(
        self,
        settings: SiteSettings,
        platform: PlatformSettings,
        etcd: Etcd,
        session: aiohttp.ClientSession,
        cluster: Cluster,
    ) -> None:
        self._settings = settings
        self._platform = platform
        self._etcd = etcd
        self._session = session
        self._cluster = cluster
        self._nudged = asyncio.Event()
        self._drills = DrillRunner(cluster, platform, session)
        self._sight = SiteSight(settings, lambda: read_world(etcd), now_ms)
        self.figures = Figures()

    async def run(self) -> None:
        """Look, watch and tell until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_often())
            tasks.create_task(self._listen())
            for kind in (DRILLS, SLICES):
                tasks.create_task(self._watch(kind))
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._nudged.wait(), TELL_SECONDS)
                self._nudged.clear()
                await self._tell_guarded(tasks)
                await asyncio.sleep(BREATH_SECONDS)

    async def _look_often(self) -> None:
        """Look at etcd as often as sites beat, whatever the API server does: silence is counted by looks."""
        lost: frozenset[Site] = frozenset()
        while True:
            await self._sight.look()
            silent = self._sight.silent_for_ms
            now = frozenset(s for s in DATA_SITES if silent[s] >= self._settings.failover.degrade_after_ms)
            if now != lost:
                log.info("sites that are silent: %s", sorted(now) or "none")
                self._nudged.set()
            lost = now
            await asyncio.sleep(self._settings.failover.beat_ms / 1000)

    async def _listen(self) -> None:
        async for _ in follow_grants(self._etcd):
            # The next round shall see what this event is about, not the look before it.
            await self._sight.look()
            self._nudged.set()

    async def _watch(self, kind: Kind) -> None:
        """Be nudged by each change of a kind; what was missed between two watches, the list shows."""
        while True:
            try:
                _, version = await self._cluster.list(kind)
                self._nudged.set()
                async for _ in self._cluster.watch(kind, version):
                    self._nudged.set()
            except Conflict as gone:
                log.info("watch begun anew: %s", gone)
                self.figures.watches_gone += 1
            except ClusterUnavailable:
                await asyncio.sleep(AGAIN_SECONDS)

    async def _tell_guarded(self, tasks: asyncio.TaskGroup) -> None:
        try:
            told = await self.tell(tasks)
        except ClusterUnavailable as error:
            if self.figures.cluster_up is not False:
                log.warning("the API server is not told: %s", error)
            self.figures.cluster_up = False
            await asyncio.sleep(AGAIN_SECONDS)
        except Exception:
            log.exception("a round failed")
            self.figures.cluster_up = False
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            if told and self.figures.cluster_up is False:
                log.info("the API server is told again")
            self.figures.cluster_up = True if told else None

    async def tell(self, tasks: asyncio.TaskGroup) -> bool:
        """Make one round; without etcd nothing is known and so nothing is written: False."""
        world = self._sight.world
        if world is None or not self._sight.read_ok:
            return False
        look = Look(
            grants=world.grants,
            silent_for_ms=dict(self._sight.silent_for_ms),
            beating=frozenset(world.beats),
            lag_bytes=await read_lags(self._session, self._platform, world.grants),
            exposures={c: e for site in world.exposures.values() for c, e in site.items()},
        )
        at = datetime.now(UTC)  # noqa: TID251 - for people only, nothing decides by it
        # What sends customers the wrong way, first.
        await self._tell_slices(look)
        replicas = await self._tell_autoscaler(look)
        await self._tell_pods(look)
        await self._tell_objects(look, replicas, at)
        await self._begin_drills(look, at, tasks)
        return True

    async def _tell_slices(self, look: Look) -> None:
        held = await self._held(SLICES)
        for cell, seen in sorted(look.grants.items()):
            primary = self._settings.place(seen.grant.primary.place)
            wanted = make_slice(seen.grant, self._platform, primary.port)
            name = slice_name(cell)
            await self._put(SLICES, name, plan_slice(held.get(name), wanted))

    async def _tell_pods(self, look: Look) -> None:
        held = await self._held(PODS)
        for place in self._settings.places:
            seen = look.grants.get(place.cell)
            if place.site is self._settings.site and seen is not None:
                name = pod_name(place.name)
                await self._put(PODS, name, plan_pod(held.get(name), plan_labels(place, seen.grant)))

    async def _tell_autoscaler(self, look: Look) -> int | None:
        """Keep the lower bound of API pods; return it, None where there is no autoscaler."""
        name = self._platform.autoscaler
        current = await self._cluster.read(AUTOSCALERS, name)
        if current is None:
            return None
        now: int = current["spec"].get("minReplicas", 1)
        wanted = plan_replicas(self._settings, self._platform, look, now)
        write = plan_autoscaler(current, wanted)
        if write.verb is Verb.PATCH:
            other = other_data_site(self._settings.site)
            why = "is lost" if is_lost(other, look, self._settings.failover) else "serves"
            log.info("API pods: at least %d instead of %d; %s %s", wanted, now, other, why)
        await self._put(AUTOSCALERS, name, write)
        highest: int = current["spec"]["maxReplicas"]
        return min(wanted, highest)

    async def _tell_objects(self, look: Look, replicas: int | None, at: datetime) -> None:
        cells = [make_cell(cell.name, cell.home, look) for cell in self._settings.cells]
        sites = make_sites(self._settings, self._platform, look, replicas)
        for kind, wanted in ((CELLS, cells), (SITES, sites)):
            await self._tell_each(kind, wanted, at)

    async def _tell_each(self, kind: Kind, wanted: Sequence[Mapping[str, Any]], at: datetime) -> None:
        held = await self._held(kind)
        for one in wanted:
            name = one["metadata"]["name"]
            await self._put(kind, name, plan_object(held.get(name), one, at))

    async def _begin_drills(self, look: Look, at: datetime, tasks: asyncio.TaskGroup) -> None:
        for name, drill in (await self._held(DRILLS)).items():
            seen = look.grants.get(drill["spec"]["cell"])
            if is_new(drill):
                with contextlib.suppress(Conflict):
                    mine = await self._drills.claim(drill, at, seen.grant.epoch if seen else None)
                    if mine is not None:
                        tasks.create_task(self._drills.carry_out(mine, seen), name=f"drill {name}")
            elif is_forgotten(drill, at):
                why = "its steward did not come back; see `biyi cells` for where the cell is"
                await self._put(DRILLS, name, with_status(drill, phase="Unknown", message=why))

    async def _held(self, kind: Kind) -> dict[str, dict[str, Any]]:
        items, _ = await self._cluster.list(kind)
        return {item["metadata"]["name"]: item for item in items}

    async def _put(self, kind: Kind, name: str, write: Write) -> None:
        """Write, or look again in the next round when somebody was faster."""
        self.figures.count(kind.plural, write.verb)
        if write.verb in (Verb.KEEP, Verb.REFUSE):
            return
        try:
            await self._cluster.write(kind, name, write)
            # Made and specified first: the status is the next round's.
            if kind in (CELLS, SITES) and write.verb is not Verb.STATUS:
                self._nudged.set()
        except Conflict as conflict:
            log.info("%s %s changed meanwhile: %s", kind.plural, name, conflict)
            self.figures.conflicts += 1
            self._nudged.set()


async def serve(
    settings: SiteSettings, platform: PlatformSettings, client_of: tuple[str | None, str | None]
) -> None:
    """Run the steward until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = await open_client(*client_of)
    async with (
        client,
        open_identity(settings.tls_dir, OPERATOR) as identity,
        Etcd(settings.etcd_urls, identity.to("etcd")) as etcd,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=identity.to("agent")), trust_env=False
        ) as session,
        health_served(settings, identity, alive_routes()),
    ):
        cluster = KubernetesCluster(client, platform.namespace)
        steward = Steward(settings, platform, etcd, session, cluster)
        application = web.Application(middlewares=admit_only(identity, asking={OPERATOR}))
        application.add_routes(metrics_routes(steward.figures.metrics))
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        address = (settings.listen_host, platform.metrics_port)
        await web.TCPSite(runner, *address, ssl_context=identity.serving()).start()
        running = asyncio.create_task(steward.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await runner.cleanup()


_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--settings", "path", type=_FILE, required=True, help="site.json of the site")
@click.option("--platform", "platform_path", type=_FILE, required=True, help="platform.json of the site")
@click.option("--context", help="Context of a kubeconfig; without it, the pod's own account.")
@click.option("--kubeconfig", help="File of contexts; without it, $KUBECONFIG or ~/.kube/config.")
def main(path: Path, platform_path: Path, context: str | None, kubeconfig: str | None) -> None:
    """Run the steward of one data site."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings, platform = read_site_settings(path), read_platform_settings(platform_path)
        asyncio.run(serve(settings, platform, (context, kubeconfig)))
    except (SettingsError, ClusterUnavailable) as error:
        click.echo(error, err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
