"""The site's member of etcd: one vote of three, at three sites."""

from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.policy import v1 as policy

from infra.topology import ZONE
from infra.workloads.copies import Ground
from infra.workloads.documents import ETCD_CLIENT_PORT, ETCD_PEER_PORT, TLS
from infra.workloads.pods import asks, confined, labels, named, pod, sized
from infra.workloads.services import quick, template


def build_vote(ground: Ground) -> None:
    """Create the site's one vote; its data is on a volume, its peers are at the other sites."""
    settings, site = ground.topology.settings, ground.site
    tls = core.VolumeArgs(
        name="tls",
        secret=core.SecretVolumeSourceArgs(secret_name="biyi-tls-etcd", default_mode=0o440),  # noqa: S106
    )
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
            template=template("etcd", pod(settings, "etcd", [_member(ground)], [tls], pool="copies")),
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
    return core.ContainerArgs(
        name="etcd",
        image=ground.topology.settings.images.etcd,
        command=["etcd", *etcd_flags(ground)],
        ports=[
            core.ContainerPortArgs(name="client", container_port=ETCD_CLIENT_PORT),
            core.ContainerPortArgs(name="peer", container_port=ETCD_PEER_PORT),
            core.ContainerPortArgs(name="metrics", container_port=2381),
        ],
        security_context=confined(),
        resources=sized("500m", "1Gi", cpu_limit="2"),
        startup_probe=asks("/readyz", 2381, period=5, failures=60, timeout=5, scheme="HTTP"),
        # Not its readiness: without a quorum a restart would only take one more member away.
        liveness_probe=asks("/livez", 2381, period=10, failures=6, timeout=5, scheme="HTTP"),
        readiness_probe=asks("/readyz", 2381, period=5, failures=3, timeout=5, scheme="HTTP"),
        volume_mounts=[
            core.VolumeMountArgs(name="data", mount_path="/var/lib/etcd"),
            core.VolumeMountArgs(name="tls", mount_path=TLS, read_only=True),
        ],
    )


def etcd_flags(ground: Ground) -> list[str]:
    """Return the flags of the site's etcd member; TLS with client certificates on both faces."""
    hosts = ground.topology.etcd_hosts()
    me = hosts[ground.site]
    flags = {
        "name": ground.site,
        "data-dir": "/var/lib/etcd/data",
        "listen-client-urls": f"https://0.0.0.0:{ETCD_CLIENT_PORT}",
        "advertise-client-urls": f"https://{me}:{ETCD_CLIENT_PORT}",
        "listen-peer-urls": f"https://0.0.0.0:{ETCD_PEER_PORT}",
        "initial-advertise-peer-urls": f"https://{me}:{ETCD_PEER_PORT}",
        "listen-metrics-urls": "http://0.0.0.0:2381",
        "initial-cluster": ",".join(
            f"{name}=https://{host}:{ETCD_PEER_PORT}" for name, host in hosts.items()
        ),
        "initial-cluster-state": "new",
        "heartbeat-interval": "100",
        "election-timeout": "1000",
        "auto-compaction-mode": "revision",
        "auto-compaction-retention": "1000",
        "client-cert-auth": "true",
        "peer-client-cert-auth": "true",
    }
    for prefix in ("", "peer-"):
        flags |= {f"{prefix}trusted-ca-file": f"{TLS}/ca.crt", f"{prefix}cert-file": f"{TLS}/tls.crt"}
        flags[f"{prefix}key-file"] = f"{TLS}/tls.key"
    return [f"--{name}={value}" for name, value in flags.items()]
