"""Level-3 checks on resources of the cloud, with the controls they stand for. Pure."""

import json
import re
from collections.abc import Callable, Iterator, Mapping

from infra.plan import UNKNOWN, Plan, Planned, is_protected_kind

Found = Iterator[tuple[Planned, str]]
Row = tuple[str, tuple[str, ...], str, Callable[[Plan], Found]]

AUDIT_DAYS = 180
"""Source: GB/T 22239-2019 8.1.5.4 d with the Cybersecurity Law's six months."""
PASSWORD_LENGTH, PASSWORD_DAYS, LOGIN_ATTEMPTS = 8, 90, 10
"""Source: research/compliance.md, the measured form of 8.1.4.1 a and b."""
_EVERYWHERE = {"0.0.0.0/0", "::/0"}
_TLS = {"TLSv1.2", "TLSv1.3"}
_ZONE = re.compile(r"cn-(?!hongkong)[a-z-]+(-\d+)?-[a-z]")


def _each(plan: Plan, kind: str) -> Iterator[Planned]:
    return (planned for planned in plan if planned.type == f"alicloud:{kind}")


def _given(value: object) -> bool:
    return value not in (None, "", [], {})


def disks_are_encrypted(plan: Plan) -> Found:
    """System and data disks of machines and node pools are encrypted."""
    for kind in ("cs/nodePool:NodePool", "ecs/instance:Instance"):
        for planned in _each(plan, kind):
            if planned.at("systemDiskEncrypted") is not True:
                yield planned, f"systemDiskEncrypted is {planned.at('systemDiskEncrypted')}"
            for disk in planned.rows("dataDisks"):
                if str(disk.get("encrypted")).lower() != "true":
                    yield planned, f"data disk {disk.get('name')} is not encrypted"


def buckets_are_encrypted_with_sm4(plan: Plan) -> Found:
    """Each bucket has server-side encryption of the same name, by KMS with SM4."""
    by_name = {p.name: p for p in _each(plan, "oss/bucketServerSideEncryption:BucketServerSideEncryption")}
    for bucket in _each(plan, "oss/bucket:Bucket"):
        sealed = by_name.get(bucket.name)
        if sealed is None:
            yield bucket, "no BucketServerSideEncryption of this name"
        elif (sealed.at("sseAlgorithm"), sealed.at("kmsDataEncryption")) != ("KMS", "SM4"):
            yield sealed, f"{sealed.at('sseAlgorithm')} with {sealed.at('kmsDataEncryption')}"


def keys_are_sm4_and_turn(plan: Plan) -> Found:
    """Keys of ours are SM4 in a KMS instance, and rotate."""
    for key in _each(plan, "kms/key:Key"):
        if key.at("keySpec") != "Aliyun_SM4":
            yield key, f"keySpec is {key.at('keySpec')}"
        if not _given(key.at("dkmsInstanceId")):
            yield key, "dkmsInstanceId is not set: the shared service has no SM4"
        if key.at("automaticRotation") != "Enabled":
            yield key, f"automaticRotation is {key.at('automaticRotation')}"


def cluster_secrets_are_encrypted(plan: Plan) -> Found:
    """Secrets in the cluster's own store are encrypted with a key of ours."""
    for cluster in _each(plan, "cs/managedKubernetes:ManagedKubernetes"):
        if not _given(cluster.at("encryptionProviderKey")) or cluster.at("disableEncryption") is True:
            yield cluster, "encryptionProviderKey is not set, or disableEncryption is"


def buckets_speak_tls(plan: Plan) -> Found:
    """Each bucket refuses plain HTTP and TLS under 1.2."""
    by_name = {p.name: p for p in _each(plan, "oss/bucketHttpsConfig:BucketHttpsConfig")}
    for bucket in _each(plan, "oss/bucket:Bucket"):
        config = by_name.get(bucket.name)
        versions = config.at("tlsVersions") if config else None
        if config is None or config.at("enable") is not True:
            yield bucket, "no BucketHttpsConfig of this name that is enabled"
        elif not isinstance(versions, list) or not versions or not set(versions) <= _TLS:
            yield config, f"tlsVersions are {versions}"


