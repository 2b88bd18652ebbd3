"""What serves customers and feeds on the copies: API, projector, payer, cache, and the site's vote."""

import json
from dataclasses import dataclass

from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.autoscaling import v2 as autoscaling
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.policy import v1 as policy

from infra.workloads.copies import Ground
from infra.workloads.documents import (
    API_PORT,
    HEALTH_PORT,
    PAYER_PORT,
    PROJECTOR_PORT,
    SITE_SETTINGS,
    TLS,
    VALKEY_PORT,
    WATCHER_PORT,
    channels_document,
    site_document,
)  # fmt: skip
from infra.workloads.keys import GIVEN
from infra.workloads.pods import (
    asks,
    certificates_of,
    confined,
    keys_of,
    labels,
    listens,
    mounts,
    named,
    pod,
    prepared,
    sized,
    unwaited,
    volumes,
)

REQUESTS_PER_POD = "60"
"""Requests a second that one API pod should serve. Source: bench/results: one process serves some 200 mixed
requests a second on a core; a third of it leaves room for the other site's load."""
OUTBOX_AGE_SECONDS = "5"
"""Age of the oldest untold outbox row that calls for more pods. Source: our choice, a dozen times what the
warm cache takes at 40 operations a second."""
API_GRACE_SECONDS = 30
"""Source: core_app's own grace of 12 s, and 5 s in which load balancers forget the pod, rounded up."""

API_PARTNERS = ("--bureau", "none", "--identity", "none")
PAYER_PARTNERS = ("--messages", "none", "--opinions", "none")
"""No bureau, identity vendor or message gateway is connected yet: nobody gets a limit, notices wait. Fakes
answer well of everybody and are the stand's alone."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of which one a site works at a time: it is started with the site's settings."""

    name: str
    """Also the holder of its certificate."""
    module: str
    port: int
    """At which it tells its figures."""
    partners: tuple[str, ...] = ()
    """Options that say whom it asks outside."""


WORKERS = (
    Worker("projector", "core_app.projector", PROJECTOR_PORT),
    Worker("payer", "core_app.payer", PAYER_PORT, PAYER_PARTNERS),
    Worker("watcher", "ueba.watcher", WATCHER_PORT),
)


def build_services(ground: Ground) -> None:
    """Create everything at the site that is not a copy."""
    documents = {
        "site.json": json.dumps(site_document(ground.topology, ground.site), indent=1, sort_keys=True),
        "channels.json": json.dumps(channels_document(ground.topology), indent=1, sort_keys=True),
    }
    core.ConfigMap("site-settings", metadata=named("site-settings", "site"), data=documents, opts=ground.opts)
    _api(ground)
    for worker in WORKERS:
        _worker(ground, worker)
    _valkey(ground)


def _api(ground: Ground) -> None:
    settings = ground.topology.settings
    container = core.ContainerArgs(
        name="api",
        image=settings.images.biyi,
        args=["python", "-m", "core_app.api", "--settings", SITE_SETTINGS, *API_PARTNERS],
        ports=[core.ContainerPortArgs(name="http", container_port=API_PORT)],
        security_context=confined(),
        resources=sized("1", "512Mi", cpu_limit="2"),
        startup_probe=asks("/healthz", API_PORT, period=1, failures=30),
        liveness_probe=asks("/healthz", API_PORT, period=5, failures=4),
        # Not /readyz: it fails when one cell is away, and would take the whole entrance out for it.
        readiness_probe=asks("/healthz", API_PORT, period=2, failures=2),
        # Load balancers forget the pod first; then SIGTERM, and what runs is finished.
        lifecycle=core.LifecycleArgs(
            pre_stop=core.LifecycleHandlerArgs(sleep=core.SleepActionArgs(seconds=5))
        ),
        volume_mounts=mounts(),
    )
    apps.Deployment(
        "api",
        metadata=quick("api"),
        spec=apps.DeploymentSpecArgs(
            selector=meta.LabelSelectorArgs(match_labels=labels("api")),
            strategy=_one_more_then_one_less(),
            template=template(
                "api",
                pod(
                    settings,
                    "api",
                    [container],
                    volumes("site-settings", holders=("api",), given=GIVEN["api"]),
                    init=prepared(settings.images.biyi, "api", GIVEN["api"]),
                    grace_seconds=API_GRACE_SECONDS,
                ),
            ),
        ),
        # How many there are is the autoscaler's business, and the agent's when the other site is lost.
        opts=ground.with_ignored("spec.replicas"),
    )
    _entrance(ground)
    _autoscaler(ground)


