"""A copy of a cell: a StatefulSet of one pod, in which the agent starts, fences and promotes PostgreSQL.

Kubernetes keeps the pod where its volume is. Who is primary it does not know: that stands in etcd.
"""

import json
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.policy import v1 as policy

from infra.settings import DataSiteName
from infra.topology import ZONE, Copy, Topology
from infra.workloads.documents import (
    AGENT_PORT,
    ARCHIVE,
    HEALTH_PORT,
    POSTGRES_PORT,
    SITE_SETTINGS,
    STAGING,
    is_archived,
    site_document,
)  # fmt: skip
from infra.workloads.keys import GIVEN
from infra.workloads.pods import (
    DRAIN_SECONDS,
    asks,
    confined,
    home_mount,
    labels,
    mounts,
    named,
    pod,
    prepared,
    sized,
    unwaited,
    volumes,
)  # fmt: skip

LEAVE = ["python", "-m", "replication.leave", "--settings", SITE_SETTINGS]


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a stack builds: topology, site, and the options that name the site's own cluster."""

    topology: Topology
    site: DataSiteName
    opts: pulumi.ResourceOptions

    def with_ignored(self, *paths: str) -> pulumi.ResourceOptions:
        """Return the options for an object of which others own `paths`."""
        return pulumi.ResourceOptions.merge(self.opts, pulumi.ResourceOptions(ignore_changes=list(paths)))


def build_copies(ground: Ground) -> list[str]:
    """Create every copy of the site; return their places."""
    for copy in ground.topology.at(ground.site):
        _build_copy(ground, copy)
    _agents(ground)
    policy.PodDisruptionBudget(
        "copies",
        metadata=named("copies", "copy"),
        # One at a time: its preStop moves the primary away first; two at once could be the cell's last ones.
        spec=policy.PodDisruptionBudgetSpecArgs(
            max_unavailable=1,
            selector=meta.LabelSelectorArgs(match_labels=labels("copy")),
            unhealthy_pod_eviction_policy="AlwaysAllow",
        ),
        opts=ground.opts,
    )
    return [copy.place for copy in ground.topology.at(ground.site)]


def _agents(ground: Ground) -> None:
    """Give the site's agents the one address at which the other site asks whether anybody lives here."""
    core.Service(
        "agent",
        metadata=meta.ObjectMetaArgs(
            name="agent",
            namespace="biyi",
            labels=labels("copy"),
            annotations={
                **ground.topology.settings.site(ground.site).load_balancer_annotations,
                "pulumi.com/skipAwait": "true",
            },
        ),
        spec=core.ServiceSpecArgs(
            type="LoadBalancer",
            load_balancer_ip=ground.topology.addresses()[f"agent.{ground.site}.{ZONE}"],
            external_traffic_policy="Local",
            # A site whose copies are all fenced still lives.
            publish_not_ready_addresses=True,
            selector=labels("copy"),
            ports=[core.ServicePortArgs(name="agent", port=AGENT_PORT, target_port="agent")],
        ),
        opts=ground.opts,
    )


def _build_copy(ground: Ground, copy: Copy) -> None:
    mine = {"biyi/place": copy.place, "biyi/cell": copy.cell}
    core.ConfigMap(
        f"{copy.place}-settings",
        metadata=named(f"{copy.place}-settings", "copy", **mine),
        data={
            "site.json": json.dumps(
                site_document(ground.topology, ground.site, copy), indent=1, sort_keys=True
            )
        },
        opts=ground.opts,
    )
    ports = [
        core.ServicePortArgs(name="postgresql", port=POSTGRES_PORT, target_port="postgresql"),
        core.ServicePortArgs(name="agent", port=AGENT_PORT, target_port="agent"),
    ]
    core.Service(
        copy.place,
        metadata=meta.ObjectMetaArgs(
            name=copy.place,
            namespace="biyi",
            labels=labels("copy", **mine),
            annotations={
                **ground.topology.settings.site(ground.site).load_balancer_annotations,
                "pulumi.com/skipAwait": "true",
            },
        ),
        spec=core.ServiceSpecArgs(
            type="LoadBalancer",
            load_balancer_ip=copy.address,
            external_traffic_policy="Local",
            # Peers and routers must reach a copy that does not serve: they ask it, or stream to it.
            publish_not_ready_addresses=True,
            selector=labels("copy", **mine),
            ports=ports,
        ),
        opts=ground.opts,
    )
    core.Service(
        f"{copy.place}-pod",
        metadata=unwaited(f"{copy.place}-pod", "copy", **mine),
        spec=core.ServiceSpecArgs(
            cluster_ip="None", publish_not_ready_addresses=True, selector=labels("copy", **mine), ports=ports
        ),
        opts=ground.opts,
    )
    _stateful_set(ground, copy, mine)


