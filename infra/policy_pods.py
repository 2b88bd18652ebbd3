"""Level-3 checks on what runs in a cluster, with the controls they stand for. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping

from infra.plan import Plan, Planned

Found = Iterator[tuple[Planned, str]]
Row = tuple[str, tuple[str, ...], str, Callable[[Plan], Found]]

_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_SECRETIVE = re.compile(r"passw|secret|token|(^|_)key($|_)|credential", re.IGNORECASE)
_INTERNAL = {
    "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-address-type": {"intranet"},
    "metallb.io/address-pool": None,
}
"""Annotations that make a load balancer internal, with the values that do; None: any."""


def _workloads(plan: Plan) -> Iterator[tuple[Planned, Mapping[str, object]]]:
    """Return each resource that makes pods, with the pod's specification."""
    for planned in plan:
        if planned.type.startswith("kubernetes:"):
            for path in ("spec.template.spec", "spec.jobTemplate.spec.template.spec"):
                found = planned.at(path)
                if isinstance(found, Mapping):
                    yield planned, found


def _containers(spec: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    for kind in ("initContainers", "containers"):
        rows = spec.get(kind)
        yield from (row for row in (rows if isinstance(rows, list) else ()) if isinstance(row, Mapping))


def _look(value: object, path: str) -> object:
    return Planned("", "", {"at": value}).at(f"at.{path}")


def pods_are_restricted(plan: Plan) -> Found:
    """No pod shares with its node, no container runs as root, writes its root, or keeps a capability."""
    wanted = {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True,
        "capabilities.drop": ["ALL"], "capabilities.add": None, "seccompProfile.type": "RuntimeDefault",
    }  # fmt: skip
    for planned, spec in _workloads(plan):
        for shared in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(shared):
                yield planned, f"{shared} is set"
        for container in _containers(spec):
            context = container.get("securityContext")
            for path, value in wanted.items():
                if _look(context, path) != value:
                    yield planned, f"container {container.get('name')}: {path} is {_look(context, path)}"


def pods_have_limits(plan: Plan) -> Found:
    """Each container asks for and is held to an amount of CPU and memory."""
    for planned, spec in _workloads(plan):
        for container in _containers(spec):
            for kind in ("requests", "limits"):
                for what in ("cpu", "memory"):
                    if not _look(container, f"resources.{kind}.{what}"):
                        yield planned, f"container {container.get('name')}: no {kind} of {what}"


def images_are_pinned(plan: Plan) -> Found:
    """Each image is named by digest: what was checked is what runs."""
    for planned, spec in _workloads(plan):
        for container in _containers(spec):
            if not _DIGEST.fullmatch(str(container.get("image"))):
                yield planned, f"container {container.get('name')}: image {container.get('image')}"


def secrets_stay_out(plan: Plan) -> Found:
    """No secret passes through the program: none is made, none stands in an environment or a ConfigMap."""
    for planned in plan:
        if planned.type == "kubernetes:core/v1:Secret" and (planned.at("data") or planned.at("stringData")):
            yield planned, "carries its content"
        if planned.type == "kubernetes:core/v1:ConfigMap":
            data = planned.at("data")
            for key in data if isinstance(data, Mapping) else ():
                if _SECRETIVE.search(key):
                    yield planned, f"data.{key} looks like a secret"
    for planned, spec in _workloads(plan):
        for container in _containers(spec):
            rows = container.get("env")
            for row in rows if isinstance(rows, list) else ():
                if isinstance(row, Mapping) and row.get("value") and _SECRETIVE.search(str(row.get("name"))):
                    yield planned, f"environment {row.get('name')} has its value in clear"


def namespaces_deny_by_default(plan: Plan) -> Found:
    """A namespace with workloads has a policy that lets nothing in or out, and refuses unrestricted pods."""
    closed = {
        str(p.at("metadata.namespace"))
        for p in plan
        if p.type == "kubernetes:networking.k8s.io/v1:NetworkPolicy"
        and not p.at("spec.podSelector.matchLabels")
        and not p.at("spec.podSelector.matchExpressions")
        and not p.at("spec.ingress")
        and not p.at("spec.egress")
        and p.at("spec.policyTypes") == ["Ingress", "Egress"]
    }
    for planned, _ in _workloads(plan):
        if str(planned.at("metadata.namespace")) not in closed:
            yield (
                planned,
                f"namespace {planned.at('metadata.namespace')} has no policy that denies everything",
            )
    for planned in plan:
        if planned.type == "kubernetes:core/v1:Namespace":
            labels = planned.at("metadata.labels")
            level = labels.get("pod-security.kubernetes.io/enforce") if isinstance(labels, Mapping) else None
            if level != "restricted":
                yield planned, f"pod-security.kubernetes.io/enforce is {level}"


def load_balancers_are_internal(plan: Plan) -> Found:
    """A Service that gets an address outside the cluster gets one inside our networks."""
    for planned in plan:
        if planned.type != "kubernetes:core/v1:Service" or planned.at("spec.type") != "LoadBalancer":
            continue
        notes = planned.at("metadata.annotations")
        notes = notes if isinstance(notes, Mapping) else {}
        inside = any(
            key in notes and (values is None or notes[key] in values) for key, values in _INTERNAL.items()
        )
        if not inside:
            yield planned, "no annotation says that it is internal"


def accounts_may_little(plan: Plan) -> Found:
    """No role allows every verb or every kind, none reads secrets, none reaches over the whole cluster."""
    for planned in plan:
        if planned.type.endswith((":ClusterRoleBinding", ":ClusterRole")):
            yield planned, "reaches over the whole cluster"
        if planned.type == "kubernetes:rbac.authorization.k8s.io/v1:Role":
            for rule in planned.rows("rules"):
                named = {str(x) for key in ("verbs", "resources") for x in _as_list(rule.get(key))}
                if {"*", "secrets", "pods/exec"} & named:
                    yield planned, f"allows {sorted(named)}"
    for planned, spec in _workloads(plan):
        if spec.get("automountServiceAccountToken") and spec.get("serviceAccountName") != "biyi-steward":
            yield planned, "mounts a token although it has nothing to ask of the API"


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def claims_outlive_their_pods(plan: Plan) -> Found:
    """Volumes of copies stay when their StatefulSet goes, and people, not roll-outs, replace pods."""
    for planned in plan:
        if planned.type == "kubernetes:apps/v1:StatefulSet":
            kept = planned.at("spec.persistentVolumeClaimRetentionPolicy")
            if kept != {"whenDeleted": "Retain", "whenScaled": "Retain"}:
                yield planned, f"persistentVolumeClaimRetentionPolicy is {kept}"
            if planned.at("spec.updateStrategy.type") != "OnDelete":
                yield planned, f"updateStrategy is {planned.at('spec.updateStrategy.type')}"


POD_RULES: tuple[Row, ...] = (
    ("pods-restricted", ("8.1.4.4 a", "8.1.4.2 d"), "Pod Security restricted", pods_are_restricted),
    ("pods-limited", ("8.1.2.1 a",), "requests and limits", pods_have_limits),
    ("images-pinned", ("8.2.4.4 b",), "an image by digest", images_are_pinned),
    ("secrets-out", ("8.2.4.4 c", "8.1.4.8 b"), "secrets by name only", secrets_stay_out),
    ("namespaces-deny", ("8.1.3.2 a", "8.2.4.2 b"), "deny by default", namespaces_deny_by_default),
    (
        "balancers-internal",
        ("8.1.2.1 d", "8.1.3.1 a"),
        "internal load balancers",
        load_balancers_are_internal,
    ),
    ("accounts-little", ("8.1.4.2 d",), "least privilege", accounts_may_little),
    ("claims-kept", ("8.1.4.9 a",), "volumes that outlive pods", claims_outlive_their_pods),
)