def entrance_speaks_tls(plan: Plan) -> Found:
    """The web firewall listens on HTTPS only, TLS 1.2 or newer."""
    for domain in _each(plan, "wafv3/domain:Domain"):
        if _given(domain.at("listen.httpPorts")):
            yield domain, f"listens on plain HTTP: {domain.at('listen.httpPorts')}"
        if domain.at("listen.tlsVersion") != "tlsv1.2":
            yield domain, f"listen.tlsVersion is {domain.at('listen.tlsVersion')}"


def tunnels_are_strong(plan: Plan) -> Found:
    """IPsec between the sites uses AES and SHA-2."""
    for vpn in _each(plan, "vpn/gatewayVpnAttachment:GatewayVpnAttachment"):
        for tunnel in vpn.rows("tunnelOptionsSpecifications"):
            for part, prefix in (("tunnelIkeConfig", "ike"), ("tunnelIpsecConfig", "ipsec")):
                options = tunnel.get(part)
                algorithms = (
                    [options.get(f"{prefix}{kind}Alg") for kind in ("Auth", "Enc")]
                    if isinstance(options, Mapping)
                    else []
                )
                if not algorithms or {"md5", "sha1", "des", "3des", None} & set(algorithms):
                    yield vpn, f"tunnel {tunnel.get('tunnelIndex')}: {part} uses {algorithms}"


def nothing_is_public(plan: Plan) -> Found:
    """Neither the cluster's API, nor a machine, nor the bastion, nor a bucket answers the Internet."""
    for cluster in _each(plan, "cs/managedKubernetes:ManagedKubernetes"):
        if cluster.at("slbInternetEnabled") is not False:
            yield cluster, f"slbInternetEnabled is {cluster.at('slbInternetEnabled')}"
    for machine in _each(plan, "ecs/instance:Instance"):
        if machine.at("internetMaxBandwidthOut") not in (0, None):
            yield machine, f"internetMaxBandwidthOut is {machine.at('internetMaxBandwidthOut')}"
    for bastion in _each(plan, "bastionhost/instance:Instance"):
        if bastion.at("enablePublicAccess") is not False:
            yield bastion, f"enablePublicAccess is {bastion.at('enablePublicAccess')}"
    blocked = {
        p.name
        for p in _each(plan, "oss/bucketPublicAccessBlock:BucketPublicAccessBlock")
        if p.at("blockPublicAccess") is True
    }
    for bucket in _each(plan, "oss/bucket:Bucket"):
        if bucket.at("acl") != "private" or bucket.name not in blocked:
            yield (
                bucket,
                f"acl is {bucket.at('acl')}, public access blocked: {bucket.name in blocked}",
            )


def nobody_enters_from_everywhere(plan: Plan) -> Found:
    """No security group lets every address in, and none lets machines in for being of the group."""
    for rule in _each(plan, "ecs/securityGroupRule:SecurityGroupRule"):
        if rule.at("type") == "ingress" and rule.at("policy") != "drop" and rule.at("cidrIp") in _EVERYWHERE:
            yield rule, f"lets {rule.at('cidrIp')} in on {rule.at('portRange')}"
        if rule.at("type") == "ingress" and rule.at("portRange") in (None, "-1/-1"):
            yield rule, "opens every port"
    for group in _each(plan, "ecs/securityGroup:SecurityGroup"):
        if group.at("innerAccessPolicy") != "Drop":
            yield group, f"innerAccessPolicy is {group.at('innerAccessPolicy')}"


