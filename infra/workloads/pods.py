"""How every pod is confined, probed, and spread: one place, so that no workload can be laxer than another."""

from collections.abc import Sequence

from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from infra.settings import Settings
from infra.workloads.documents import HOME, IDENTITY, KEYS, OWN, SETTINGS, TLS
from infra.workloads.keys import Given, lay_out

USER = 65532
"""Not root. Source: the number that distroless images use for `nonroot`."""
NAMESPACE = "biyi"
KEYS_SECRET, TLS_SECRET = "biyi-keys", "biyi-tls"
OWN_SECRETS = "/own-secrets"
DRAIN_SECONDS = 90
"""Longest end of a pod. Source: a planned move waits 20 s at most, a clean stop of PostgreSQL takes under
10 s in drills; three times their sum."""


def labels(component: str, **more: str) -> dict[str, str]:
    """Return the labels of one workload's objects.

    >>> labels("api")["app.kubernetes.io/component"]
    'api'
    """
    return {"app.kubernetes.io/name": "biyi", "app.kubernetes.io/component": component, **more}


def named(name: str, component: str, **more: str) -> meta.ObjectMetaArgs:
    """Return the metadata of an object in the namespace."""
    return meta.ObjectMetaArgs(name=name, namespace=NAMESPACE, labels=labels(component, **more))


def unwaited(name: str, component: str, **more: str) -> meta.ObjectMetaArgs:
    """Name an object whose readiness an `up` does not wait for: with one site down it would wait for ever.

    A copy turns ready when the sync set has it, so when the other site is there: neither site comes first.
    """
    return meta.ObjectMetaArgs(
        name=name,
        namespace=NAMESPACE,
        labels=labels(component, **more),
        annotations={"pulumi.com/skipAwait": "true"},
    )


def confined() -> core.SecurityContextArgs:
    """Return what a container may not do: everything that Pod Security `restricted` forbids, and writing."""
    return core.SecurityContextArgs(
        allow_privilege_escalation=False,
        capabilities=core.CapabilitiesArgs(drop=["ALL"]),
        privileged=False,
        read_only_root_filesystem=True,
        run_as_non_root=True,
        run_as_user=USER,
        run_as_group=USER,
        seccomp_profile=core.SeccompProfileArgs(type="RuntimeDefault"),
    )


def sized(cpu: str, memory: str, *, cpu_limit: str | None = None) -> core.ResourceRequirementsArgs:
    """Return requests and limits; memory is never shared out twice."""
    return core.ResourceRequirementsArgs(
        requests={"cpu": cpu, "memory": memory, "ephemeral-storage": "100Mi"},
        limits={"cpu": cpu_limit or cpu, "memory": memory, "ephemeral-storage": "1Gi"},
    )


def asks(path: str, port: int, *, period: int, failures: int, timeout: int = 2) -> core.ProbeArgs:
    """Return a probe by https; seconds. The kubelet shows no certificate and checks none."""
    return core.ProbeArgs(
        http_get=core.HTTPGetActionArgs(path=path, port=port, scheme="HTTPS"),
        period_seconds=period,
        failure_threshold=failures,
        timeout_seconds=timeout,
    )


def listens(port: int, *, period: int, failures: int) -> core.ProbeArgs:
    """Return a probe that asks nothing, for who answers nobody without a certificate; seconds."""
    return core.ProbeArgs(
        tcp_socket=core.TCPSocketActionArgs(port=port),
        period_seconds=period,
        failure_threshold=failures,
        timeout_seconds=2,
    )


def spread(component: str) -> list[core.TopologySpreadConstraintArgs]:
    """Spread a workload over zones, then over machines; in need a site lives in one zone."""
    return [
        core.TopologySpreadConstraintArgs(
            max_skew=1,
            topology_key=key,
            when_unsatisfiable=when,
            label_selector=meta.LabelSelectorArgs(match_labels=labels(component)),
        )
        for key, when in (
            ("topology.kubernetes.io/zone", "ScheduleAnyway"),
            ("kubernetes.io/hostname", "ScheduleAnyway"),
        )
    ]


def in_zone(zone: str) -> core.AffinityArgs:
    """Bind a pod to one failure domain: a copy that wanders into the other's zone is no second copy."""
    wanted = core.NodeSelectorRequirementArgs(key="topology.kubernetes.io/zone", operator="In", values=[zone])
    term = core.NodeSelectorTermArgs(match_expressions=[wanted])
    required = core.NodeSelectorArgs(node_selector_terms=[term])
    return core.AffinityArgs(
        node_affinity=core.NodeAffinityArgs(required_during_scheduling_ignored_during_execution=required)
    )


def keys_laid_out(image: str, given: Given, *more: str) -> core.ContainerArgs:
    """Copy what the process is given, and `more` of the pod's own, to memory."""
    return core.ContainerArgs(
        name="keys",
        image=image,
        command=["/bin/sh", "-ec"],
        args=[lay_out(given, "/secrets", KEYS, more)],
        security_context=confined(),
        resources=sized("50m", "32Mi"),
        volume_mounts=[
            *(
                [core.VolumeMountArgs(name="secrets", mount_path="/secrets", read_only=True)]
                if given.items()
                else []
            ),
            core.VolumeMountArgs(name="keys", mount_path=KEYS),
            *([core.VolumeMountArgs(name="own", mount_path=OWN_SECRETS, read_only=True)] if more else []),
        ],
    )


