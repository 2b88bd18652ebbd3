"""Stack `security`: keys, logs, who may do what, and what guards the entrance and the backbone."""

import json

import pulumi
from pulumi_alicloud import (
    actiontrail,
    bastionhost,
    cloudfirewall,
    ecs,
    kms,
    log,
    ram,
    threatdetection,
    vpc,
    wafv3,
)

from infra.outputs import NetworkOutputs, SecurityOutputs
from infra.topology import Topology

ROTATION_DAYS = 365
"""How often the root key of the cloud site turns. Source: our choice, within GM/T practice of a year."""
KEY_REMORSE_DAYS = 30
"""How long a deleted key can be called back. Source: KMS's own default; it offers up to 366."""
PREPAID_MONTHS = 12
"""Length of each purchase. Source: our choice; shorter ones lapse unseen."""


def build_security(
    topology: Topology, network: NetworkOutputs, opts: pulumi.ResourceOptions
) -> SecurityOutputs:
    """Create keys, logs and guards; what is prepaid only where `purchases` says so."""
    settings = topology.settings
    key = _root_key(topology, network, opts)
    project = log.Project("audit", project_name=f"biyi-audit-{settings.environment}", opts=opts)
    stores = {
        name: log.Store(
            name,
            project_name=project.project_name,
            logstore_name=name,
            retention_period=settings.audit_days,
            auto_split=True,
            max_split_shard_count=64,
            append_meta=True,
            opts=opts,
        )
        for name in ("actions", "flows", "entrance")
    }
    trail_role = _service_role("actiontrail", "actiontrail.aliyuncs.com", opts)
    region = str(settings.cloud.region)
    actiontrail.Trail(
        "actions",
        trail_name="biyi-actions",
        event_rw="All",
        trail_region="All",
        sls_project_arn=pulumi.Output.concat(
            f"acs:log:{region}:", pulumi.Config("biyi").require("account"), ":project/", project.project_name
        ),
        sls_write_role_arn=trail_role.arn,
        opts=opts,
    )
    vpc.FlowLog(
        "flows",
        resource_type="VPC",
        resource_id=network.vpc_id,
        traffic_type="All",
        project_name=project.project_name,
        log_store_name=stores["flows"].logstore_name,
        aggregation_interval="1",
        opts=opts,
    )
    _people(topology, opts)
    group = _firewall_group(topology, network, opts)
    _purchases(topology, network, group, opts)
    return SecurityOutputs(key_id=key.id, log_project=project.project_name, firewall_group_id=group.id)


def _root_key(topology: Topology, network: NetworkOutputs, opts: pulumi.ResourceOptions) -> kms.Key:
    settings = topology.settings
    if settings.existing.kms_instance_id:
        instance_id: pulumi.Input[str] = settings.existing.kms_instance_id
    else:
        zones = list(settings.cloud.zones[:2])
        bought = kms.Instance(
            "keys",
            vpc_id=network.vpc_id,
            zone_ids=zones,
            vswitch_ids=[network.node_switches.apply(lambda ids: ids[zones[0]])],
            product_version="3",
            payment_type="Subscription",
            period=PREPAID_MONTHS,
            renew_status="AutoRenewal",
            renew_period=1,
            renewal_period_unit="Y",
            vpc_num=1,
            key_num=1000,
            secret_num=100,
            spec=1000,
            log="1",
            log_storage=1000,
            deletion_protection=True,
            opts=opts,
        )
        instance_id = bought.id
    key = kms.Key(
        "root",
        description="Biyi: root of everything at rest in the cloud site",
        dkms_instance_id=instance_id,
        key_spec="Aliyun_SM4",
        key_usage="ENCRYPT/DECRYPT",
        automatic_rotation="Enabled",
        rotation_interval=f"{ROTATION_DAYS}d",
        deletion_protection="Enabled",
        pending_window_in_days=KEY_REMORSE_DAYS,
        opts=opts,
    )
    kms.Alias("root", alias_name="alias/biyi-root", key_id=key.id, opts=opts)
    return key


