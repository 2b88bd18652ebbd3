"""Who may talk to whom at a site. Nothing is allowed by default."""

from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking
from pulumi_kubernetes.scheduling import v1 as scheduling

from infra.settings import DATA_SITES
from infra.workloads.copies import Ground
from infra.workloads.documents import (
    AGENT_PORT,
    API_PORT,
    ETCD_CLIENT_PORT,
    ETCD_METRICS_PORT,
    ETCD_PEER_PORT,
    NOTARY_PORT,
    PAYER_PORT,
    POSTGRES_PORT,
    PROJECTOR_PORT,
    STEWARD_PORT,
    VALKEY_PORT,
    WATCHER_PORT,
)  # fmt: skip
from infra.workloads.pods import NAMESPACE, labels, named

Peer = networking.NetworkPolicyPeerArgs
API_SERVER_PORTS = (443, 6443)
METRICS_PORTS = (
    API_PORT,
    AGENT_PORT,
    PROJECTOR_PORT,
    PAYER_PORT,
    NOTARY_PORT,
    WATCHER_PORT,
    STEWARD_PORT,
    ETCD_METRICS_PORT,
)
CUSTOMERS_OF_COPIES = ("api", "projector", "payer", "notary", "watcher", "day-end", "migrate")
CUSTOMERS_OF_VALKEY = ("api", "projector", "watcher")


def build_namespace(ground: Ground) -> core.Namespace:
    """Create the namespace, which refuses pods that are not restricted, and the ranks of pods."""
    for name, value, why in (
        ("biyi-data", 1_000_000, "Copies and votes: the last to be thrown out."),
        ("biyi-work", 900_000, "What serves customers and can start again anywhere."),
    ):
        scheduling.PriorityClass(
            name,
            metadata=meta.ObjectMetaArgs(name=name, labels=labels("rank")),
            value=value,
            global_default=False,
            description=why,
            opts=ground.opts,
        )
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return core.Namespace(
        NAMESPACE,
        metadata=meta.ObjectMetaArgs(name=NAMESPACE, labels={**labels("namespace"), **levels}),
        opts=ground.opts,
    )


def build_borders(ground: Ground) -> None:
    """Create accounts and network policies."""
    _accounts(ground)
    _deny_all(ground)
    for name, spec in _allowed(ground).items():
        networking.NetworkPolicy(name, metadata=named(name, "border"), spec=spec, opts=ground.opts)


def _accounts(ground: Ground) -> None:
    for name in ("biyi-agent", "biyi-worker"):
        core.ServiceAccount(
            name, metadata=named(name, "account"), automount_service_account_token=False, opts=ground.opts
        )


def _deny_all(ground: Ground) -> None:
    networking.NetworkPolicy(
        "deny-all",
        metadata=named("deny-all", "border"),
        spec=networking.NetworkPolicySpecArgs(
            pod_selector=meta.LabelSelectorArgs(), policy_types=["Ingress", "Egress"]
        ),
        opts=ground.opts,
    )


