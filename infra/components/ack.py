"""Stack `ack`: the managed cluster of the cloud site and its machines. What runs in it is another stack."""

import pulumi
from pulumi_alicloud import cs

from infra.outputs import AckOutputs, NetworkOutputs, SecurityOutputs
from infra.topology import Topology

SYSTEM_DISK_GIB = 120
"""Source: ACK's own default for worker nodes."""
CONTROL_LOGS = ("apiserver", "kcm", "scheduler", "ccm", "controlplane-events")


def build_ack(
    topology: Topology, network: NetworkOutputs, security: SecurityOutputs, opts: pulumi.ResourceOptions
) -> AckOutputs:
    """Create the cluster with encrypted secrets and audit, a pool for copies and one that grows for work."""
    settings = topology.settings
    wanted = settings.cloud_cluster
    zones = settings.cloud.zones
    nodes = network.node_switches.apply(lambda ids: [ids[zone] for zone in zones])
    pods = network.pod_switches.apply(lambda ids: [ids[zone] for zone in zones])
    cluster = cs.ManagedKubernetes(
        "cloud",
        name=f"biyi-{settings.environment}",
        cluster_spec="ack.pro.small",
        version=wanted.version,
        vswitch_ids=nodes,
        pod_vswitch_ids=pods,
        service_cidr=settings.cloud.networks.services,
        proxy_mode="ipvs",
        new_nat_gateway=False,
        slb_internet_enabled=False,
        security_group_id=security.firewall_group_id,
        encryption_provider_key=security.key_id,
        disable_encryption=False,
        deletion_protection=True,
        enable_rrsa=True,
        control_plane_log_components=list(CONTROL_LOGS),
        control_plane_log_project=security.log_project,
        control_plane_log_ttl=str(settings.audit_days),
        audit_log_config=cs.ManagedKubernetesAuditLogConfigArgs(
            enabled=True, sls_project_name=security.log_project
        ),
        addons=[
            cs.ManagedKubernetesAddonArgs(name=name, disabled=name == "nginx-ingress-controller")
            for name in (
                "terway-eniip", "csi-plugin", "csi-provisioner", "logtail-ds", "ack-node-problem-detector",
                "metrics-server", "ack-secret-manager", "nginx-ingress-controller",
            )
        ],
        opts=opts,
    )  # fmt: skip
    _pool(cluster, nodes, security, name="copies", types=list(wanted.copy_nodes), opts=opts)
    grows = cs.NodePoolScalingConfigArgs(
        enable=True, min_size=wanted.work_nodes_min, max_size=wanted.work_nodes_max, type="cpu"
    )
    _pool(cluster, nodes, security, name="work", types=list(wanted.work_nodes), opts=opts, scaling=grows)
    cs.AutoscalingConfig(
        "cloud",
        cluster_id=cluster.id,
        scaler_type="cluster-autoscaler",
        scale_down_enabled=True,
        skip_nodes_with_local_storage=True,
        skip_nodes_with_system_pods=True,
        unneeded_duration="10m",
        cool_down_duration="10m",
        opts=opts,
    )
    return AckOutputs(cluster_id=cluster.id)


def _pool(
    cluster: cs.ManagedKubernetes,
    switches: pulumi.Output[list[str]],
    security: SecurityOutputs,
    *,
    name: str,
    types: list[str],
    opts: pulumi.ResourceOptions,
    scaling: cs.NodePoolScalingConfigArgs | None = None,
) -> None:
    """Create a node pool; how many nodes a growing one has is the autoscaler's, never the program's."""
    mine = name == "copies"
    cs.NodePool(
        name,
        node_pool_name=f"biyi-{name}",
        cluster_id=cluster.id,
        vswitch_ids=switches,
        multi_az_policy="BALANCE",
        instance_types=types,
        instance_charge_type="PostPaid",
        desired_size=None if scaling else "4",
        scaling_config=scaling,
        system_disk_category="cloud_essd",
        system_disk_size=SYSTEM_DISK_GIB,
        system_disk_encrypted=True,
        system_disk_kms_key=security.key_id,
        soc_enabled=True,
        image_type="AliyunLinux3",
        install_cloud_monitor=True,
        management=cs.NodePoolManagementArgs(
            enable=True,
            auto_repair=not mine,
            auto_upgrade=False,
            auto_vul_fix=True,
            max_unavailable=1,
        ),
        labels=[cs.NodePoolLabelArgs(key="biyi/pool", value=name)],
        taints=[cs.NodePoolTaintArgs(key="biyi/pool", value=name, effect="NoSchedule")] if mine else [],
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(ignore_changes=["desiredSize", "nodeCount"])
        ),
    )
