"""A steward at work: real etcd with grants and beats, a real API server, the steward's own account."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from replication.etcd import Etcd
from replication.grants import GRANTS, SITES
from replication.model import Beat, CopyId, Grant, Mode, Site
from replication.platform.cluster import KubernetesCluster, open_client
from replication.platform.settings import PlatformSettings, read_platform_settings
from replication.platform.steward import Steward
from replication.settings import SiteSettings, read_site_settings
from tests.cluster.api_server import ApiServer, write_kubeconfig
from tests.cluster.manifests import Manifests

SLICE = "/apis/discovery.k8s.io/v1/namespaces/biyi/endpointslices/cell-{}-primary"
CELL = "/apis/biyi.io/v1/namespaces/biyi/cells/{}"
SITE = "/apis/biyi.io/v1/namespaces/biyi/sites/{}"
DRILL = "/apis/biyi.io/v1/namespaces/biyi/drills/{}"
AUTOSCALER = "/apis/autoscaling/v2/namespaces/biyi/horizontalpodautoscalers/api"


HOME = {"a": ("a-idc-0", "a-cloud-0"), "b": ("b-cloud-0", "b-idc-0")}
"""Primary and sync copy of each cell when all is well."""
PATIENCE_SECONDS = 120.0
"""Longest wait for something that takes a second or two on an idle machine."""


def copy_at(place: str) -> CopyId:
    return CopyId.parse(f"{place}-0000aaaa")


@dataclass
class Scene:
    """What a test acts on."""

    server: ApiServer
    etcd: Etcd
    settings: SiteSettings
    platform: PlatformSettings
    token: str
    beating: set[Site] = field(default_factory=lambda: {Site.IDC, Site.CLOUD})

    async def grant(
        self,
        epoch: int,
        primary: str,
        *sync: str,
        mode: Mode = Mode.SYNC,
        candidate: str | None = None,
    ) -> None:
        """Write a grant, as the failover loop would."""
        first = copy_at(primary)
        grant = Grant(
            cell=first.cell,
            epoch=epoch,
            primary=first,
            sync_set=frozenset(copy_at(place) for place in sync),
            mode=mode,
            candidate=copy_at(candidate) if candidate else None,
        )
        await self.etcd.put(GRANTS + first.cell, grant.to_json())

    async def beat(self) -> None:
        """Let the sites beat for as long as they are in `beating`."""
        count = 0
        while True:
            count += 1
            for site in sorted(self.beating):
                await self.etcd.put(SITES + site, Beat(site, "test", count).to_json())
            await asyncio.sleep(0.2)

    @contextlib.asynccontextmanager
    async def steward(self) -> AsyncIterator[Steward]:
        """Run a steward with the token of its own account."""
        async with self.cluster() as cluster, aiohttp.ClientSession() as session:
            steward = Steward(self.settings, self.platform, self.etcd, session, cluster)
            task = asyncio.create_task(steward.run())
            try:
                yield steward
            finally:
                assert not task.done(), task.exception()
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    @contextlib.asynccontextmanager
    async def cluster(self) -> AsyncIterator[KubernetesCluster]:
        path = write_kubeconfig(self.server.directory / "steward", self.server, token=self.token)
        async with await open_client(self.server.name, str(path)) as client:
            yield KubernetesCluster(client, "biyi")

    async def look(self, path: str) -> Any:
        return await asyncio.to_thread(self.server.found, path)

    async def until(self, path: str, holds: Callable[[Any], bool], seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait until the object at `path` is as wanted; return it."""
        last: Any = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    last = await self.look(path)
                    if last is not None and holds(last):
                        return last
                    await asyncio.sleep(0.1)
        raise AssertionError(f"{path} is not as wanted after {seconds} s: {json.dumps(last)[:1500]}")


def documents(manifests: Manifests, directory: Path, etcd_url: str) -> tuple[SiteSettings, PlatformSettings]:
    """Return what the steward of the manifests is started with, for an etcd without TLS."""
    site = json.loads(manifests["configmap-site-settings"]["data"]["site.json"])
    site |= {"etcd_urls": [etcd_url], "tls_dir": None, "home_dir": str(directory)}
    (directory / "site.json").write_text(json.dumps(site))
    (directory / "platform.json").write_text(
        manifests["configmap-platform-settings"]["data"]["platform.json"]
    )
    return (
        read_site_settings(directory / "site.json"),
        read_platform_settings(directory / "platform.json"),
    )


async def soon(
    wanted: Callable[[], bool] | Callable[[], Awaitable[bool]], what: str, seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while True:
            found = wanted()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.05)
    raise AssertionError(what)