def acts_are_audited(plan: Plan) -> Found:
    """The cluster writes its audit log, the trail writes every act; both are kept half a year and more."""
    for cluster in _each(plan, "cs/managedKubernetes:ManagedKubernetes"):
        components = cluster.at("controlPlaneLogComponents")
        if cluster.at("auditLogConfig.enabled") is not True:
            yield cluster, "auditLogConfig.enabled is not true"
        if not isinstance(components, list) or "apiserver" not in components:
            yield cluster, f"controlPlaneLogComponents are {components}"
    for trail in _each(plan, "actiontrail/trail:Trail"):
        if trail.at("eventRw") != "All" or trail.at("trailRegion") != "All":
            yield trail, f"eventRw {trail.at('eventRw')}, trailRegion {trail.at('trailRegion')}"
    for store in _each(plan, "log/store:Store"):
        days = store.at("retentionPeriod")
        if not isinstance(days, int) or days < AUDIT_DAYS:
            yield store, f"retentionPeriod is {days} days"


def networks_are_watched(plan: Plan) -> Found:
    """Where logs are made there is a flow log of the network's traffic and a trail of acts beside them."""
    kinds = {planned.type for planned in plan}
    for project in _each(plan, "log/project:Project"):
        for needed in ("vpc/flowLog:FlowLog", "actiontrail/trail:Trail"):
            if f"alicloud:{needed}" not in kinds:
                yield project, f"no {needed.split(':')[1]} beside it"


def backups_cannot_be_changed(plan: Plan) -> Found:
    """The bucket of backups keeps versions and is write-once for a locked time; nothing empties it."""
    worm = {p.name: p for p in _each(plan, "oss/bucketWorm:BucketWorm")}
    versioned = {
        p.name for p in _each(plan, "oss/bucketVersioning:BucketVersioning") if p.at("status") == "Enabled"
    }
    for bucket in _each(plan, "oss/bucket:Bucket"):
        if bucket.at("forceDestroy") is not False:
            yield bucket, "forceDestroy is not false"
        if bucket.name.startswith("backup"):
            lock = worm.get(bucket.name)
            if bucket.name not in versioned:
                yield bucket, "versioning is not enabled"
            if lock is None or lock.at("status") != "Locked" or not _given(lock.at("retentionPeriodInDays")):
                yield bucket, "no locked BucketWorm of this name"


def state_is_protected(plan: Plan) -> Found:
    """What holds data, and what was paid for in advance, is protected from deletion by the program."""
    for planned in plan:
        if is_protected_kind(planned.type) and not planned.protect:
            yield planned, "protect is not set"
    for kind, wanted in {
        "cs/managedKubernetes:ManagedKubernetes": True, "ecs/instance:Instance": True,
        "kms/key:Key": "Enabled", "kms/instance:Instance": True, "vpc/natGateway:NatGateway": True,
    }.items():  # fmt: skip
        for planned in _each(plan, kind):
            if planned.at("deletionProtection") != wanted:
                yield planned, f"deletionProtection is {planned.at('deletionProtection')}"


def data_stay_in_the_country(plan: Plan) -> Found:
    """Everything that names a zone names one in mainland China."""
    for planned in plan:
        for key in ("zoneId", "availabilityZone"):
            zone = planned.at(key)
            if planned.type.startswith("alicloud:") and isinstance(zone, str) and not _ZONE.fullmatch(zone):
                yield planned, f"{key} is {zone}"


def people_prove_who_they_are(plan: Plan) -> Found:
    """Passwords are long, mixed, changed and locked after failures; a second factor is demanded."""
    for rules in _each(plan, "ram/passwordPolicy:PasswordPolicy"):
        classes = sum(
            rules.at(f"require{kind}") is True
            for kind in ("LowercaseCharacters", "UppercaseCharacters", "Numbers", "Symbols")
        )
        if _number(rules.at("minimumPasswordLength"), 0) < PASSWORD_LENGTH or classes < 3:
            yield rules, f"{rules.at('minimumPasswordLength')} characters of {classes} classes"
        if not 0 < _number(rules.at("maxPasswordAge"), 0) <= PASSWORD_DAYS:
            yield rules, f"maxPasswordAge is {rules.at('maxPasswordAge')}"
        if not 0 < _number(rules.at("maxLoginAttemps"), 0) <= LOGIN_ATTEMPTS:
            yield rules, f"maxLoginAttemps is {rules.at('maxLoginAttemps')}"
    for login in _each(plan, "ram/securityPreference:SecurityPreference"):
        if login.at("mfaOperationForLogin") != "mandatory":
            yield login, f"mfaOperationForLogin is {login.at('mfaOperationForLogin')}"
        if not _given(login.at("loginNetworkMasks")):
            yield login, "loginNetworkMasks are open"


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