def _allowed(ground: Ground) -> dict[str, networking.NetworkPolicySpecArgs]:
    settings = ground.topology.settings
    sites = [_block(settings.site(name).networks.addresses) for name in DATA_SITES]
    pods = [_block(settings.site(name).networks.pods) for name in DATA_SITES]
    votes = [*sites, *pods, _block(settings.witness.network)]
    monitoring = Peer(
        namespace_selector=meta.LabelSelectorArgs(match_labels={"kubernetes.io/metadata.name": "monitoring"})
    )
    admins = [_block(text) for text in settings.admin_networks]
    own_api = [_block(settings.site(ground.site).networks.nodes)]
    copies = ("copy",)
    asking = (*CUSTOMERS_OF_COPIES, "steward")
    return {
        "names": _leaves(None, [Peer(namespace_selector=_system(), pod_selector=_dns())], (53,), udp=True),
        # Customers: from the load balancer, whose addresses are the nodes' under externalTrafficPolicy Local.
        "api-in": _enters("api", [_block("0.0.0.0/0")], (API_PORT,)),
        "copies-in": _enters(
            "copy",
            [*(_pods(one) for one in (*asking, "copy")), *sites, *pods],
            (POSTGRES_PORT, AGENT_PORT),
        ),
        "admins-in": _enters("copy", admins, (AGENT_PORT,)),
        "copies-out": _leaves(copies, [*sites, *pods, _pods("copy")], (POSTGRES_PORT, AGENT_PORT)),
        "stewards-tell-their-cluster": _leaves(("steward",), own_api, API_SERVER_PORTS),
        "stewards-ask-agents": _leaves(("steward",), [*sites, *pods, _pods("copy")], (AGENT_PORT,)),
        "customers-of-copies-out": _leaves(
            CUSTOMERS_OF_COPIES, [*sites, *pods, _pods("copy")], (POSTGRES_PORT, AGENT_PORT)
        ),
        "valkey-in": _enters("valkey", [_pods(one) for one in CUSTOMERS_OF_VALKEY], (VALKEY_PORT,)),
        "valkey-out": _leaves(CUSTOMERS_OF_VALKEY, [_pods("valkey")], (VALKEY_PORT,)),
        "votes-in": _enters("etcd", votes, _ETCD),
        "customers-of-votes-in": _enters(
            "etcd", [_pods(one) for one in ("copy", *asking)], (ETCD_CLIENT_PORT,)
        ),
        "votes-out": _leaves(("etcd",), [*votes, _pods("etcd")], _ETCD),
        # Not to the peers' port: who talks there can vote.
        "customers-of-votes-out": _leaves(("copy", *asking), [*votes, _pods("etcd")], (ETCD_CLIENT_PORT,)),
        # Banks and bureaux: only who pays and who decides may leave the country house, and only by TLS.
        "partners-out": _leaves(
            ("payer", "api"), [_block("0.0.0.0/0", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")], (443,)
        ),
        "metrics-in": _enters(None, [monitoring], METRICS_PORTS),
    }


_ETCD = (ETCD_CLIENT_PORT, ETCD_PEER_PORT)


def _block(cidr: str, *holes: str) -> Peer:
    return Peer(ip_block=networking.IPBlockArgs(cidr=cidr, except_=list(holes) or None))


def _pods(component: str) -> Peer:
    return Peer(pod_selector=meta.LabelSelectorArgs(match_labels=labels(component)))


def _system() -> meta.LabelSelectorArgs:
    return meta.LabelSelectorArgs(match_labels={"kubernetes.io/metadata.name": "kube-system"})


def _dns() -> meta.LabelSelectorArgs:
    return meta.LabelSelectorArgs(match_labels={"k8s-app": "kube-dns"})


def _whose(components: tuple[str, ...] | None) -> meta.LabelSelectorArgs:
    if components is None:
        return meta.LabelSelectorArgs(match_labels={"app.kubernetes.io/name": "biyi"})
    one_of = meta.LabelSelectorRequirementArgs(
        key="app.kubernetes.io/component", operator="In", values=list(components)
    )
    return meta.LabelSelectorArgs(match_expressions=[one_of])


def _ports(numbers: tuple[int, ...], udp: bool) -> list[networking.NetworkPolicyPortArgs]:
    protocols = ("TCP", "UDP") if udp else ("TCP",)
    return [
        networking.NetworkPolicyPortArgs(port=number, protocol=p) for number in numbers for p in protocols
    ]


def _enters(
    component: str | None, who: list[Peer], ports: tuple[int, ...]
) -> networking.NetworkPolicySpecArgs:
    rule = networking.NetworkPolicyIngressRuleArgs(from_=who, ports=_ports(ports, False))
    whose = _whose((component,) if component else None)
    return networking.NetworkPolicySpecArgs(pod_selector=whose, policy_types=["Ingress"], ingress=[rule])


def _leaves(
    components: tuple[str, ...] | None, to: list[Peer], ports: tuple[int, ...], *, udp: bool = False
) -> networking.NetworkPolicySpecArgs:
    rule = networking.NetworkPolicyEgressRuleArgs(to=to, ports=_ports(ports, udp))
    return networking.NetworkPolicySpecArgs(
        pod_selector=_whose(components), policy_types=["Egress"], egress=[rule]
    )
