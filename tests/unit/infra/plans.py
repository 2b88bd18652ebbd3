"""For each Level-3 check a plan that keeps it and plans that do not."""

import json
from typing import Any

from infra.plan import UNKNOWN, Plan, Planned

DIGEST = "registry/biyi@sha256:" + "0" * 64


def cloud(kind: str, name: str = "x", *, protect: bool = True, **props: Any) -> Planned:
    return Planned(f"alicloud:{kind}", name, props, protect)


def bucket(name: str, **changed: dict[str, Any] | None) -> Plan:
    """A bucket with all that stands beside a good one; a None leaves that one out."""
    beside: dict[str, tuple[str, dict[str, Any]]] = {
        "sealed": ("oss/bucketServerSideEncryption:BucketServerSideEncryption",
                   {"sseAlgorithm": "KMS", "kmsDataEncryption": "SM4"}),
        "tls": ("oss/bucketHttpsConfig:BucketHttpsConfig", {"enable": True, "tlsVersions": ["TLSv1.2"]}),
        "block": ("oss/bucketPublicAccessBlock:BucketPublicAccessBlock", {"blockPublicAccess": True}),
        "versions": ("oss/bucketVersioning:BucketVersioning", {"status": "Enabled"}),
        "worm": ("oss/bucketWorm:BucketWorm", {"status": "Locked", "retentionPeriodInDays": 35}),
    }  # fmt: skip
    own = {"acl": "private", "forceDestroy": False} | (changed.get("own") or {})
    plan = [cloud("oss/bucket:Bucket", name, **own)]
    for key, (kind, props) in beside.items():
        change = changed.get(key, {})
        if change is not None:
            plan.append(cloud(kind, name, **(props | change)))
    return tuple(plan)


def cluster(**changed: Any) -> Plan:
    good: dict[str, Any] = {
        "encryptionProviderKey": UNKNOWN, "disableEncryption": False, "slbInternetEnabled": False,
        "auditLogConfig": {"enabled": True}, "controlPlaneLogComponents": ["apiserver"],
            "deletionProtection": True,
    }  # fmt: skip
    return (cloud("cs/managedKubernetes:ManagedKubernetes", **(good | changed)),)


def key(**changed: Any) -> Plan:
    good = {
        "keySpec": "Aliyun_SM4", "dkmsInstanceId": "kst-1", "automaticRotation": "Enabled",
        "deletionProtection": "Enabled",
    }  # fmt: skip
    return (cloud("kms/key:Key", **(good | changed)),)


def machine(**changed: Any) -> Plan:
    good = {"systemDiskEncrypted": True, "dataDisks": [{"encrypted": True}], "internetMaxBandwidthOut": 0,
            "deletionProtection": True}  # fmt: skip
    return (cloud("ecs/instance:Instance", **(good | changed)),)


def rule(**changed: Any) -> Plan:
    good = {"type": "ingress", "policy": "accept", "cidrIp": "10.0.0.0/16", "portRange": "443/443"}
    return (cloud("ecs/securityGroupRule:SecurityGroupRule", **(good | changed)),)


def people(**changed: Any) -> Plan:
    good = {
        "minimumPasswordLength": 12, "requireNumbers": True, "requireSymbols": True, "maxPasswordAge": 90,
        "requireLowercaseCharacters": True, "requireUppercaseCharacters": True, "maxLoginAttemps": 5,
    }  # fmt: skip
    return (cloud("ram/passwordPolicy:PasswordPolicy", **(good | changed)),)


def login(**changed: Any) -> Plan:
    good = {"mfaOperationForLogin": "mandatory", "loginNetworkMasks": "10.9.0.0/24"}
    return (cloud("ram/securityPreference:SecurityPreference", **(good | changed)),)


def role(action: Any) -> Plan:
    document = {"Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}
    return (cloud("ram/policy:Policy", policyDocument=json.dumps(document)),)


def tunnel(algorithm: str) -> Plan:
    options = {
        "tunnelIndex": 1,
        "tunnelIkeConfig": {"ikeAuthAlg": "sha256", "ikeEncAlg": "aes256"},
        "tunnelIpsecConfig": {"ipsecAuthAlg": algorithm, "ipsecEncAlg": "aes256"},
    }
    return (cloud("vpn/gatewayVpnAttachment:GatewayVpnAttachment", tunnelOptionsSpecifications=[options]),)


def domain(**listen: Any) -> Plan:
    return (cloud("wafv3/domain:Domain", listen={"httpsPorts": [443], "tlsVersion": "tlsv1.2"} | listen),)


def kube(kind: str, props: dict[str, Any], name: str = "x") -> Planned:
    return Planned(f"kubernetes:{kind}", name, props, True)


def container(**changed: Any) -> dict[str, Any]:
    sizes = {"cpu": "1", "memory": "1Gi"}
    good: dict[str, Any] = {
        "name": "c", "image": DIGEST, "resources": {"requests": sizes, "limits": sizes},
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        },
    }  # fmt: skip
    return good | changed