def _stateful_set(ground: Ground, copy: Copy, mine: dict[str, str]) -> None:
    settings = ground.topology.settings
    cell = next(cell for cell in settings.cells if cell.name == copy.cell)
    storage_class = settings.site(ground.site).storage_class
    claims = [_claim("home", cell.storage_gib, storage_class, mine)]
    passing: list[core.VolumeArgs] = []
    if is_archived(copy):
        claims.append(_claim("archive", cell.backup_gib, storage_class, mine))
        passing.append(_staging(cell.storage_gib, storage_class, mine))
    given = GIVEN["archived-copy" if is_archived(copy) else "copy"]
    template = core.PodTemplateSpecArgs(
        metadata=meta.ObjectMetaArgs(
            labels=labels("copy", **mine), annotations={"prometheus.io/scrape": "true"}
        ),
        spec=pod(
            settings,
            "copy",
            [_agent(ground, cell.cpu, cell.memory, archived=is_archived(copy))],
            [
                # The operator's is for `LEAVE`: an agent's own opens etcd already, where every grant is.
                *volumes(f"{copy.place}-settings", holders=("agent", "operator"), given=given),
                core.VolumeArgs(
                    name="shm", empty_dir=core.EmptyDirVolumeSourceArgs(medium="Memory", size_limit="1Gi")
                ),
                *passing,
            ],
            account="biyi-agent",
            init=prepared(settings.images.biyi, "agent", given),
            zone=copy.zone,
            pool="copies",
            grace_seconds=DRAIN_SECONDS,
        ),
    )
    apps.StatefulSet(
        copy.place,
        metadata=meta.ObjectMetaArgs(
            name=copy.place,
            namespace="biyi",
            labels=labels("copy", **mine),
            # A copy turns ready when the sync set has it: minutes after a clone. `up` does not wait.
            annotations={"pulumi.com/skipAwait": "true"},
        ),
        spec=apps.StatefulSetSpecArgs(
            replicas=1,
            service_name=f"{copy.place}-pod",
            selector=meta.LabelSelectorArgs(match_labels=labels("copy", **mine)),
            # Never by itself: a person replaces the pods, one after the other, once the other copies follow.
            update_strategy=apps.StatefulSetUpdateStrategyArgs(type="OnDelete"),
            persistent_volume_claim_retention_policy=apps.StatefulSetPersistentVolumeClaimRetentionPolicyArgs(
                when_deleted="Retain", when_scaled="Retain"
            ),
            template=template,
            volume_claim_templates=claims,
        ),
        opts=ground.opts,
    )


def _claim(name: str, gib: int, storage_class: str, mine: dict[str, str]) -> core.PersistentVolumeClaimArgs:
    return core.PersistentVolumeClaimArgs(
        api_version="v1",
        kind="PersistentVolumeClaim",
        metadata=meta.ObjectMetaArgs(name=name, labels=labels("copy", **mine)),
        spec=_claimed(gib, storage_class),
    )


def _claimed(gib: int, storage_class: str) -> core.PersistentVolumeClaimSpecArgs:
    return core.PersistentVolumeClaimSpecArgs(
        access_modes=["ReadWriteOncePod"],
        storage_class_name=storage_class,
        resources=core.VolumeResourceRequirementsArgs(requests={"storage": f"{gib}Gi"}),
    )


def _staging(gib: int, storage_class: str, mine: dict[str, str]) -> core.VolumeArgs:
    """Return a volume that comes and goes with the pod."""
    template = core.PersistentVolumeClaimTemplateArgs(
        metadata=meta.ObjectMetaArgs(labels=labels("copy", **mine)), spec=_claimed(gib, storage_class)
    )
    ephemeral = core.EphemeralVolumeSourceArgs(volume_claim_template=template)
    return core.VolumeArgs(name="staging", ephemeral=ephemeral)


def _agent(ground: Ground, cpu: str, memory: str, *, archived: bool) -> core.ContainerArgs:
    """One container: the agent is PostgreSQL's parent, as a fence must be able to end it at once.

    `/livez` asks only whether the agent still looks at the world: a copy that is fenced, rewinding or without
    etcd is alive and must not be restarted. `/readyz` asks whether it serves or follows.
    """
    archive = [
        core.VolumeMountArgs(name="archive", mount_path=ARCHIVE),
        core.VolumeMountArgs(name="staging", mount_path=STAGING),
    ]
    return core.ContainerArgs(
        name="agent",
        image=ground.topology.settings.images.biyi,
        args=["python", "-m", "replication.agent", "--settings", SITE_SETTINGS],
        ports=[
            core.ContainerPortArgs(name="postgresql", container_port=POSTGRES_PORT),
            core.ContainerPortArgs(name="agent", container_port=AGENT_PORT),
        ],
        security_context=confined(),
        resources=sized(cpu, memory),
        startup_probe=asks("/livez", HEALTH_PORT, period=2, failures=30),
        liveness_probe=asks("/livez", HEALTH_PORT, period=5, failures=4, timeout=3),
        readiness_probe=asks("/readyz", HEALTH_PORT, period=1, failures=2),
        lifecycle=core.LifecycleArgs(
            pre_stop=core.LifecycleHandlerArgs(exec_=core.ExecActionArgs(command=LEAVE)),
        ),
        volume_mounts=mounts(
            home_mount(),
            core.VolumeMountArgs(name="shm", mount_path="/dev/shm"),  # noqa: S108
            *(archive if archived else ()),
        ),
    )
