"""What runs at its time and ends: day-end each night, and the database's migrations after each new image."""

from pulumi_kubernetes.batch import v1 as batch
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from infra.settings import DataSiteName
from infra.workloads.copies import Ground
from infra.workloads.documents import SITE_SETTINGS
from infra.workloads.keys import GIVEN
from infra.workloads.pods import confined, labels, mounts, named, pod, prepared, sized, unwaited, volumes

DAY_END_MINUTE: dict[DataSiteName, int] = {"idc": 10, "cloud": 40}
"""Minute of the hour at which a site looks whether a day is over. Source: our choice, half an hour apart: the
second finds it done, or does it when the first site is lost."""
DAY_END_HOURS = "0-5"
"""Source: core_app's own hour (6) by which yesterday has to be closed; six tries at each site."""
ZONE = "Asia/Shanghai"
DAY_END_SECONDS = 3600
"""A run is ended after this long; the next goes on where it was. Source: our choice, the pause to the next;
benches close some 20,000 loans a second."""
KEPT_SECONDS = 7 * 86_400
"""How long an ended pod's log can be read. Source: our choice, a week."""
MIGRATE_TRIES = 60
"""Source: our choice; at the waits of Kubernetes (5 minutes at most) some five hours, in which both sites'
first stacks come up. Afterwards the next `up` with a new image tries again."""


def build_timetable(ground: Ground) -> None:
    """Create what runs at its time; both sites' may run at once, as what they do has its effect once."""
    _day_end(ground)
    _migrate(ground)


def _day_end(ground: Ground) -> None:
    command = ["biyi", "day-end", "run", "--due", "--settings", SITE_SETTINGS, "--json"]
    batch.CronJob(
        "day-end",
        metadata=named("day-end", "day-end"),
        spec=batch.CronJobSpecArgs(
            schedule=f"{DAY_END_MINUTE[ground.site]} {DAY_END_HOURS} * * *",
            time_zone=ZONE,
            concurrency_policy="Forbid",
            starting_deadline_seconds=DAY_END_SECONDS // 2,
            successful_jobs_history_limit=7,
            failed_jobs_history_limit=7,
            job_template=batch.JobTemplateSpecArgs(
                metadata=meta.ObjectMetaArgs(labels=labels("day-end")),
                spec=batch.JobSpecArgs(
                    backoff_limit=2,
                    active_deadline_seconds=DAY_END_SECONDS,
                    ttl_seconds_after_finished=KEPT_SECONDS,
                    # The operator's certificate: the command line's own, only etcd is asked with it.
                    template=_pods(ground, "day-end", "operator", command),
                ),
            ),
        ),
        opts=ground.opts,
    )


def _migrate(ground: Ground) -> None:
    """Create a Job whose name changes with the image, as a Job's own pods cannot."""
    command = ["python", "-m", "core_app.migrate", "--settings", SITE_SETTINGS]
    digest = ground.topology.settings.images.biyi.rpartition("sha256:")[2]
    batch.Job(
        "migrate",
        metadata=unwaited(f"migrate-{digest[:12]}", "migrate"),
        spec=batch.JobSpecArgs(
            backoff_limit=MIGRATE_TRIES, template=_pods(ground, "migrate", "migrate", command)
        ),
        opts=ground.opts,
    )


def _pods(ground: Ground, component: str, holder: str, command: list[str]) -> core.PodTemplateSpecArgs:
    settings = ground.topology.settings
    container = core.ContainerArgs(
        name=component,
        image=settings.images.biyi,
        args=command,
        security_context=confined(),
        resources=sized("250m", "512Mi", cpu_limit="2"),
        volume_mounts=mounts(),
    )
    spec = pod(
        settings,
        component,
        [container],
        volumes("site-settings", holders=(holder,), given=GIVEN[component]),
        init=prepared(settings.images.biyi, holder, GIVEN[component]),
        restart_policy="OnFailure",
    )
    return core.PodTemplateSpecArgs(metadata=meta.ObjectMetaArgs(labels=labels(component)), spec=spec)