def _entrance(ground: Ground) -> None:
    site = ground.topology.settings.site(ground.site)
    core.Service(
        "api",
        metadata=meta.ObjectMetaArgs(
            name="api",
            namespace="biyi",
            labels=labels("api"),
            annotations={**site.load_balancer_annotations, "pulumi.com/skipAwait": "true"},
        ),
        spec=core.ServiceSpecArgs(
            type="LoadBalancer",
            external_traffic_policy="Local",
            selector=labels("api"),
            ports=[core.ServicePortArgs(name="http", port=API_PORT, target_port="http")],
        ),
        opts=ground.opts,
    )
    policy.PodDisruptionBudget(
        "api",
        metadata=named("api", "api"),
        spec=policy.PodDisruptionBudgetSpecArgs(
            max_unavailable=1, selector=meta.LabelSelectorArgs(match_labels=labels("api"))
        ),
        opts=ground.opts,
    )


def _autoscaler(ground: Ground) -> None:
    site = ground.topology.settings.site(ground.site)
    rate = autoscaling.MetricSpecArgs(
        type="Pods",
        pods=autoscaling.PodsMetricSourceArgs(
            metric=autoscaling.MetricIdentifierArgs(name="biyi_api_requests_per_second"),
            target=autoscaling.MetricTargetArgs(type="AverageValue", average_value=REQUESTS_PER_POD),
        ),
    )
    age = autoscaling.MetricSpecArgs(
        type="External",
        external=autoscaling.ExternalMetricSourceArgs(
            metric=autoscaling.MetricIdentifierArgs(name="biyi_outbox_age_seconds"),
            target=autoscaling.MetricTargetArgs(type="Value", value=OUTBOX_AGE_SECONDS),
        ),
    )
    quickly = autoscaling.HPAScalingRulesArgs(
        stabilization_window_seconds=0,
        policies=[autoscaling.HPAScalingPolicyArgs(type="Percent", value=100, period_seconds=15)],
    )
    slowly = autoscaling.HPAScalingRulesArgs(
        stabilization_window_seconds=600,
        policies=[autoscaling.HPAScalingPolicyArgs(type="Pods", value=1, period_seconds=60)],
    )
    autoscaling.HorizontalPodAutoscaler(
        "api",
        metadata=named("api", "api"),
        spec=autoscaling.HorizontalPodAutoscalerSpecArgs(
            scale_target_ref=autoscaling.CrossVersionObjectReferenceArgs(
                api_version="apps/v1", kind="Deployment", name="api"
            ),
            min_replicas=site.api_replicas_min,
            max_replicas=site.api_replicas_max,
            metrics=[rate, age],
            behavior=autoscaling.HorizontalPodAutoscalerBehaviorArgs(scale_up=quickly, scale_down=slowly),
        ),
        # The agent raises the lower bound while the other site is lost, and lowers it after fail-back.
        opts=ground.with_ignored("spec.minReplicas"),
    )


