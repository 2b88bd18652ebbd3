"""Stack `network`: the cloud's own network, and the ways to the data centre and to the witness."""

import ipaddress

import pulumi
from pulumi_alicloud import cen, ecs, expressconnect, pvtz, vpc, vpn

from infra.outputs import NetworkOutputs
from infra.settings import Circuit, Settings
from infra.topology import ZONE, Topology

BFD_INTERVAL_MS, BFD_MULTIPLIER = 200, 3
"""A dead circuit is left after 600 ms, well under the agents' `silence_ms` of 1 s. Source: the least interval
that Express Connect takes is 200 ms, the least multiplier 3."""
PROBE_SECONDS, PROBES = 2, 8
"""Health check of a border router. Source: Alibaba's defaults."""
CLOUD_ASN = 45104
"""Source: Alibaba Cloud's side of BGP on border routers."""


def build_network(topology: Topology, opts: pulumi.ResourceOptions) -> NetworkOutputs:
    """Create the network; the circuits themselves are ordered on paper and named by id."""
    settings = topology.settings
    network = vpc.Network(
        "cloud",
        vpc_name=f"biyi-{settings.environment}",
        cidr_block=settings.cloud.networks.nodes,
        secondary_cidr_blocks=[settings.cloud.networks.pods, settings.cloud.networks.addresses],
        opts=opts,
    )
    nodes = _switches(network, "nodes", settings.cloud.networks.nodes, settings.cloud.zones, opts)
    pods = _switches(network, "pods", settings.cloud.networks.pods, settings.cloud.zones, opts)
    _egress(network, nodes, opts)
    backbone = cen.Instance("backbone", cen_instance_name=f"biyi-{settings.environment}", opts=opts)
    router = cen.TransitRouter("router", cen_id=backbone.id, transit_router_name="biyi-cloud", opts=opts)
    table = cen.TransitRouterRouteTable(
        "routes",
        transit_router_id=router.transit_router_id,
        transit_router_route_table_name="biyi",
        opts=opts,
    )
    attached = cen.TransitRouterVpcAttachment(
        "cloud",
        cen_id=backbone.id,
        transit_router_id=router.transit_router_id,
        vpc_id=network.id,
        zone_mappings=[
            cen.TransitRouterVpcAttachmentZoneMappingArgs(zone_id=zone, vswitch_id=switch.id)
            for zone, switch in nodes.items()
        ],
        auto_publish_route_enabled=True,
        opts=opts,
    )
    _route("cloud", attached.transit_router_attachment_id, table, opts)
    for circuit in settings.link.circuits:
        _circuit(settings, circuit, (backbone, router, table), opts)
    if settings.link.vpn is not None:
        _vpn(settings, (backbone, router, table), opts)
    zone = _private_names(topology, network, opts)
    return NetworkOutputs(
        vpc_id=network.id,
        node_switches=pulumi.Output.all(**{zone: switch.id for zone, switch in nodes.items()}),
        pod_switches=pulumi.Output.all(**{zone: switch.id for zone, switch in pods.items()}),
        cen_id=backbone.id,
        transit_router_id=router.transit_router_id,
        private_zone_id=zone.id,
    )


def split_by_zone(network: str, zones: tuple[str, ...]) -> dict[str, str]:
    """Return one equal part of `network` for each zone.

    >>> split_by_zone("10.32.0.0/18", ("b", "g"))
    {'b': '10.32.0.0/19', 'g': '10.32.32.0/19'}
    """
    bits = (len(zones) - 1).bit_length()
    parts = ipaddress.ip_network(network).subnets(prefixlen_diff=bits)
    return {zone: str(part) for zone, part in zip(zones, parts, strict=False)}


def _switches(
    network: vpc.Network, kind: str, cidr: str, zones: tuple[str, ...], opts: pulumi.ResourceOptions
) -> dict[str, vpc.Switch]:
    return {
        zone: vpc.Switch(
            f"{kind}-{zone}",
            vpc_id=network.id,
            cidr_block=part,
            zone_id=zone,
            vswitch_name=f"biyi-{kind}-{zone}",
            opts=opts,
        )
        for zone, part in split_by_zone(cidr, zones).items()
    }


def _egress(network: vpc.Network, nodes: dict[str, vpc.Switch], opts: pulumi.ResourceOptions) -> None:
    """Give the nodes a way out (banks, bureaux) under one known address; nothing comes in this way."""
    first = next(iter(nodes.values()))
    gateway = vpc.NatGateway(
        "egress",
        vpc_id=network.id,
        vswitch_id=first.id,
        nat_type="Enhanced",
        payment_type="PayAsYouGo",
        internet_charge_type="PayByLcu",
        deletion_protection=True,
        opts=opts,
    )
    address = ecs.EipAddress(
        "egress",
        address_name="biyi-egress",
        payment_type="PayAsYouGo",
        internet_charge_type="PayByTraffic",
        opts=opts,
    )
    bound = ecs.EipAssociation("egress", allocation_id=address.id, instance_id=gateway.id, opts=opts)
    for zone, switch in nodes.items():
        vpc.SnatEntry(
            f"egress-{zone}",
            snat_table_id=gateway.snat_table_ids,
            source_vswitch_id=switch.id,
            snat_ip=address.ip_address,
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[bound])),
        )


Backbone = tuple[cen.Instance, cen.TransitRouter, cen.TransitRouterRouteTable]


