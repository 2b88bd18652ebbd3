"""What a cluster runs against what was approved: every change is drift, what the server adds is not."""

import copy
from typing import Any

import pytest

from compliance.controls import workloads

IMAGE = "registry.example.com/biyi/biyi@sha256:" + "1" * 64


def policy(**changed: Any) -> dict[str, Any]:
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} | changed
    return {"kind": "NetworkPolicy", "metadata": {"name": "deny-all"}, "spec": spec}


def deployment() -> dict[str, Any]:
    container = {"name": "api", "image": IMAGE, "ports": [{"containerPort": 8000}]}
    spec = {"replicas": 2, "template": {"spec": {"containers": [container], "hostNetwork": False}}}
    return {"kind": "Deployment", "metadata": {"name": "api", "labels": {"a": "b"}}, "spec": spec}


def service(**changed: Any) -> dict[str, Any]:
    spec = {"ports": [{"port": 443}]} | changed
    return {"kind": "Service", "metadata": {"name": "api"}, "spec": spec}


def settings() -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"site.json": "{}"}}


APPROVED = [policy(), deployment(), service(), settings()]


def live() -> dict[str, list[dict[str, Any]]]:
    """What the server gives: the manifests with what it adds by itself."""
    found = copy.deepcopy(APPROVED)
    found[0]["metadata"]["uid"] = "1"
    found[1]["status"] = {"readyReplicas": 2}
    del found[1]["spec"]["template"]["spec"]["hostNetwork"]
    found[1]["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    found[2]["spec"]["clusterIP"] = "10.0.0.9"
    root = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "x"}}
    return {one["kind"]: [one] for one in found[:3]} | {"ConfigMap": [found[3], root]}


def test_what_the_server_adds_is_no_drift() -> None:
    assert workloads.find_drift(APPROVED, live()) == []


def set_in(path: str, value: Any) -> Any:
    def change(found: dict[str, list[dict[str, Any]]]) -> None:
        kind, *keys = path.split("/")
        at: Any = found[kind][0]
        for key in keys[:-1]:
            at = at[int(key)] if key.isdigit() else at[key]
        at[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (set_in("Deployment/spec/replicas", 3), "Deployment api: spec.replicas: approved 2, now 3"),
        (set_in("Deployment/metadata/labels", {}), "Deployment api: metadata.labels.a: approved b, now None"),
        (set_in("Deployment/spec/template/spec/hostNetwork", True), "hostNetwork: approved False, now True"),
        (set_in("NetworkPolicy/spec/podSelector", {"app": "x"}), "podSelector.app: approved None, now x"),
        (set_in("NetworkPolicy/spec/policyTypes", ["Ingress"]), "approved 2 of them, now 1 of them"),
        (set_in("NetworkPolicy/spec/ingress", [{}]), "spec.ingress: approved None, now [{}]"),
        (set_in("Deployment/spec/template/spec/hostPID", True), "spec.hostPID: approved None, now True"),
        (
            set_in("Deployment/spec/template/spec/containers/0/securityContext", {"privileged": True}),
            "containers[0].securityContext: approved None",
        ),
        (set_in("ConfigMap/data/more.json", "{}"), "ConfigMap settings: data.more.json: approved None"),
        (lambda found: found["Service"].clear(), "Service api: approved, not there"),
        (lambda found: found.update(Role=[{"metadata": {"name": "all"}}]), "Role all: there, not approved"),
    ],
)
def test_every_change_is_drift(change: Any, told: str) -> None:
    found = live()
    change(found)
    drift = workloads.find_drift(APPROVED, found)
    assert len(drift) == 1
    assert told in drift[0]


@pytest.mark.parametrize(
    ("changed", "denies"),
    [
        ({}, True),
        ({"podSelector": {"matchLabels": {"app": "x"}}}, False),
        ({"policyTypes": ["Ingress"]}, False),
        ({"ingress": [{}]}, False),
        ({"egress": [{}]}, False),
    ],
)
def test_only_a_policy_that_takes_everything_and_lets_nothing_through_denies(
    changed: dict[str, Any], denies: bool
) -> None:
    assert workloads.denies_by_default([policy(**changed)]) is denies
    assert not workloads.denies_by_default([])


def pod(**changed: Any) -> dict[str, Any]:
    spec = copy.deepcopy(deployment()["spec"]["template"]["spec"]) | changed
    status = {"containerStatuses": [{"name": "api", "imageID": IMAGE}]}
    return {"metadata": {"name": "api-1"}, "spec": spec, "status": status}


def container(**changed: Any) -> list[dict[str, Any]]:
    return [deployment()["spec"]["template"]["spec"]["containers"][0] | changed]


@pytest.mark.parametrize(
    ("pods", "services", "opened"),
    [
        ([pod()], [service()], set()),
        ([pod(hostNetwork=True)], [], {("node", 8000)}),
        ([pod(containers=container(ports=[{"containerPort": 22}]))], [], {("pod", 22)}),
        ([pod(containers=container(ports=[{"containerPort": 8000, "hostPort": 80}]))], [], {("node", 8000)}),
        ([], [service(type="NodePort")], {("NodePort", 443)}),
        ([], [service(type="LoadBalancer")], {("LoadBalancer", 443)}),
        ([], [service(externalIPs=["203.0.113.1"])], {("external", 443)}),
    ],
)
def test_what_is_open_and_was_not_approved_is_seen(pods: Any, services: Any, opened: Any) -> None:
    allowed = workloads.list_allowed(APPROVED)
    seen = {(where, port) for where, port, _ in workloads.list_listening(pods, services)}
    assert seen - allowed == opened


