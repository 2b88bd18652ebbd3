"""What a cluster runs against what was approved: drift, what is open, what is not pinned. Pure.

Objects are plain documents as the API server gives them; manifests as they were deployed. A manifest's every
field has to stand in the live object, and the live object's every field in the manifest, but for those that
the server fills in by itself.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
COMPARED = (
    "NetworkPolicy", "Service", "Deployment", "StatefulSet", "ConfigMap", "ServiceAccount", "Role",
    "RoleBinding", "PodDisruptionBudget", "HorizontalPodAutoscaler", "CronJob", "Job",
)  # fmt: skip
"""Kinds that decide what runs, what may reach it and what it may do. A Job that a CronJob made has to be as
the approved CronJob makes it; an approved Job that is not there has ended and was cleared away."""
JOB_LABELS = (
    "controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
)  # fmt: skip
JOB_DEFAULTS: Mapping[str, Any] = {
    "completions": 1, "parallelism": 1, "completionMode": "NonIndexed", "suspend": False,
    "podReplacementPolicy": "TerminatingOrFailed", "manualSelector": False,
}  # fmt: skip
"""What the API server writes into a Job that says nothing of it; another value is drift. Source: Kubernetes,
batch/v1 Job."""
CLUSTERS_OWN = frozenset({("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")})
"""Objects that Kubernetes makes in every namespace."""
TOLD_BY_STEWARD = {("HorizontalPodAutoscaler", "spec.minReplicas")}
"""Fields that our own steward moves. Source: docs/decisions/052."""
SERVERS_OWN = frozenset({
    "allocateLoadBalancerNodePorts", "apiVersion", "clusterIP", "clusterIPs", "defaultMode", "dnsPolicy",
    "externalTrafficPolicy", "failureThreshold", "healthCheckNodePort", "imagePullPolicy",
    "initialDelaySeconds", "internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "minReadySeconds",
    "nodePort", "periodSeconds", "podManagementPolicy", "progressDeadlineSeconds", "protocol",
    "replicas", "restartPolicy", "revisionHistoryLimit", "rollingUpdate", "schedulerName", "scheme",
    "selectPolicy", "serviceAccount", "sessionAffinity", "status", "strategy", "successThreshold",
    "targetPort", "terminationGracePeriodSeconds", "terminationMessagePath", "terminationMessagePolicy",
    "timeoutSeconds", "type", "updateStrategy", "volumeMode",
})  # fmt: skip
"""Fields that an API server fills in where a manifest is silent. Source: seen at the server that
tests/cluster runs; a newer one may fill in more, which shows as drift until it is named here."""
_NO_FIELDS = ("pulumi.com/", "__")


def find_drift(approved: Sequence[Document], live: Mapping[str, Sequence[Document]]) -> list[str]:
    """Return the paths at which live objects (by kind) differ from the approved manifests."""
    found = []
    wanted = {(one["kind"], one["metadata"]["name"]): one for one in approved if one["kind"] in COMPARED}
    runs = _runs(wanted, live.get("Job", ()))
    there = {
        (kind, one["metadata"]["name"]): _as_ordered(one) if kind == "Job" else one
        for kind in live
        for one in live[kind]
        # A CronJob's ended runs are of what was approved then.
        if not (kind == "Job" and ("Job", one["metadata"]["name"]) in runs and has_ended(one))
    }
    wanted |= runs
    for kind, name in sorted(wanted.keys() - there.keys()):
        if kind != "Job":
            found.append(f"{kind} {name}: approved, not there")
    for kind, name in sorted(there.keys() - wanted.keys() - CLUSTERS_OWN):
        found.append(f"{kind} {name}: there, not approved")
    for key in sorted(wanted.keys() & there.keys()):
        for part in sorted(wanted[key].keys() - {"apiVersion", "kind", "status"}):
            for path, was, now in _differences(wanted[key][part], there[key].get(part), part):
                if (key[0], path) not in TOLD_BY_STEWARD:
                    found.append(f"{key[0]} {key[1]}: {path}: approved {was}, now {now}")
    return found


def _runs(
    wanted: Mapping[tuple[str, str], Document], jobs: Sequence[Document]
) -> dict[tuple[str, str], Document]:
    """Return what each Job would be if the approved CronJob that it says made it had made it."""
    made: dict[tuple[str, str], Document] = {}
    for job in jobs:
        for owner in job["metadata"].get("ownerReferences", ()):
            source = wanted.get((owner.get("kind", ""), owner.get("name", "")))
            if source is not None and source["kind"] == "CronJob" and owner.get("controller"):
                made["Job", job["metadata"]["name"]] = {"kind": "Job", **source["spec"]["jobTemplate"]}
    return made


def _as_ordered(job: Document) -> Document:
    """Return a live Job without what the API server writes into every Job by itself."""
    spec = copy.deepcopy(dict(job["spec"]))
    if not spec.get("manualSelector"):
        spec.pop("selector", None)
        labels = spec["template"].get("metadata", {}).get("labels", {})
        for name in JOB_LABELS:
            labels.pop(name, None)
    for name, value in JOB_DEFAULTS.items():
        if spec.get(name) == value:
            del spec[name]
    return {**job, "spec": spec}


def has_ended(job: Document) -> bool:
    """Say whether a Job runs no more."""
    conditions = job.get("status", {}).get("conditions", ())
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)


def _differences(wanted: Any, live: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for key in wanted:
            if not str(key).startswith(_NO_FIELDS):
                yield from _differences(wanted[key], live.get(key), f"{path}.{key}")
        for key in live.keys() - wanted.keys():
            chosen = path == "data" or path.endswith(("Selector", ".matchLabels", ".selector"))
            if chosen or not (_is_servers(path, key) or _is_empty(live[key])):
                yield f"{path}.{key}", None, live[key]
    elif isinstance(wanted, Sequence) and isinstance(live, Sequence) and not isinstance(wanted, str):
        if len(wanted) != len(live):
            yield path, f"{len(wanted)} of them", f"{len(live)} of them"
            return
        for number, (was, now) in enumerate(zip(wanted, live, strict=True)):
            yield from _differences(was, now, f"{path}[{number}]")
    elif wanted != live and not (_is_empty(wanted) and _is_empty(live)):
        yield path, wanted, live


def _is_servers(path: str, key: str) -> bool:
    return path.startswith("metadata") or key in SERVERS_OWN


def _is_empty(value: Any) -> bool:
    return value is None or value is False or value in ("", 0) or (
        isinstance(value, Mapping | list) and not value
    )  # fmt: skip


def list_listening(pods: Sequence[Document], services: Sequence[Document]) -> list[tuple[str, int, str]]:
    """Return where, port and whose of every port that pods open or services give out beyond the cluster."""
    found = []
    for pod in pods:
        for container in pod["spec"]["containers"]:
            for port in container.get("ports", ()):
                where = "node" if port.get("hostPort") or pod["spec"].get("hostNetwork") else "pod"
                found.append((where, int(port["containerPort"]), str(pod["metadata"]["name"])))
    for service in services:
        kind = service["spec"].get("type", "ClusterIP")
        where = kind if kind in ("NodePort", "LoadBalancer") else "service"
        where = "external" if service["spec"].get("externalIPs") else where
        found += [(where, int(port["port"]), str(service["metadata"]["name"])) for port in
                  service["spec"].get("ports", ())]  # fmt: skip
    return found


def list_allowed(approved: Sequence[Document]) -> set[tuple[str, int]]:
    """Return where and port of everything that approved manifests open, as `list_listening` names it."""
    templates = [one["spec"]["template"] for one in approved if one["kind"] in ("Deployment", "StatefulSet")]
    pods = [{"metadata": {"name": ""}, "spec": template["spec"]} for template in templates]
    services = [one for one in approved if one["kind"] == "Service"]
    return {(where, port) for where, port, _ in list_listening(pods, services)}


def denies_by_default(policies: Sequence[Document]) -> bool:
    """Say whether a policy takes every pod both ways and lets nothing through."""
    return any(
        _is_empty(one["spec"].get("podSelector"))
        and {"Ingress", "Egress"} <= set(one["spec"].get("policyTypes", ()))
        and not one["spec"].get("ingress")
        and not one["spec"].get("egress")
        for one in policies
    )


def find_unpinned(approved: Sequence[Document], pods: Sequence[Document]) -> tuple[int, list[str]]:
    """Return how many containers run, and those whose image is not pinned, not approved, or another.

    A container that has not started yet has no image to compare: it is listed. A pod that has ended runs
    nothing: what it was is of what was approved then.
    """
    images = {
        container["image"]
        for one in approved
        for template in _templates(one)
        for container in _containers(template["spec"])
    }
    seen, odd = 0, []
    for pod in pods:
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            continue
        running = {
            one["name"]: one
            for part in ("containerStatuses", "initContainerStatuses")
            for one in pod.get("status", {}).get(part, ())
        }
        for container in _containers(pod["spec"]):
            seen += 1
            image, name = container["image"], f"{pod['metadata']['name']}/{container['name']}"
            digest = image.partition("@")[2]
            if not digest:
                odd.append(f"{name}: {image} has no digest")
            elif image not in images:
                odd.append(f"{name}: {image} was not approved")
            elif digest not in str(running.get(container["name"], {}).get("imageID", "")):
                odd.append(f"{name}: does not run {digest[:19]}")
    return seen, odd


def _templates(document: Document) -> list[Any]:
    if document["kind"] in ("Deployment", "StatefulSet", "Job"):
        return [document["spec"]["template"]]
    return [document["spec"]["jobTemplate"]["spec"]["template"]] if document["kind"] == "CronJob" else []


def _containers(spec: Document) -> list[Any]:
    return [*spec["containers"], *spec.get("initContainers", ())]