def _route(
    name: str,
    attachment: pulumi.Output[str],
    table: cen.TransitRouterRouteTable,
    opts: pulumi.ResourceOptions,
) -> None:
    cen.TransitRouterRouteTableAssociation(
        name,
        transit_router_attachment_id=attachment,
        transit_router_route_table_id=table.transit_router_route_table_id,
        opts=opts,
    )
    cen.TransitRouterRouteTablePropagation(
        name,
        transit_router_attachment_id=attachment,
        transit_router_route_table_id=table.transit_router_route_table_id,
        opts=opts,
    )


def _circuit(settings: Settings, circuit: Circuit, backbone: Backbone, opts: pulumi.ResourceOptions) -> None:
    instance, router, table = backbone
    border = expressconnect.VirtualBorderRouter(
        circuit.name,
        physical_connection_id=circuit.physical_connection_id,
        vlan_id=circuit.vlan,
        local_gateway_ip=circuit.cloud_ip,
        peer_gateway_ip=circuit.idc_ip,
        peering_subnet_mask=circuit.mask,
        bandwidth=circuit.bandwidth_mbit,
        min_rx_interval=BFD_INTERVAL_MS,
        min_tx_interval=BFD_INTERVAL_MS,
        detect_multiplier=BFD_MULTIPLIER,
        virtual_border_router_name=f"biyi-{circuit.name}",
        opts=opts,
    )
    group = vpc.BgpGroup(
        circuit.name,
        router_id=border.id,
        peer_asn=settings.link.idc_asn,
        auth_key=pulumi.Config("biyi").require_secret("bgpKey"),
        bgp_group_name=f"biyi-{circuit.name}",
        opts=opts,
    )
    vpc.BgpPeer(
        circuit.name, bgp_group_id=group.id, peer_ip_address=circuit.idc_ip, enable_bfd=True, opts=opts
    )
    attached = cen.TransitRouterVbrAttachment(
        circuit.name,
        cen_id=instance.id,
        transit_router_id=router.transit_router_id,
        vbr_id=border.id,
        auto_publish_route_enabled=True,
        opts=opts,
    )
    _route(circuit.name, attached.transit_router_attachment_id, table, opts)
    cen.VbrHealthCheck(
        circuit.name,
        cen_id=instance.id,
        vbr_instance_id=border.id,
        vbr_instance_region_id=str(settings.cloud.region),
        health_check_target_ip=circuit.idc_ip,
        health_check_interval=PROBE_SECONDS,
        healthy_threshold=PROBES,
        opts=opts,
    )


def _vpn(settings: Settings, backbone: Backbone, opts: pulumi.ResourceOptions) -> None:
    """Two IPsec tunnels as the way that remains when the circuits are down; BGP prefers the circuits."""
    assert settings.link.vpn is not None  # noqa: S101 - the caller asked
    instance, router, table = backbone
    customer = vpn.CustomerGateway(
        "idc", ip_address=settings.link.vpn.idc_gateway_ip, asn=str(settings.link.idc_asn), opts=opts
    )
    key = pulumi.Config("biyi").require_secret("vpnKey")
    tunnels = [
        vpn.GatewayVpnAttachmentTunnelOptionsSpecificationArgs(
            tunnel_index=index,
            customer_gateway_id=customer.id,
            enable_dpd=True,
            enable_nat_traversal=True,
            tunnel_ike_config=vpn.GatewayVpnAttachmentTunnelOptionsSpecificationTunnelIkeConfigArgs(
                ike_version="ikev2", ike_mode="main", ike_auth_alg="sha256", ike_enc_alg="aes256",
                ike_pfs="group14", ike_lifetime=86400, psk=key,
            ),
            tunnel_ipsec_config=vpn.GatewayVpnAttachmentTunnelOptionsSpecificationTunnelIpsecConfigArgs(
                ipsec_auth_alg="sha256", ipsec_enc_alg="aes256", ipsec_pfs="group14", ipsec_lifetime=86400,
            ),
        )
        for index in (1, 2)
    ]  # fmt: skip
    attachment = vpn.GatewayVpnAttachment(
        "idc",
        network_type="public",
        local_subnet="0.0.0.0/0",
        remote_subnet="0.0.0.0/0",
        enable_tunnels_bgp=True,
        tunnel_options_specifications=tunnels,
        opts=opts,
    )
    attached = cen.TransitRouterVpnAttachment(
        "idc",
        cen_id=instance.id,
        transit_router_id=router.transit_router_id,
        vpn_id=attachment.id,
        auto_publish_route_enabled=True,
        opts=opts,
    )
    _route("vpn", attached.id, table, opts)


def _private_names(topology: Topology, network: vpc.Network, opts: pulumi.ResourceOptions) -> pvtz.Zone:
    """Name every fixed address; the data centre's own servers forward the zone here or hold a copy."""
    zone = pvtz.Zone("names", zone_name=ZONE, opts=opts)
    pvtz.ZoneAttachment(
        "names", zone_id=zone.id, vpcs=[pvtz.ZoneAttachmentVpcArgs(vpc_id=network.id)], opts=opts
    )
    for name, address in topology.addresses().items():
        short = name.removesuffix(f".{ZONE}")
        pvtz.ZoneRecord(short, zone_id=zone.id, rr=short, type="A", value=address, ttl=60, opts=opts)
    return zone