def identity_linked(image: str, holder: str) -> core.ContainerArgs:
    """Lay out the directory of certificates: links into the projected volume, renewed under them.

    `holder`'s own stand beside them as `own`, the name that PostgreSQL's two ends know them by.

    Its `..data` is the generation in force, and a renewal writes every file anew, `crl.pem` too, at whose
    time the process sees that something changed. The directory itself is the process's: it says there what
    it took over.
    """
    links = f"ln -sfn {TLS}/..data {IDENTITY}/current && ln -sfn {TLS}/crl.pem {IDENTITY}/crl.pem"
    links += "".join(f" && ln -sfn {TLS}/{holder}.{end} {IDENTITY}/{OWN}.{end}" for end in ("crt", "key"))
    return core.ContainerArgs(
        name="identity",
        image=image,
        command=["/bin/sh", "-ec"],
        args=[links],
        security_context=confined(),
        resources=sized("50m", "32Mi"),
        volume_mounts=[core.VolumeMountArgs(name="identity", mount_path=IDENTITY)],
    )


def prepared(image: str, holder: str, given: Given, *more: str) -> list[core.ContainerArgs]:
    """Return what runs before a process known as `holder`: keys and `more` laid out, identity linked."""
    return [keys_laid_out(image, given, *more), identity_linked(image, holder)]


def volumes(*documents: str, holders: Sequence[str], given: Given) -> list[core.VolumeArgs]:
    """Return the volumes of a pod that reads its settings and keys; nothing of them is on a node's disk.

    `holders` are the names under which its process is known: it gets no other's certificate, and of the keys
    only what it is `given`.
    """
    return [
        core.VolumeArgs(
            name="settings",
            projected=core.ProjectedVolumeSourceArgs(
                sources=[
                    core.VolumeProjectionArgs(config_map=core.ConfigMapProjectionArgs(name=name))
                    for name in documents
                ]
            ),
        ),
        *([keys_of(given)] if given.items() else []),
        certificates_of(*holders),
        core.VolumeArgs(
            name="identity", empty_dir=core.EmptyDirVolumeSourceArgs(medium="Memory", size_limit="1Mi")
        ),
        core.VolumeArgs(
            name="keys", empty_dir=core.EmptyDirVolumeSourceArgs(medium="Memory", size_limit="1Mi")
        ),
        core.VolumeArgs(name="tmp", empty_dir=core.EmptyDirVolumeSourceArgs(size_limit="64Mi")),
    ]


def keys_of(given: Given) -> core.VolumeArgs:
    """Return the volume with the named files of the site's keys; without names it would have them all."""
    if not given.items():
        raise ValueError("a volume of keys that names none would have every one")
    secret = core.SecretVolumeSourceArgs(
        secret_name=KEYS_SECRET,
        default_mode=0o440,
        items=[core.KeyToPathArgs(key=name, path=name) for name in given.items()],
    )
    return core.VolumeArgs(name="secrets", secret=secret)


def certificates_of(*holders: str) -> core.VolumeArgs:
    """Return the volume with the authority's files and the holders' own, and nobody else's."""
    return core.VolumeArgs(
        name="tls",
        projected=core.ProjectedVolumeSourceArgs(
            default_mode=0o440,
            sources=[
                core.VolumeProjectionArgs(secret=core.SecretProjectionArgs(name=name))
                for name in (TLS_SECRET, *(f"{TLS_SECRET}-{holder}" for holder in holders))
            ],
        ),
    )


def mounts(*more: core.VolumeMountArgs) -> list[core.VolumeMountArgs]:
    """Return the mounts that go with `volumes`."""
    return [
        core.VolumeMountArgs(name="settings", mount_path=SETTINGS, read_only=True),
        core.VolumeMountArgs(name="tls", mount_path=TLS, read_only=True),
        core.VolumeMountArgs(name="identity", mount_path=IDENTITY),
        core.VolumeMountArgs(name="keys", mount_path=KEYS, read_only=True),
        core.VolumeMountArgs(name="tmp", mount_path="/tmp"),  # noqa: S108 - a volume of the pod's own
        *more,
    ]


def pod(
    settings: Settings,
    component: str,
    containers: Sequence[core.ContainerArgs],
    pod_volumes: Sequence[core.VolumeArgs],
    *,
    account: str = "biyi-worker",
    account_mounted: bool = False,
    init: Sequence[core.ContainerArgs] = (),
    zone: str | None = None,
    pool: str | None = None,
    grace_seconds: int = 30,
    restart_policy: str | None = None,
) -> core.PodSpecArgs:
    """Return the specification of a pod; `zone` binds it to one, else it is spread.

    `restart_policy` None: Kubernetes' own, always; what runs to its end needs another.
    """
    secret = settings.images.pull_secret
    taint = core.TolerationArgs(key="biyi/pool", operator="Equal", value=pool, effect="NoSchedule")
    return core.PodSpecArgs(
        service_account_name=account,
        automount_service_account_token=account_mounted,
        enable_service_links=False,
        security_context=core.PodSecurityContextArgs(
            run_as_non_root=True,
            run_as_user=USER,
            run_as_group=USER,
            fs_group=USER,
            fs_group_change_policy="OnRootMismatch",
            seccomp_profile=core.SeccompProfileArgs(type="RuntimeDefault"),
        ),
        image_pull_secrets=[core.LocalObjectReferenceArgs(name=secret)] if secret else None,
        init_containers=list(init) or None,
        containers=list(containers),
        volumes=list(pod_volumes),
        affinity=in_zone(zone) if zone else None,
        topology_spread_constraints=None if zone else spread(component),
        tolerations=[taint] if pool else None,
        termination_grace_period_seconds=grace_seconds,
        restart_policy=restart_policy,
        priority_class_name=f"biyi-{'data' if zone else 'work'}",
    )


def home_mount() -> core.VolumeMountArgs:
    """Return the mount of a process's own directory."""
    return core.VolumeMountArgs(name="home", mount_path=HOME)
