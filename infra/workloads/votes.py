"""The site's member of etcd: one vote of three, at three sites."""

from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.policy import v1 as policy

from infra.topology import ZONE
from infra.workloads.copies import Ground
from infra.workloads.documents import ETCD_CLIENT_PORT, ETCD_METRICS_PORT, ETCD_PEER_PORT, TLS
from infra.workloads.members import etcd_flags, etcd_health
from infra.workloads.pods import certificates_of, confined, labels, listens, named, pod, sized
from infra.workloads.services import quick, template


def build_vote(ground: Ground) -> None:
    """Create the site's one vote; its data is on a volume, its peers are at the other sites."""
    settings, site = ground.topology.settings, ground.site
    claim = core.PersistentVolumeClaimArgs(
        api_version="v1",
        kind="PersistentVolumeClaim",
        metadata=meta.ObjectMetaArgs(name="data", labels=labels("etcd")),
        spec=core.PersistentVolumeClaimSpecArgs(
            access_modes=["ReadWriteOncePod"],
            storage_class_name=settings.site(site).storage_class,
            resources=core.VolumeResourceRequirementsArgs(requests={"storage": "20Gi"}),
        ),
    )
    apps.StatefulSet(
        "etcd",
        metadata=quick("etcd"),
        spec=apps.StatefulSetSpecArgs(
            replicas=1,
            service_name="etcd",
            selector=meta.LabelSelectorArgs(match_labels=labels("etcd")),
            update_strategy=apps.StatefulSetUpdateStrategyArgs(type="OnDelete"),
            persistent_volume_claim_retention_policy=apps.StatefulSetPersistentVolumeClaimRetentionPolicyArgs(
                when_deleted="Retain", when_scaled="Retain"
            ),
            template=template(
                "etcd", pod(settings, "etcd", [_member(ground)], [certificates_of("etcd")], pool="copies")
            ),
            volume_claim_templates=[claim],
        ),
        opts=ground.opts,
    )
    _reachable(ground)
    policy.PodDisruptionBudget(
        "etcd",
        metadata=named("etcd", "etcd"),
        # Nobody sees all three sites from here: a vote leaves only when a person has looked at the other two.
        spec=policy.PodDisruptionBudgetSpecArgs(
            max_unavailable=0, selector=meta.LabelSelectorArgs(match_labels=labels("etcd"))
        ),
        opts=ground.opts,
    )


def _reachable(ground: Ground) -> None:
    settings, site = ground.topology.settings, ground.site
    core.Service(
        "etcd",
        metadata=meta.ObjectMetaArgs(
            name="etcd",
            namespace="biyi",
            labels=labels("etcd"),
            annotations={**settings.site(site).load_balancer_annotations, "pulumi.com/skipAwait": "true"},
        ),
        spec=core.ServiceSpecArgs(
            type="LoadBalancer",
            load_balancer_ip=ground.topology.addresses()[f"etcd.{site}.{ZONE}"],
            external_traffic_policy="Local",
            publish_not_ready_addresses=True,
            selector=labels("etcd"),
            ports=[
                core.ServicePortArgs(name="client", port=ETCD_CLIENT_PORT, target_port="client"),
                core.ServicePortArgs(name="peer", port=ETCD_PEER_PORT, target_port="peer"),
            ],
        ),
        opts=ground.opts,
    )


def _member(ground: Ground) -> core.ContainerArgs:
    flags = etcd_flags(ground.topology, ground.site, "/var/lib/etcd/data", tells_figures=True)
    return core.ContainerArgs(
        name="etcd",
        image=ground.topology.settings.images.etcd,
        command=["etcd", *flags],
        ports=[
            core.ContainerPortArgs(name="client", container_port=ETCD_CLIENT_PORT),
            core.ContainerPortArgs(name="peer", container_port=ETCD_PEER_PORT),
            core.ContainerPortArgs(name="metrics", container_port=ETCD_METRICS_PORT),
        ],
        security_context=confined(),
        resources=sized("500m", "1Gi", cpu_limit="2"),
        # Neither asks for a quorum: without one a restart would only take one more member away. Its client
        # port answers nobody before the member has joined, its port of figures listens from the start.
        startup_probe=listens(ETCD_METRICS_PORT, period=5, failures=60),
        liveness_probe=listens(ETCD_METRICS_PORT, period=10, failures=6),
        readiness_probe=core.ProbeArgs(
            exec_=core.ExecActionArgs(command=etcd_health()),
            period_seconds=10,
            failure_threshold=2,
            timeout_seconds=5,
        ),
        volume_mounts=[
            core.VolumeMountArgs(name="data", mount_path="/var/lib/etcd"),
            core.VolumeMountArgs(name="tls", mount_path=TLS, read_only=True),
        ],
    )