def roles_may_little(plan: Plan) -> Found:
    """No policy of ours allows every act."""
    for policy in _each(plan, "ram/policy:Policy"):
        text = policy.at("policyDocument")
        statements = json.loads(text).get("Statement", []) if isinstance(text, str) else []
        for statement in statements:
            actions = statement.get("Action", [])
            actions = actions if isinstance(actions, list) else [actions]
            if statement.get("Effect") == "Allow" and any(a == "*" or a.endswith(":*") for a in actions):
                yield policy, f"allows {actions}"
        if text is not UNKNOWN and not statements:
            yield policy, "has no policyDocument that can be read"


def sites_have_two_ways(plan: Plan) -> Found:
    """Leased lines have a second way beside them, and a dead one is noticed by BFD."""
    borders = list(_each(plan, "expressconnect/virtualBorderRouter:VirtualBorderRouter"))
    tunnels = list(_each(plan, "vpn/gatewayVpnAttachment:GatewayVpnAttachment"))
    if len(borders) == 1 and not tunnels:
        yield borders[0], "is the only way between the sites"
    for peer in _each(plan, "vpc/bgpPeer:BgpPeer"):
        if peer.at("enableBfd") is not True:
            yield peer, "enableBfd is not true"


CLOUD_RULES: tuple[Row, ...] = (
    ("disks-encrypted", ("8.1.4.8 b",), "encrypted disks", disks_are_encrypted),
    ("buckets-encrypted", ("8.1.4.8 b", "8.1.10.9 b"), "SSE-KMS with SM4", buckets_are_encrypted_with_sm4),
    ("keys-sm4", ("8.1.4.8 b", "8.1.10.9 b"), "SM4 keys in a KMS instance, turning", keys_are_sm4_and_turn),
    ("cluster-secrets-encrypted", ("8.1.4.8 b",), "encrypted cluster secrets", cluster_secrets_are_encrypted),
    ("buckets-tls", ("8.1.2.2 a", "8.1.2.2 b"), "TLS 1.2 or newer only", buckets_speak_tls),
    ("entrance-tls", ("8.1.2.2 a", "8.1.2.2 b"), "HTTPS only, TLS 1.2 or newer", entrance_speaks_tls),
    ("tunnels-strong", ("8.1.2.2 b",), "AES and SHA-2", tunnels_are_strong),
    ("nothing-public", ("8.1.3.1 a", "8.1.2.1 d"), "no public address", nothing_is_public),
    ("default-deny", ("8.1.3.2 a", "8.1.3.2 c"), "named sources and ports", nobody_enters_from_everywhere),
    ("audited", ("8.1.4.3 a", "8.1.5.4 d", "8.2.3.3 a"), "audit on, kept 180 days", acts_are_audited),
    ("watched", ("8.1.3.5 a", "8.1.5.4 c"), "flow log and trail", networks_are_watched),
    ("backups-worm", ("8.1.4.9 b", "8.1.4.3 c"), "versions, write-once", backups_cannot_be_changed),
    ("state-protected", ("8.1.4.9 a", "8.2.3.3 a"), "protection from deletion", state_is_protected),
    ("residency", ("8.2.1.1", "8.2.4.5 a"), "a zone in mainland China", data_stay_in_the_country),
    (
        "people",
        ("8.1.4.1 a", "8.1.4.1 b", "8.1.4.1 d"),
        "strong passwords, two factors",
        people_prove_who_they_are,
    ),
    ("roles-little", ("8.1.4.2 d",), "least privilege", roles_may_little),
    ("two-ways", ("8.1.2.1 e",), "two ways, watched", sites_have_two_ways),
)
