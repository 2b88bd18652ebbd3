"""`biyi deploy`'s runner with the real Pulumi engine and provider, on two real API servers.

The tests are one story, in their order: up, up again, a change by hand, a burst, a site down, destroy.
"""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbooks.deploy.run import Runner
from runbooks.deploy.steps import EXIT_CHANGES, EXIT_REFUSED, EXIT_UNKNOWN, StackResult, exit_code
from tests.cluster.api_server import ApiServer
from tests.cluster.project import Project, made_project, told

IN_BIYI = "/namespaces/biyi"
BUDGET = f"/apis/policy/v1{IN_BIYI}/poddisruptionbudgets/copies"
AUTOSCALER = f"/apis/autoscaling/v2{IN_BIYI}/horizontalpodautoscalers/api"
MERGE = "application/merge-patch+json"

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def project(idc: ApiServer, cloud: ApiServer, kubeconfig: Path, tmp_path_factory: Any) -> Iterator[Project]:
    for server in (idc, cloud):
        assert server.found("/api/v1/namespaces/biyi") is None
    with made_project(tmp_path_factory.mktemp("pulumi"), kubeconfig) as made:
        yield made


@pytest.fixture(scope="module")
def first(project: Project) -> list[StackResult]:
    return project.runner().up(project.stacks())


def changed(results: list[StackResult]) -> set[tuple[str, str, str]]:
    quiet = {"same", "refresh", "read"}
    return {(r.stack, s.op, s.name) for r in results for s in r.steps if s.op not in quiet}


def test_an_up_creates_both_sites(first: list[StackResult], idc: ApiServer, cloud: ApiServer):
    assert told(first) == {"workloads-cloud": ("done", ""), "workloads-idc": ("done", "")}
    for server, place in ((idc, "a-idc-0"), (cloud, "a-cloud-0")):
        found = server.ask("GET", f"/apis/apps/v1{IN_BIYI}/statefulsets/{place}")
        assert found["spec"]["updateStrategy"]["type"] == "OnDelete"
        assert server.found(f"/apis/discovery.k8s.io/v1{IN_BIYI}/endpointslices") is not None
        kinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for kind in ("cells", "sites", "drills"):
            states = server.ask("GET", f"{kinds}/{kind}.biyi.io")["status"]["conditions"]
            assert {c["type"]: c["status"] for c in states}["Established"] == "True"
    for result in first:
        assert result.state_file is not None
        assert stat.S_IMODE(os.stat(result.state_file).st_mode) == 0o600


def test_a_second_up_changes_nothing(project: Project, first: list[StackResult]):
    again = project.runner().up(project.stacks())
    assert told(again) == {"workloads-cloud": ("same", ""), "workloads-idc": ("same", "")}
    assert exit_code(again) == 0


def test_a_change_by_hand_is_found_and_put_back(project: Project, first: list[StackResult], idc: ApiServer):
    assert exit_code(project.runner().drift(project.stacks())) == 0
    idc.ask("PATCH", BUDGET, {"spec": {"maxUnavailable": 3}}, MERGE)
    found = project.runner().drift(project.stacks())
    assert told(found) == {"workloads-cloud": ("same", ""), "workloads-idc": ("changes", "")}
    assert changed(found) == {("workloads-idc", "update", "copies")}
    assert exit_code(found) == EXIT_CHANGES
    assert idc.ask("GET", BUDGET)["spec"]["maxUnavailable"] == 3  # a look changes nothing
    back = project.runner().up(project.stacks("workloads-idc"))
    assert told(back) == {"workloads-idc": ("done", "")}
    assert idc.ask("GET", BUDGET)["spec"]["maxUnavailable"] == 1


def test_a_burst_is_not_undone(project: Project, first: list[StackResult], idc: ApiServer):
    idc.ask("PATCH", AUTOSCALER + "?fieldManager=biyi-steward", {"spec": {"minReplicas": 4}}, MERGE)
    again = project.runner().up(project.stacks("workloads-idc"))
    assert exit_code(again) == 0
    assert idc.ask("GET", AUTOSCALER)["spec"]["minReplicas"] == 4