def _worker(ground: Ground, worker: Worker) -> None:
    """Create a process of which one a site works at a time; a second one only takes over."""
    settings, name = ground.topology.settings, worker.name
    container = core.ContainerArgs(
        name=name,
        image=settings.images.biyi,
        args=["python", "-m", worker.module, "--settings", SITE_SETTINGS, *worker.partners],
        ports=[core.ContainerPortArgs(name="status", container_port=worker.port)],
        security_context=confined(),
        resources=sized("250m", "256Mi", cpu_limit="1"),
        startup_probe=asks("/livez", HEALTH_PORT, period=2, failures=30),
        liveness_probe=asks("/livez", HEALTH_PORT, period=5, failures=4),
        readiness_probe=asks("/livez", HEALTH_PORT, period=5, failures=2),
        volume_mounts=mounts(),
    )
    apps.Deployment(
        name,
        metadata=quick(name),
        spec=apps.DeploymentSpecArgs(
            replicas=1,
            selector=meta.LabelSelectorArgs(match_labels=labels(name)),
            strategy=apps.DeploymentStrategyArgs(type="Recreate"),
            template=template(
                name,
                pod(
                    settings,
                    name,
                    [container],
                    volumes("site-settings", holders=(name,), given=GIVEN[name]),
                    init=prepared(settings.images.biyi, name, GIVEN[name]),
                ),
            ),
        ),
        opts=ground.opts,
    )


def _valkey(ground: Ground) -> None:
    """Create the site's cache; wiped, it is filled again by the projector, so it keeps no volume."""
    settings = ground.topology.settings
    start = f'exec valkey-server --port 0 --tls-port {VALKEY_PORT} --appendonly no --save "" --dir /data'
    start += f" --tls-cert-file {TLS}/valkey.crt --tls-key-file {TLS}/valkey.key"
    start += f" --tls-ca-cert-file {TLS}/ca.crt"
    start += ' --tls-auth-clients yes --tls-protocols TLSv1.3 --requirepass "$(cat /secrets/valkey)"'
    container = core.ContainerArgs(
        name="valkey",
        image=settings.images.valkey,
        command=["/bin/sh", "-ec"],
        args=[start + " --maxmemory 768mb --maxmemory-policy noeviction"],
        ports=[core.ContainerPortArgs(name="valkey", container_port=VALKEY_PORT)],
        security_context=confined(),
        resources=sized("500m", "1Gi"),
        startup_probe=listens(VALKEY_PORT, period=1, failures=30),
        liveness_probe=listens(VALKEY_PORT, period=5, failures=6),
        readiness_probe=listens(VALKEY_PORT, period=2, failures=2),
        volume_mounts=[
            core.VolumeMountArgs(name="data", mount_path="/data"),
            core.VolumeMountArgs(name="secrets", mount_path="/secrets", read_only=True),
            core.VolumeMountArgs(name="tls", mount_path=TLS, read_only=True),
        ],
    )
    keeps = [
        core.VolumeArgs(name="data", empty_dir=core.EmptyDirVolumeSourceArgs(size_limit="1Gi")),
        keys_of(GIVEN["valkey"]),
        certificates_of("valkey"),
    ]
    apps.Deployment(
        "valkey",
        metadata=quick("valkey"),
        spec=apps.DeploymentSpecArgs(
            replicas=1,
            selector=meta.LabelSelectorArgs(match_labels=labels("valkey")),
            strategy=apps.DeploymentStrategyArgs(type="Recreate"),
            template=template("valkey", pod(settings, "valkey", [container], keeps)),
        ),
        opts=ground.opts,
    )
    core.Service(
        "valkey",
        metadata=quick("valkey"),
        spec=core.ServiceSpecArgs(
            selector=labels("valkey"),
            ports=[core.ServicePortArgs(name="valkey", port=VALKEY_PORT, target_port="valkey")],
        ),
        opts=ground.opts,
    )


def quick(component: str) -> meta.ObjectMetaArgs:
    """Name a workload, or its Service, after its component; an `up` does not wait for it."""
    return unwaited(component, component)


def template(component: str, spec: core.PodSpecArgs) -> core.PodTemplateSpecArgs:
    """Return the template of a workload's pods, which Prometheus finds by its annotation."""
    return core.PodTemplateSpecArgs(
        metadata=meta.ObjectMetaArgs(labels=labels(component), annotations={"prometheus.io/scrape": "true"}),
        spec=spec,
    )


def _one_more_then_one_less() -> apps.DeploymentStrategyArgs:
    rolling = apps.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0)
    return apps.DeploymentStrategyArgs(type="RollingUpdate", rolling_update=rolling)
