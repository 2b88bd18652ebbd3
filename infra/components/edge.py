"""Stack `edge`: how customers find a site that is alive, and what their requests pass before it."""

import json

import pulumi
from pulumi_alicloud import dns, wafv3

from infra.outputs import EdgeOutputs
from infra.settings import DATA_SITES, DataSiteName
from infra.topology import Topology

TTL_SECONDS = 60
"""How long a resolver keeps an answer. Source: the least of GTM's standard edition; either site serves every
customer, so an answer that is a minute old costs a connection, not an order."""
HEALTH_PORT = 443


def build_edge(topology: Topology, opts: pulumi.ResourceOptions) -> EdgeOutputs:
    """Create the web firewall's rules for the domain, and names that answer with sites that are alive."""
    settings = topology.settings
    guarded = _web_firewall(topology, opts)
    if settings.purchases.gtm:
        public = _traffic_manager(topology, opts)
    else:
        label, _, parent = settings.domain.partition(".")
        for site in DATA_SITES:
            dns.AlidnsRecord(
                site,
                domain_name=parent,
                rr=label,
                type="A",
                value=settings.site(site).entrance,
                ttl=600,
                remark="without GTM a dead site's address is answered until someone removes it",
                opts=opts,
            )
        public = pulumi.Output.from_input(settings.domain)
    return EdgeOutputs(public_name=pulumi.Output.all(public, guarded.domain).apply(lambda both: str(both[0])))


def _web_firewall(topology: Topology, opts: pulumi.ResourceOptions) -> wafv3.Domain:
    settings = topology.settings
    waf_id: pulumi.Input[str] = settings.existing.waf_instance_id or wafv3.get_instances_output().apply(
        lambda found: found.ids[0] if found.ids else ""
    )
    return wafv3.Domain(
        "entrance",
        domain=settings.domain,
        instance_id=waf_id,
        access_type="share",
        listen=wafv3.DomainListenArgs(
            https_ports=[HEALTH_PORT],
            cert_id=settings.existing.certificate_id,
            tls_version="tlsv1.2",
            enable_tlsv3=True,
            cipher_suite=2,
            focus_https=False,
            http2_enabled=True,
            xff_header_mode=0,
        ),
        redirect=wafv3.DomainRedirectArgs(
            loadbalance="iphash",
            backends=[settings.cloud.entrance, settings.idc.entrance],
            keepalive=True,
            retry=False,
            sni_enabled=True,
        ),
        opts=opts,
    )


def _traffic_manager(topology: Topology, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    settings = topology.settings
    manager = dns.GtmInstance(
        "edge",
        instance_name="biyi",
        payment_type="Subscription",
        period=12,
        renewal_status="ManualRenewal",
        package_edition="standard",
        health_check_task_count=100,
        sms_notification_count=1000,
        strategy_mode="GEO",
        ttl=TTL_SECONDS,
        public_cname_mode="SYSTEM_ASSIGN",
        cname_type="PUBLIC",
        public_user_domain_name=settings.domain,
        opts=opts,
    )
    pools = [_watched_pool(topology, site, manager, opts) for site in DATA_SITES]
    dns.AccessStrategy(
        "edge",
        strategy_name="both-sites",
        strategy_mode="GEO",
        instance_id=manager.id,
        access_mode="AUTO",
        default_addr_pool_type="IPV4",
        default_lba_strategy="RATIO",
        default_min_available_addr_num=1,
        default_addr_pools=[
            dns.AccessStrategyDefaultAddrPoolArgs(addr_pool_id=pool.id, lba_weight=1) for pool in pools
        ],
        lines=[dns.AccessStrategyLineArgs(line_code="default")],
        opts=opts,
    )
    return pulumi.Output.from_input(settings.domain)


def _watched_pool(
    topology: Topology, site: DataSiteName, manager: dns.GtmInstance, opts: pulumi.ResourceOptions
) -> dns.AddressPool:
    """Create a site's address with its health check.

    `/healthz`, not `/readyz`: one cell that is away must not take a whole entrance out.
    """
    settings = topology.settings
    pool = dns.AddressPool(
        site,
        address_pool_name=site,
        instance_id=manager.id,
        type="IPV4",
        lba_strategy="RATIO",
        addresses=[
            dns.AddressPoolAddressArgs(
                address=settings.site(site).entrance,
                mode="SMART",
                lba_weight=1,
                attribute_info=json.dumps({"lineCodeRectifyType": "RECTIFIED", "lineCodes": ["default"]}),
            )
        ],
        opts=opts,
    )
    dns.MonitorConfig(
        site,
        addr_pool_id=pool.id,
        protocol_type="HTTPS",
        interval=60,
        evaluation_count=1,
        timeout=3000,
        monitor_extend_info=json.dumps(
            {
                "code": 400,
                "failureRate": 50,
                "host": settings.domain,
                "path": "/healthz",
                "port": HEALTH_PORT,
            }
        ),
        isp_city_nodes=[
            dns.MonitorConfigIspCityNodeArgs(city_code=city, isp_code="465") for city in ("503", "738")
        ],
        opts=opts,
    )
    return pool