def test_an_image_counts_only_pinned_approved_and_running() -> None:
    assert workloads.find_unpinned(APPROVED, [pod()]) == (1, [])
    other = IMAGE.replace("1" * 64, "2" * 64)
    for wrong, told in (
        (pod(containers=container(image="biyi:latest")), "has no digest"),
        (pod(containers=container(image=other)), "was not approved"),
        (pod() | {"status": {}}, "does not run sha256:"),
        (pod() | {"status": {"containerStatuses": [{"name": "api", "imageID": other}]}}, "does not run"),
    ):
        seen, odd = workloads.find_unpinned(APPROVED, [wrong])
        assert (seen, len(odd)) == (1, 1)
        assert told in odd[0]


def cron_job() -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "day-end"}}, "spec": {"containers": container()}}
    job = {"metadata": {"labels": {"app": "day-end"}}, "spec": {"backoffLimit": 2, "template": template}}
    return {"kind": "CronJob", "metadata": {"name": "day-end"}, "spec": {"jobTemplate": job}}


def job(name: str, *, of: str | None = None, ended: str | None = None) -> dict[str, Any]:
    """A Job as the API server gives it: with what it writes in by itself."""
    spec = copy.deepcopy(cron_job()["spec"]["jobTemplate"]["spec"])
    uid = {"batch.kubernetes.io/controller-uid": "u", "controller-uid": "u", "job-name": name}
    spec["template"]["metadata"]["labels"] |= uid
    spec |= {"selector": {"matchLabels": {"controller-uid": "u"}}, "completions": 1, "parallelism": 1,
             "completionMode": "NonIndexed", "suspend": False}  # fmt: skip
    made: dict[str, Any] = {
        "metadata": {"name": name, "labels": {"app": "day-end"}},
        "spec": spec,
        "status": {},
    }
    if of is not None:
        made["metadata"]["ownerReferences"] = [{"kind": "CronJob", "name": of, "controller": True}]
    if ended is not None:
        made["status"]["conditions"] = [{"type": ended, "status": "True"}]
    return made


def approved_job() -> dict[str, Any]:
    return {
        "kind": "Job",
        "metadata": {"name": "migrate-1"},
        "spec": cron_job()["spec"]["jobTemplate"]["spec"],
    }


def drift_of(*jobs: dict[str, Any]) -> list[str]:
    return workloads.find_drift([cron_job(), approved_job()], {"CronJob": [cron_job()], "Job": list(jobs)})


def test_an_approved_job_and_the_runs_of_an_approved_cron_job_are_no_drift() -> None:
    assert drift_of(job("migrate-1"), job("day-end-1", of="day-end"), job("day-end-2", of="day-end")) == []
    assert drift_of() == [], "a Job that has ended is cleared away"


@pytest.mark.parametrize("ended", ["Complete", "Failed"])
def test_an_ended_run_is_of_what_was_approved_then_and_a_running_one_of_what_is(ended: str) -> None:
    old = job("day-end-1", of="day-end", ended=ended)
    old["spec"]["template"]["spec"]["containers"][0]["image"] = "biyi@sha256:" + "9" * 64
    assert drift_of(old) == []
    old["status"] = {}
    assert ["containers[0].image" in one for one in drift_of(old)] == [True]


def test_a_job_of_nobody_is_drift_whether_it_runs_or_ended() -> None:
    for stray in (job("miner"), job("miner", of="other-timetable"), job("miner", ended="Complete")):
        assert drift_of(stray) == ["Job miner: there, not approved"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("parallelism",), 5),
        (("completionMode",), "Indexed"),
        (("backoffLimit",), 9),
        (("template", "spec", "hostNetwork"), True),
        (("template", "metadata", "labels", "app"), "api"),
    ],
)
def test_a_run_that_is_not_as_its_cron_job_makes_it_is_drift(path: tuple[str, ...], value: Any) -> None:
    for changed in (job("day-end-1", of="day-end"), job("migrate-1")):
        at = changed["spec"]
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        assert len(drift_of(changed)) == 1


def test_a_selector_of_its_own_choice_is_drift() -> None:
    """With it a Job would take over pods, and their labels, that are not its own."""
    changed = job("migrate-1")
    changed["spec"]["manualSelector"] = True
    assert len(drift_of(changed)) >= 2


def test_a_pod_that_has_ended_runs_nothing_and_one_of_a_job_is_compared() -> None:
    other = pod(containers=container(image=IMAGE.replace("1" * 64, "2" * 64)))
    assert workloads.find_unpinned([cron_job()], [pod()]) == (1, [])
    assert len(workloads.find_unpinned([cron_job()], [other])[1]) == 1
    other["status"]["phase"] = "Succeeded"
    assert workloads.find_unpinned([cron_job()], [other]) == (0, [])