def test_a_site_that_is_down_holds_up_only_itself(
    project: Project, first: list[StackResult], idc: ApiServer, cloud: ApiServer
):
    path = project.root / "infra/stacks/topology.yaml"
    document = yaml.safe_load(path.read_text())
    for site in ("idc", "cloud"):
        document[site]["api_replicas_max"] = 13
    path.write_text(yaml.safe_dump(document))
    cloud.kill()
    found = project.runner().up(project.stacks())
    outcomes = {stack: outcome for stack, (outcome, _) in told(found).items()}
    assert outcomes == {"workloads-cloud": "failed", "workloads-idc": "done"}
    assert exit_code(found) == EXIT_UNKNOWN
    assert idc.ask("GET", AUTOSCALER)["spec"]["maxReplicas"] == 13
    cloud.start()
    assert cloud.ask("GET", AUTOSCALER)["spec"]["maxReplicas"] == 12
    found = project.runner().up(project.stacks())
    assert told(found) == {"workloads-cloud": ("done", ""), "workloads-idc": ("same", "")}
    assert cloud.ask("GET", AUTOSCALER)["spec"]["maxReplicas"] == 13


def test_a_destroy_takes_what_is_named_and_no_longer_protected(
    project: Project, first: list[StackResult], idc: ApiServer
):
    only = project.stacks("workloads-idc")
    refused = project.runner().destroy(only)
    assert exit_code(refused) == EXIT_REFUSED
    assert "delete of kubernetes:apps/v1:StatefulSet a-idc-0" in refused[0].why
    assert "--i-know 'kubernetes:core/v1:Namespace biyi'" in refused[0].why
    assert idc.found("/api/v1/namespaces/biyi") is not None
    named = {f"{s.type} {s.name}" for s in refused[0].steps if s.protected}
    stopped = project.runner(*named).destroy(only)
    assert exit_code(stopped) == EXIT_UNKNOWN  # Pulumi's own protection is the second lock
    assert idc.found("/api/v1/namespaces/biyi") is not None
    command = ["pulumi", "state", "unprotect", "--all", "--yes", "--stack", "workloads-idc"]
    subprocess.run(command, cwd=project.root, check=True, capture_output=True, timeout=300)
    ended = project.runner().destroy(only)
    assert told(ended) == {"workloads-idc": ("done", "")}
    assert idc.found("/api/v1/namespaces/biyi") is None
    assert idc.found("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/cells.biyi.io") is None


def test_what_breaks_a_policy_is_refused_by_the_engine_too(project: Project, first: list[StackResult]):
    """The program's own guard is taken out: a plan that only the engine's policies judge."""
    program = project.root / "infra/program.py"
    documents = project.root / "infra/workloads/pods.py"
    kept = program.read_text(), documents.read_text()
    assert "    guard.judge()\n" in kept[0]
    program.write_text(kept[0].replace("    guard.judge()\n", ""))
    documents.write_text(kept[1].replace("run_as_non_root=True", "run_as_non_root=False"))
    try:
        (found,) = project.runner().preview(project.stacks("workloads-cloud"))
    finally:
        program.write_text(kept[0])
        documents.write_text(kept[1])
    assert str(found.outcome) == "failed"
    assert "pods-restricted" in found.why
    assert "runAsNonRoot is False" in found.why


def test_nothing_is_done_without_the_policies(project: Project):
    runner: Runner = project.runner()
    pack = project.root / "infra/policy_pack"
    pack.rename(pack.with_name("policy_pack_away"))
    try:
        (found,) = runner.preview(project.stacks("workloads-idc"))
    finally:
        pack.with_name("policy_pack_away").rename(pack)
    assert str(found.outcome) == "failed"