def _service_role(name: str, service: str, opts: pulumi.ResourceOptions) -> ram.Role:
    trust = {
        "Version": "1",
        "Statement": [{"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": [service]}}],
    }
    role = ram.Role(name, role_name=f"biyi-{name}", assume_role_policy_document=json.dumps(trust), opts=opts)
    policy = ram.Policy(
        name,
        policy_name=f"biyi-{name}",
        policy_document=json.dumps(
            {
                "Version": "1",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Action": ["log:PostLogStoreLogs", "log:CreateLogstore", "log:GetLogstore"],
                        "Resource": ["acs:log:*:*:project/biyi-audit-*"],
                    }
                ],
            }
        ),
        opts=opts,
    )
    ram.RolePolicyAttachment(
        name, role_name=role.role_name, policy_name=policy.policy_name, policy_type="Custom", opts=opts
    )
    return role


def _people(topology: Topology, opts: pulumi.ResourceOptions) -> None:
    ram.PasswordPolicy(
        "people",
        minimum_password_length=12,
        require_lowercase_characters=True,
        require_uppercase_characters=True,
        require_numbers=True,
        require_symbols=True,
        hard_expiry=False,
        max_password_age=90,
        password_reuse_prevention=8,
        max_login_attemps=5,
        opts=opts,
    )
    ram.SecurityPreference(
        "people",
        mfa_operation_for_login="mandatory",
        allow_user_to_manage_access_keys=False,
        login_session_duration=6,
        login_network_masks=";".join(topology.settings.admin_networks),
        opts=opts,
    )


def _firewall_group(
    topology: Topology, network: NetworkOutputs, opts: pulumi.ResourceOptions
) -> ecs.SecurityGroup:
    """Let only the two sites, the witness and the administrators' networks in; nothing from the Internet."""
    settings = topology.settings
    group = ecs.SecurityGroup(
        "nodes",
        vpc_id=network.vpc_id,
        security_group_name="biyi-nodes",
        security_group_type="enterprise",
        inner_access_policy="Drop",
        opts=opts,
    )
    allowed = {
        "cloud-nodes": (settings.cloud.networks.nodes, "1/65535"),
        "cloud-pods": (settings.cloud.networks.pods, "1/65535"),
        "idc-copies": (settings.idc.networks.addresses, "1024/65535"),
        "idc-pods": (settings.idc.networks.pods, "1024/65535"),
        "witness": (settings.witness.network, "2379/2380"),
    }
    for index, admin in enumerate(settings.admin_networks):
        allowed[f"admin-{index}"] = (admin, "6443/6443")
    for name, (source, ports) in allowed.items():
        ecs.SecurityGroupRule(
            name,
            security_group_id=group.id,
            type="ingress",
            ip_protocol="tcp",
            policy="accept",
            port_range=ports,
            cidr_ip=source,
            priority=1,
            opts=opts,
        )
    return group


def _purchases(
    topology: Topology, network: NetworkOutputs, group: ecs.SecurityGroup, opts: pulumi.ResourceOptions
) -> None:
    bought = topology.settings.purchases
    if bought.waf:
        wafv3.Instance("waf", opts=opts)
    if bought.bastion:
        first = topology.settings.cloud.zones[0]
        bastionhost.Instance(
            "bastion",
            description="biyi",
            license_code="bhah_ent_50_asset",
            plan_code="cloudbastion",
            storage="5",
            bandwidth="5",
            period=PREPAID_MONTHS,
            vswitch_id=network.node_switches.apply(lambda ids: ids[first]),
            security_group_ids=[group.id],
            enable_public_access=False,
            opts=opts,
        )
    if bought.cloud_firewall:
        cloudfirewall.InstanceV2(
            "firewall",
            payment_type="PayAsYouGo",
            product_code="cfw",
            product_type="cfw_elasticity_public_cn",
            spec="payg_version",
            cfw_log=True,
            opts=opts,
        )
    if bought.security_center:
        threatdetection.Instance(
            "security-center",
            payment_type="Subscription",
            version_code="level3",
            buy_number="20",
            v_core="160",
            period=PREPAID_MONTHS,
            renewal_status="ManualRenewal",
            opts=opts,
        )
