"""Two Kubernetes clusters as the probes see them: their API servers, and the sites' settings from there."""

import datetime as dt
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from compliance.access.desk import Desk
from compliance.controls.ground import Ground, SiteGround, Trail
from replication.platform.cluster import ClusterUnavailable, Kind, KubernetesCluster, open_client
from replication.settings import SiteSettings, read_site_settings

SETTINGS = "site-settings"
"""The ConfigMap with the document that a site's processes are started with. Source: infra/workloads."""
_APPS, _RBAC = "/apis/apps/v1", "/apis/rbac.authorization.k8s.io/v1"
_KINDS = {
    "Pod": Kind("/api/v1", "pods"),
    "Service": Kind("/api/v1", "services"),
    "ConfigMap": Kind("/api/v1", "configmaps"),
    "ServiceAccount": Kind("/api/v1", "serviceaccounts"),
    "Deployment": Kind(_APPS, "deployments"),
    "StatefulSet": Kind(_APPS, "statefulsets"),
    "CronJob": Kind("/apis/batch/v1", "cronjobs"),
    "Job": Kind("/apis/batch/v1", "jobs"),
    "NetworkPolicy": Kind("/apis/networking.k8s.io/v1", "networkpolicies"),
    "Role": Kind(_RBAC, "roles"),
    "RoleBinding": Kind(_RBAC, "rolebindings"),
    "PodDisruptionBudget": Kind("/apis/policy/v1", "poddisruptionbudgets"),
    "Cell": Kind("/apis/biyi.io/v1", "cells"),
    "HorizontalPodAutoscaler": Kind("/apis/autoscaling/v2", "horizontalpodautoscalers"),
}


class AwayError(ConnectionError):
    """What is asked for does not answer, or can be asked inside the clusters only."""


class _AwayDesk:
    """Stands where the accounts are: whoever asks makes an unknown reading."""

    def __getattr__(self, name: str) -> Any:
        raise AwayError(f"accounts ({name}) are asked inside the clusters")


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A site's API server, read only."""

    cluster: KubernetesCluster

    async def list(self, kind: str) -> list[dict[str, Any]]:
        """Return all objects of a kind; ClusterUnavailable when it does not answer."""
        found, _ = await self.cluster.list(_KINDS[kind])
        return found


@dataclass(frozen=True, slots=True)
class Approval:
    """The approved manifests (`{"idc": [...], "cloud": [...]}`) and the hash that two people attested."""

    baseline: Path
    sm3: str | None


@asynccontextmanager
async def open_cluster_ground(
    contexts: Mapping[str, str], kubeconfig: Path | None, namespace: str, approval: Approval
) -> AsyncIterator[Ground]:
    """Yield the clusters behind a kubeconfig's contexts, by site; AwayError when one is away.

    Databases are asked only where the sites' passwords are, so in a pod.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="biyi-controls-")))
        sites = {}
        for name, context in contexts.items():
            try:
                client = await open_client(context, str(kubeconfig) if kubeconfig else None)
                await stack.enter_async_context(client)
                server = ApiServer(KubernetesCluster(client, namespace))
                settings = await _read_settings(server, folder / f"{name}.json", name)
            except ClusterUnavailable as error:
                raise AwayError(f"{name}: {error}") from error
            sites[name] = SiteGround(settings, (), (), list, frozenset(), folder, server)
        yield Ground(
            form="cluster",
            sites=sites,
            desk=cast(Desk, _AwayDesk()),
            drills=folder,
            baseline=approval.baseline,
            verify_trail=_no_trail,
            approved_baseline_sm3=lambda: _sm3_of(approval),
            read_now=_read_now,
        )


async def _read_settings(server: ApiServer, path: Path, site: str) -> SiteSettings:
    found = [one for one in await server.list("ConfigMap") if one["metadata"]["name"] == SETTINGS]
    if not found:
        raise AwayError(f"{site}: no ConfigMap {SETTINGS}: `biyi deploy up` makes it")
    path.write_text(json.dumps(json.loads(found[0]["data"]["site.json"])), encoding="utf-8")
    settings = read_site_settings(path)
    if str(settings.site) != site:
        raise AwayError(f"context of {site}: this cluster is of site {settings.site}")
    return settings


async def _no_trail() -> Trail:
    raise AwayError("the trail is exported inside the clusters; `biyi audit verify` then verifies it")


async def _sm3_of(approval: Approval) -> str | None:
    return approval.sm3


def _read_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - a command is a shell: it reads the clock
