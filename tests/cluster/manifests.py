"""The rendered manifests of a site, applied to a real API server as `kubectl apply --server-side` would."""

import copy
from pathlib import Path
from typing import Any

from tests.cluster.api_server import ApiServer
from tests.unit.infra.stage import build, example

Manifests = dict[str, dict[str, Any]]
CLUSTER_WIDE = ("Namespace", "CustomResourceDefinition", "PriorityClass")


def render(site: str, directory: Path) -> Manifests:
    """Return every manifest of a site's workloads stack, by kind and name."""
    return build(f"workloads-{site}", example(), directory).manifests()


def apply_all(server: ApiServer, manifests: Manifests) -> None:
    """Apply them, what others need first."""
    first = sorted(manifests.values(), key=lambda one: one["kind"] not in CLUSTER_WIDE)
    for manifest in first:
        apply(server, manifest)


def apply(server: ApiServer, manifest: dict[str, Any], manager: str = "deployer") -> Any:
    """Apply one manifest; fields that Kubernetes does not know are refused."""
    query = f"?fieldManager={manager}&force=true&fieldValidation=Strict"
    return server.ask("PATCH", path_of(server, manifest) + query, manifest, "application/apply-patch+yaml")


def path_of(server: ApiServer, manifest: dict[str, Any]) -> str:
    """Return where a manifest's object is, as the API server's own discovery says."""
    version = manifest["apiVersion"]
    prefix = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    kinds = {one["kind"]: one for one in server.ask("GET", prefix)["resources"] if "/" not in one["name"]}
    kind = kinds[manifest["kind"]]
    inside = f"/namespaces/{manifest['metadata']['namespace']}" if kind["namespaced"] else ""
    return f"{prefix}{inside}/{kind['name']}/{manifest['metadata']['name']}"


def pod_of(manifests: Manifests, place: str) -> dict[str, Any]:
    """Return the pod that the StatefulSet of a copy would make; its controller does not run here."""
    copies = copy.deepcopy(manifests[f"statefulset-{place}"]["spec"])
    template, claims = copies["template"], copies["volumeClaimTemplates"]
    spec = template["spec"]
    spec["volumes"] += [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims]
    metadata = {"name": f"{place}-0", "namespace": "biyi", "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