def pods(
    *, denied: bool = True, level: str = "restricted", spec: dict[str, Any] | None = None, **changed: Any
) -> Plan:
    """A namespace with a Deployment in it, whose container has `changed`."""
    pod = {"containers": [container(**changed)]} | (spec or {})
    plan = [
        kube("core/v1:Namespace", {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}),
        kube("apps/v1:Deployment", {"metadata": {"namespace": "biyi"}, "spec": {"template": {"spec": pod}}}),
    ]
    if denied:
        nothing = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        plan.append(
            kube("networking.k8s.io/v1:NetworkPolicy", {"metadata": {"namespace": "biyi"}, "spec": nothing})
        )
    return tuple(plan)


def context(**changed: Any) -> dict[str, Any]:
    return container()["securityContext"] | changed


def stateful(**changed: Any) -> Plan:
    keep = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    good = {"persistentVolumeClaimRetentionPolicy": keep, "updateStrategy": {"type": "OnDelete"}}
    return (kube("apps/v1:StatefulSet", {"spec": good | changed}),)


def balancer(**notes: str) -> Plan:
    return (kube("core/v1:Service", {"spec": {"type": "LoadBalancer"}, "metadata": {"annotations": notes}}),)


def rights(**changed: Any) -> Plan:
    good = {"verbs": ["get"], "resources": ["pods"]}
    return (kube("rbac.authorization.k8s.io/v1:Role", {"rules": [good | changed]}),)


INTRANET = {"service.beta.kubernetes.io/alibaba-cloud-loadbalancer-address-type": "intranet"}
INTERNET = {"service.beta.kubernetes.io/alibaba-cloud-loadbalancer-address-type": "internet"}
LINE = cloud("expressconnect/virtualBorderRouter:VirtualBorderRouter", "line-a")
SECOND_LINE = cloud("expressconnect/virtualBorderRouter:VirtualBorderRouter", "line-b")
LOGS = (cloud("log/project:Project"), cloud("vpc/flowLog:FlowLog"), cloud("actiontrail/trail:Trail"))

