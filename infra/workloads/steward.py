"""What tells Kubernetes which copy is primary: the steward, its account, and the objects it keeps.

The only pods that hold a token of the API server. A copy's pod has none: nothing that fails over asks there.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from pulumi_kubernetes.apiextensions import v1 as apiextensions
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.policy import v1 as policy
from pulumi_kubernetes.rbac import v1 as rbac

from infra.workloads.copies import Ground
from infra.workloads.documents import (
    HEALTH_PORT,
    POSTGRES_PORT,
    SETTINGS,
    SITE_SETTINGS,
    STEWARD_PORT,
    platform_document,
)
from infra.workloads.keys import GIVEN
from infra.workloads.pods import (
    NAMESPACE,
    asks,
    confined,
    labels,
    mounts,
    named,
    pod,
    prepared,
    sized,
    unwaited,
    volumes,
)
from infra.workloads.services import quick, template

ACCOUNT = "biyi-steward"
RESOURCES = Path(__file__).parent / "resources.yaml"
"""The kinds Cell, Site and Drill."""
STEWARDS = 2
"""Source: our choice, one for each of two zones; each write is conditional, so they need no leader."""


def build_steward(ground: Ground) -> None:
    """Create the steward with its rights, and a Service for each cell's primary, which it points."""
    _kinds(ground)
    _account(ground)
    for cell in ground.topology.settings.cells:
        name = f"cell-{cell.name}-primary"
        core.Service(
            name,
            metadata=unwaited(name, "primary"),
            # Without a selector Kubernetes chooses nobody: the steward writes its EndpointSlice.
            spec=core.ServiceSpecArgs(
                cluster_ip="None",
                ports=[core.ServicePortArgs(name="postgresql", port=POSTGRES_PORT)],
            ),
            opts=ground.opts,
        )
    document = json.dumps(platform_document(ground.topology, ground.site), indent=1, sort_keys=True)
    core.ConfigMap(
        "platform-settings",
        metadata=named("platform-settings", "site"),
        data={"platform.json": document},
        opts=ground.opts,
    )
    _steward(ground)


def _kinds(ground: Ground) -> None:
    for one in yaml.safe_load_all(RESOURCES.read_text(encoding="utf-8")):
        kind: dict[str, Any] = one
        apiextensions.CustomResourceDefinition(
            kind["metadata"]["name"],
            metadata=meta.ObjectMetaArgs(name=kind["metadata"]["name"], labels=labels("kind")),
            spec=kind["spec"],
            opts=ground.opts,
        )


def _account(ground: Ground) -> None:
    core.ServiceAccount(
        ACCOUNT, metadata=named(ACCOUNT, "account"), automount_service_account_token=False, opts=ground.opts
    )
    rules = [
        rbac.PolicyRuleArgs(api_groups=[""], resources=["pods"], verbs=["list", "patch"]),
        rbac.PolicyRuleArgs(
            api_groups=["discovery.k8s.io"],
            resources=["endpointslices"],
            verbs=["list", "watch", "create", "update"],
        ),
        # An EndpointSlice for a Service may be written by whoever may say where that Service leads.
        rbac.PolicyRuleArgs(
            api_groups=["discovery.k8s.io"], resources=["endpointslices/restricted"], verbs=["create"]
        ),
        rbac.PolicyRuleArgs(
            api_groups=["biyi.io"], resources=["cells", "sites"], verbs=["list", "create", "update"]
        ),
        rbac.PolicyRuleArgs(
            api_groups=["biyi.io"],
            resources=["cells/status", "sites/status", "drills/status"],
            verbs=["update"],
        ),
        rbac.PolicyRuleArgs(api_groups=["biyi.io"], resources=["drills"], verbs=["get", "list", "watch"]),
        rbac.PolicyRuleArgs(
            api_groups=["autoscaling"],
            resources=["horizontalpodautoscalers"],
            resource_names=["api"],
            verbs=["get", "patch"],
        ),
    ]
    rbac.Role(ACCOUNT, metadata=named(ACCOUNT, "account"), rules=rules, opts=ground.opts)
    rbac.RoleBinding(
        ACCOUNT,
        metadata=named(ACCOUNT, "account"),
        role_ref=rbac.RoleRefArgs(api_group="rbac.authorization.k8s.io", kind="Role", name=ACCOUNT),
        subjects=[rbac.SubjectArgs(kind="ServiceAccount", name=ACCOUNT, namespace=NAMESPACE)],
        opts=ground.opts,
    )


def _steward(ground: Ground) -> None:
    settings = ground.topology.settings
    container = core.ContainerArgs(
        name="steward",
        image=settings.images.biyi,
        args=[
            *("python", "-m", "replication.platform.steward"),
            *("--settings", SITE_SETTINGS, "--platform", f"{SETTINGS}/platform.json"),
        ],
        ports=[core.ContainerPortArgs(name="status", container_port=STEWARD_PORT)],
        security_context=confined(),
        resources=sized("100m", "256Mi", cpu_limit="500m"),
        startup_probe=asks("/livez", HEALTH_PORT, period=2, failures=30),
        liveness_probe=asks("/livez", HEALTH_PORT, period=5, failures=4),
        readiness_probe=asks("/livez", HEALTH_PORT, period=5, failures=2),
        volume_mounts=mounts(),
    )
    spec = pod(
        settings,
        "steward",
        [container],
        # The operator's certificate: a Drill asks an agent for a move, and agents take that from no other.
        volumes("site-settings", "platform-settings", holders=("operator",), given=GIVEN["steward"]),
        account=ACCOUNT,
        account_mounted=True,
        init=prepared(settings.images.biyi, "operator", GIVEN["steward"]),
    )
    apps.Deployment(
        "steward",
        metadata=quick("steward"),
        spec=apps.DeploymentSpecArgs(
            replicas=STEWARDS,
            selector=meta.LabelSelectorArgs(match_labels=labels("steward")),
            template=template("steward", spec),
        ),
        opts=ground.opts,
    )
    policy.PodDisruptionBudget(
        "steward",
        metadata=named("steward", "steward"),
        spec=policy.PodDisruptionBudgetSpecArgs(
            max_unavailable=1, selector=meta.LabelSelectorArgs(match_labels=labels("steward"))
        ),
        opts=ground.opts,
    )
