"""Stack `witness`: the third vote, in a region of its own: no customer data, no way in from outside."""

import base64

import pulumi
from pulumi_alicloud import cen, ecs, vpc

from infra.outputs import NetworkOutputs, WitnessOutputs
from infra.topology import Topology
from infra.workloads.documents import TLS
from infra.workloads.members import etcd_flags

BACKBONE_MBIT = 2
"""Between the regions. Source: etcd's 8 writes a second are under 0.1 Mbit/s; 2 is the least sold."""


def build_witness(
    topology: Topology, network: NetworkOutputs, opts: pulumi.ResourceOptions, main: pulumi.ResourceOptions
) -> WitnessOutputs:
    """Create a small network, its way into the backbone, and one machine with etcd.

    `opts` carry the provider of the witness's region, `main` that of the cloud site's.
    """
    settings = topology.settings
    place = settings.witness
    own = vpc.Network("witness", vpc_name="biyi-witness", cidr_block=place.network, opts=opts)
    switch = vpc.Switch(
        "witness",
        vpc_id=own.id,
        cidr_block=place.network,
        zone_id=place.zone,
        vswitch_name="biyi-witness",
        opts=opts,
    )
    _join(topology, network, own, switch, (opts, main))
    group = _firewall_group(topology, own, opts)
    ecs.Instance(
        "witness",
        instance_name="biyi-witness",
        instance_type=place.instance_type,
        image_id=place.image_id,
        availability_zone=place.zone,
        vswitch_id=switch.id,
        private_ip=place.address,
        security_groups=[group.id],
        internet_max_bandwidth_out=0,
        instance_charge_type="PostPaid",
        deletion_protection=True,
        security_enhancement_strategy="Active",
        http_tokens="required",
        system_disk_category="cloud_essd",
        system_disk_encrypted=True,
        data_disks=[
            ecs.InstanceDataDiskArgs(
                size=place.disk_gib,
                category="cloud_essd",
                encrypted=True,
                delete_with_instance=False,
                name="etcd",
            )
        ],
        user_data=base64.b64encode(plan_boot(topology).encode()).decode(),
        opts=opts,
    )
    return WitnessOutputs(etcd_address=pulumi.Output.from_input(place.address))


def _firewall_group(topology: Topology, own: vpc.Network, opts: pulumi.ResourceOptions) -> ecs.SecurityGroup:
    """Let only the two data sites ask etcd, and nobody anything else."""
    settings = topology.settings
    group = ecs.SecurityGroup(
        "witness", vpc_id=own.id, security_group_name="biyi-witness", inner_access_policy="Drop", opts=opts
    )
    sources = {
        f"{site}-{kind}": getattr(settings.site(site).networks, kind)
        for site in ("idc", "cloud")
        for kind in ("pods", "addresses", "nodes")
    }
    for name, source in sources.items():
        ecs.SecurityGroupRule(
            name,
            security_group_id=group.id,
            type="ingress",
            ip_protocol="tcp",
            policy="accept",
            port_range="2379/2380",
            cidr_ip=source,
            priority=1,
            opts=opts,
        )
    return group


def _join(
    topology: Topology,
    network: NetworkOutputs,
    own: vpc.Network,
    switch: vpc.Switch,
    sides: tuple[pulumi.ResourceOptions, pulumi.ResourceOptions],
) -> None:
    place, (opts, main) = topology.settings.witness, sides
    router = cen.TransitRouter(
        "witness", cen_id=network.cen_id, transit_router_name="biyi-witness", opts=opts
    )
    cen.TransitRouterVpcAttachment(
        "witness",
        cen_id=network.cen_id,
        transit_router_id=router.transit_router_id,
        vpc_id=own.id,
        zone_mappings=[
            cen.TransitRouterVpcAttachmentZoneMappingArgs(zone_id=place.zone, vswitch_id=switch.id)
        ],
        auto_publish_route_enabled=True,
        opts=opts,
    )
    cen.TransitRouterPeerAttachment(
        "witness",
        cen_id=network.cen_id,
        transit_router_id=network.transit_router_id,
        peer_transit_router_id=router.transit_router_id,
        peer_transit_router_region_id=place.region,
        bandwidth_type="DataTransfer",
        bandwidth=BACKBONE_MBIT,
        auto_publish_route_enabled=True,
        opts=main,
    )


def plan_boot(topology: Topology) -> str:
    """Return the machine's first-boot document: etcd as a container, certificates from its own disk.

    The certificates are put on the disk by hand once (README.md, "the witness"): no key passes through here.
    """
    flags = " ".join(etcd_flags(topology, "witness", "/var/lib/etcd", tells_figures=False))
    run = (
        "podman run --rm --name etcd --network host --read-only --user 65532:65532 --cap-drop ALL"
        f" -v /var/lib/etcd:/var/lib/etcd -v {TLS}:{TLS}:ro {topology.settings.images.etcd} etcd {flags}"
    )
    return f"""#cloud-config
packages: [podman]
fs_setup: [{{label: etcd, filesystem: xfs, device: /dev/vdb}}]
mounts: [[/dev/vdb, /var/lib/etcd, xfs, "defaults,noatime", "0", "2"]]
write_files:
  - path: /etc/systemd/system/biyi-etcd.service
    content: |
      [Unit]
      After=network-online.target
      RequiresMountsFor=/var/lib/etcd
      ConditionPathExists={TLS}/etcd.key
      [Service]
      ExecStartPre=/usr/bin/chown 65532:65532 /var/lib/etcd
      ExecStart=/usr/bin/{run}
      Restart=always
      RestartSec=2
      [Install]
      WantedBy=multi-user.target
runcmd: [[systemctl, enable, --now, biyi-etcd]]
"""