PLANS: dict[str, tuple[Plan, tuple[Plan, ...]]] = {
    "disks-encrypted": (machine(), (
        machine(systemDiskEncrypted=False), machine(dataDisks=[{"encrypted": False}]),
            (cloud("cs/nodePool:NodePool"),),
    )),
    "buckets-encrypted": (bucket("backups"), (
        bucket("backups", sealed=None), bucket("backups", sealed={"kmsDataEncryption": "AES256"}),
        bucket("backups", sealed={"sseAlgorithm": "AES256"}),
    )),
    "keys-sm4": (key(), (
        key(keySpec="Aliyun_AES_256"), key(dkmsInstanceId=None), key(automaticRotation="Disabled"),
    )),
    "cluster-secrets-encrypted": (cluster(), (cluster(encryptionProviderKey=None),
        cluster(disableEncryption=True))),
    "buckets-tls": (bucket("backups"), (
        bucket("backups", tls=None), bucket("backups", tls={"enable": False}),
        bucket("backups", tls={"tlsVersions": ["TLSv1.1", "TLSv1.2"]}), bucket("backups",
            tls={"tlsVersions": []}),
    )),
    "entrance-tls": (domain(), (domain(httpPorts=[80]), domain(tlsVersion="tlsv1"))),
    "tunnels-strong": (tunnel("sha256"), (tunnel("md5"), tunnel("sha1"))),
    "nothing-public": ((*cluster(), *machine(), *bucket("backups")), (
        cluster(slbInternetEnabled=True), cluster(slbInternetEnabled=None),
            machine(internetMaxBandwidthOut=5),
        (cloud("bastionhost/instance:Instance", enablePublicAccess=True),),
        bucket("backups", own={"acl": "public-read"}), bucket("backups", block=None),
        bucket("backups", block={"blockPublicAccess": False}),
    )),
    "default-deny": ((*rule(), cloud("ecs/securityGroup:SecurityGroup", innerAccessPolicy="Drop")), (
        rule(cidrIp="0.0.0.0/0"), rule(portRange="-1/-1"),
        (cloud("ecs/securityGroup:SecurityGroup", innerAccessPolicy="Accept"),),
    )),
    "audited": (
        (*cluster(), cloud("log/store:Store", retentionPeriod=365),
         cloud("actiontrail/trail:Trail", eventRw="All", trailRegion="All")), (
            cluster(auditLogConfig=None), cluster(controlPlaneLogComponents=["kcm"]),
            (cloud("log/store:Store", retentionPeriod=30),), (cloud("log/store:Store"),),
            (cloud("actiontrail/trail:Trail", eventRw="Write", trailRegion="All"),),
            (cloud("actiontrail/trail:Trail", eventRw="All", trailRegion="cn-shanghai"),),
        )),
    "watched": (LOGS, (LOGS[:1], LOGS[:2], (LOGS[0], LOGS[2]))),
    "backups-worm": (bucket("backups"), (
        bucket("backups", versions=None), bucket("backups", worm=None), bucket("backups",
            worm={"status": "InProgress"}),
        bucket("backups", own={"forceDestroy": True}), bucket("access-log", own={"forceDestroy": True}),
    )),
    "state-protected": ((*cluster(), *key(), *machine()), (
        (cloud("oss/bucket:Bucket", protect=False),), (cloud("wafv3/instance:Instance", protect=False),),
        cluster(deletionProtection=False), key(deletionProtection="Disabled"),
            machine(deletionProtection=None),
        (Planned("kubernetes:apps/v1:StatefulSet", "x"),),
    )),
    "residency": ((cloud("vpc/switch:Switch", zoneId="cn-shanghai-g"),), (
        (cloud("vpc/switch:Switch", zoneId="ap-southeast-1a"),), (cloud("vpc/switch:Switch",
            zoneId="cn-hongkong-b"),),
        (cloud("ecs/instance:Instance", availabilityZone="us-west-1a"),),
    )),
    "people": ((*people(), *login()), (
        people(minimumPasswordLength=7), people(requireNumbers=False, requireSymbols=False),
            people(maxPasswordAge=0),
        people(maxPasswordAge=180), people(maxLoginAttemps=0), login(mfaOperationForLogin="independent"),
        login(loginNetworkMasks=""),
    )),
    "roles-little": (role(["log:PostLogStoreLogs"]), (
        role("*"), role(["log:*"]), (cloud("ram/policy:Policy", policyDocument="{}"),),
    )),
    "two-ways": ((LINE, SECOND_LINE, cloud("vpc/bgpPeer:BgpPeer", enableBfd=True)), (
        (LINE,), (LINE, SECOND_LINE, cloud("vpc/bgpPeer:BgpPeer")),
    )),
    "pods-restricted": (pods(), (
        pods(securityContext=None), pods(securityContext=context(allowPrivilegeEscalation=True)),
        pods(securityContext=context(readOnlyRootFilesystem=None)),
            pods(securityContext=context(runAsNonRoot=False)),
        pods(securityContext=context(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]})),
        pods(securityContext=context(capabilities={})), pods(spec={"hostNetwork": True}),
        pods(spec={"initContainers": [container(securityContext=None)]}),
    )),
    "pods-limited": (pods(), (
        pods(resources={"requests": {"cpu": "1", "memory": "1Gi"}}), pods(resources=None),
    )),
    "images-pinned": (pods(), (pods(image="biyi:latest"), pods(image="biyi@sha256:12"))),
    "secrets-out": (pods(env=[{"name": "PGPASSWORD", "valueFrom": {}}]), (
        pods(env=[{"name": "PGPASSWORD", "value": "x"}]), (kube("core/v1:Secret",
            {"stringData": {"a": "b"}}),),
        (kube("core/v1:ConfigMap", {"data": {"field_key": "x"}}),),
    )),
    "namespaces-deny": (pods(), (pods(denied=False), pods(level="baseline"))),
    "balancers-internal": ((*balancer(**INTRANET), *balancer(**{"metallb.io/address-pool": "biyi"})), (
        balancer(), balancer(**INTERNET),
    )),
    "accounts-little": (rights(), (
        rights(verbs=["*"]), rights(resources=["secrets"]), rights(resources=["pods/exec"]),
        (kube("rbac.authorization.k8s.io/v1:ClusterRoleBinding", {}),),
        pods(spec={"automountServiceAccountToken": True, "serviceAccountName": "biyi-worker"}),
    )),
    "claims-kept": (stateful(), (
        stateful(persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete", "whenScaled": "Retain"}),
        stateful(updateStrategy={"type": "RollingUpdate"}),
            stateful(persistentVolumeClaimRetentionPolicy=None),
    )),
}  # fmt: skip
