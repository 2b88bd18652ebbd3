"""The site's notary: seals the audit trail and signs it with the site's own key, which no other pod has."""

from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from infra.workloads.copies import Ground
from infra.workloads.documents import HEALTH_PORT, NOTARY_PORT, SIGN_KEY, SITE_SETTINGS
from infra.workloads.keys import GIVEN
from infra.workloads.pods import (
    OWN_SECRETS,
    asks,
    confined,
    home_mount,
    labels,
    mounts,
    pod,
    prepared,
    sized,
    volumes,
)
from infra.workloads.services import quick, template

KEY_SECRET = "biyi-audit"  # noqa: S105 - the name of a Secret, not its content


def build_notary(ground: Ground) -> None:
    """Create the notary with a volume of its own: what it remembers shows whether a trail was cut."""
    settings = ground.topology.settings
    container = core.ContainerArgs(
        name="notary",
        image=settings.images.biyi,
        args=["python", "-m", "core_app.notary", "--settings", SITE_SETTINGS],
        ports=[core.ContainerPortArgs(name="status", container_port=NOTARY_PORT)],
        security_context=confined(),
        resources=sized("250m", "256Mi", cpu_limit="1"),
        startup_probe=asks("/livez", HEALTH_PORT, period=2, failures=30),
        liveness_probe=asks("/livez", HEALTH_PORT, period=5, failures=4),
        readiness_probe=asks("/livez", HEALTH_PORT, period=5, failures=2),
        volume_mounts=mounts(home_mount()),
    )
    key = core.SecretVolumeSourceArgs(secret_name=KEY_SECRET, default_mode=0o440)
    claim = core.PersistentVolumeClaimArgs(
        api_version="v1",
        kind="PersistentVolumeClaim",
        metadata=meta.ObjectMetaArgs(name="home", labels=labels("notary")),
        spec=core.PersistentVolumeClaimSpecArgs(
            access_modes=["ReadWriteOncePod"],
            storage_class_name=settings.site(ground.site).storage_class,
            resources=core.VolumeResourceRequirementsArgs(requests={"storage": "1Gi"}),
        ),
    )
    spec = pod(
        settings,
        "notary",
        [container],
        [
            *volumes("site-settings", holders=("notary",), given=GIVEN["notary"]),
            core.VolumeArgs(name="own", secret=key),
        ],
        init=prepared(settings.images.biyi, "notary", GIVEN["notary"], f"{OWN_SECRETS}/{SIGN_KEY}"),
    )
    apps.StatefulSet(
        "notary",
        metadata=quick("notary"),
        spec=apps.StatefulSetSpecArgs(
            replicas=1,
            service_name="notary",
            selector=meta.LabelSelectorArgs(match_labels=labels("notary")),
            update_strategy=apps.StatefulSetUpdateStrategyArgs(type="OnDelete"),
            persistent_volume_claim_retention_policy=apps.StatefulSetPersistentVolumeClaimRetentionPolicyArgs(
                when_deleted="Retain", when_scaled="Retain"
            ),
            template=template("notary", spec),
            volume_claim_templates=[claim],
        ),
        opts=ground.opts,
    )
