"""Probes read two real API servers: what somebody changes by hand there changes the verdict."""

import asyncio
import copy
import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compliance.audit.digest import compute_sm3
from compliance.audit.signing import make_signer, render_signer
from compliance.controls.catalogue import Catalogue, read_catalogue
from compliance.controls.gather import gather_readings
from compliance.controls.judge import Outcome, Seen, State, judge
from compliance.controls.pack import verify_pack
from runbooks.controls import cluster_cli
from runbooks.controls.cluster_ground import Approval, open_cluster_ground
from runbooks.stand.topology import write_private
from tests.cluster.api_server import ApiServer
from tests.cluster.manifests import Manifests, apply, apply_all, path_of, pod_of, render

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
CATALOGUE = read_catalogue()
ASKED = ("ports", "baseline", "software")
DRIFT, PORTS, IMAGES = "8.1.10.8.b", "8.1.4.4.b", "8.2.4.4.b"
MERGE = "application/merge-patch+json"
Change = Callable[[ApiServer], Any]


@pytest.fixture(scope="module")
def both(
    idc: ApiServer, cloud: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[ApiServer, Manifests]]:
    """Both sites' clusters with everything deployed, and pods that run what is pinned (no node is here)."""
    made = {}
    for name, server in (("idc", idc), ("cloud", cloud)):
        manifests = render(name, tmp_path_factory.mktemp(f"manifests-{name}"))
        apply_all(server, manifests)
        copies = [key.removeprefix("statefulset-") for key in manifests if key.startswith("statefulset-")]
        for place in (one for one in copies if f"-{name}-" in one):
            pod = pod_of(manifests, place)
            apply(server, pod)
            run(server, pod)
        made[name] = (server, manifests)
    return made


def run(server: ApiServer, pod: dict[str, Any], **other: str) -> None:
    """Say that a pod's containers run, as its node would; `other`: image ids by container."""
    spec = pod["spec"]
    status = {
        part: [
            {"name": one["name"], "image": one["image"], "imageID": other.get(one["name"], one["image"]),
             "ready": True, "restartCount": 0}
            for one in spec[of]
        ]
        for part, of in (("containerStatuses", "containers"), ("initContainerStatuses", "initContainers"))
    }  # fmt: skip
    server.ask("PATCH", path_of(server, pod) + "/status", {"status": status}, MERGE)


@pytest.fixture
def approved(both: dict[str, tuple[ApiServer, Manifests]], tmp_path: Path) -> Approval:
    """The manifests, as two people approved them."""
    path = tmp_path / "manifests.json"
    path.write_text(json.dumps({name: list(found.values()) for name, (_, found) in both.items()}))
    return Approval(path, compute_sm3(path.read_bytes()).hex())


def narrow_catalogue() -> Catalogue:
    """What API servers decide; databases are not here, and would only be unknown."""
    return dataclasses.replace(
        CATALOGUE, probes={name: CATALOGUE.probes[name] for name in ASKED},
        items={one: CATALOGUE.items[one] for one in (DRIFT, PORTS, IMAGES)}, triggers=(), stand_notes={},
    )  # fmt: skip


async def look(kubeconfig: Path, approval: Approval) -> tuple[dict[str, Outcome], list[Any]]:
    narrow = narrow_catalogue()
    contexts = {"idc": "idc", "cloud": "cloud"}
    async with open_cluster_ground(contexts, kubeconfig, "biyi", approval) as ground:
        assert {name: str(site.settings.site) for name, site in ground.sites.items()} == contexts
        readings = await gather_readings(ground, narrow)
        outcomes = judge(narrow, Seen(tuple(ground.sites), ground.read_now(), readings, []))
    return outcomes, readings


def states(outcomes: dict[str, Outcome]) -> dict[str, State]:
    return {item: one.state for item, one in outcomes.items()}


def told(outcomes: dict[str, Outcome], item: str) -> str:
    return " ".join(reason for one in outcomes[item].verdicts for reason in one.reasons)


async def test_what_was_deployed_is_the_baseline_on_both_sites(kubeconfig: Path, approved: Approval) -> None:
    outcomes, readings = await look(kubeconfig, approved)
    assert set(states(outcomes).values()) == {State.MET}, [one.facts for one in readings]
    assert {(one.probe, one.where) for one in readings} == {
        ("ports", "idc"), ("ports", "cloud"), ("baseline", "idc"), ("baseline", "cloud"),
        ("software", "system"),
    }  # fmt: skip


BY_HAND: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("idc", "networkpolicy-deny-all", {"spec": {"ingress": [{}]}}, DRIFT, "NetworkPolicy deny-all"),
    ("idc", "networkpolicy-deny-all", {"spec": {"ingress": [{}]}}, PORTS, "no policy denies"),
    ("cloud", "deployment-payer", {"spec": {"replicas": 7}}, DRIFT, "Deployment payer"),
    ("cloud", "service-valkey", {"spec": {"type": "NodePort"}}, PORTS, "NodePort:"),
    ("idc", "role-biyi-steward", {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}, DRIFT,
     "Role biyi-steward"),
    ("idc", "configmap-site-settings", {"data": {"added.json": "{}"}}, DRIFT, "ConfigMap site-settings"),
]  # fmt: skip


@pytest.mark.parametrize(("site", "name", "change", "item", "why"), BY_HAND)
async def test_what_somebody_changes_by_hand_is_found_at_its_site(
    both: dict[str, tuple[ApiServer, Manifests]], kubeconfig: Path, approved: Approval,
    site: str, name: str, change: dict[str, Any], item: str, why: str,
) -> None:  # fmt: skip
    server, manifests = both[site]
    path = path_of(server, manifests[name])
    before = await asyncio.to_thread(server.ask, "GET", path)
    try:
        await asyncio.to_thread(server.ask, "PATCH", path, change, MERGE)
        outcomes, _ = await look(kubeconfig, approved)
    finally:
        await asyncio.to_thread(restore, server, path, before)
    assert outcomes[item].state is State.NOT_MET
    assert why in told(outcomes, item)
    assert {one.where for one in outcomes[item].verdicts if one.state is not State.MET} == {site}
    assert set(states((await look(kubeconfig, approved))[0]).values()) == {State.MET}


def job_of(manifests: Manifests, name: str, uid: str | None) -> dict[str, Any]:
    """A Job as the timetable makes it: with a `uid` it says that the CronJob did."""
    made = copy.deepcopy(manifests["cronjob-day-end"]["spec"]["jobTemplate"])
    made["metadata"] = {**made["metadata"], "name": name, "namespace": "biyi"}
    if uid is not None:
        made["metadata"]["ownerReferences"] = [
            {"apiVersion": "batch/v1", "kind": "CronJob", "name": "day-end", "uid": uid, "controller": True}
        ]
    return {"apiVersion": "batch/v1", "kind": "Job", **made}


@pytest.mark.parametrize("change", ["a run of the timetable", "by hand", "a changed run"])
async def test_a_run_of_the_timetable_is_no_drift_and_a_job_by_hand_is(
    both: dict[str, tuple[ApiServer, Manifests]], kubeconfig: Path, approved: Approval, change: str
) -> None:
    server, manifests = both["idc"]
    path = path_of(server, manifests["cronjob-day-end"])
    uid = (await asyncio.to_thread(server.ask, "GET", path))["metadata"]["uid"]
    job = job_of(manifests, "day-end-now", None if change == "by hand" else uid)
    if change == "a changed run":
        job["spec"]["template"]["spec"]["containers"][0]["args"] = ["sleep", "inf"]
    await asyncio.to_thread(apply, server, job)
    try:
        outcomes, readings = await look(kubeconfig, approved)
    finally:
        gone = path_of(server, job) + "?propagationPolicy=Background"
        await asyncio.to_thread(server.ask, "DELETE", gone)
    found = [one.facts["drift"] for one in readings if (one.probe, one.where) == ("baseline", "idc")]
    if change == "a run of the timetable":
        assert found == [[]]
    else:
        assert outcomes[DRIFT].state is State.NOT_MET
        assert "Job day-end-now" in told(outcomes, DRIFT)


async def test_cells_are_read_as_stewards_tell_them(
    both: dict[str, tuple[ApiServer, Manifests]], kubeconfig: Path, approved: Approval
) -> None:
    narrow = dataclasses.replace(CATALOGUE, probes={"replication": CATALOGUE.probes["replication"]})
    contexts = {"idc": "idc", "cloud": "cloud"}
    now = dt.datetime.now(dt.UTC).isoformat()
    told_of = {"a": ("a-idc-0", "a-cloud-0"), "b": ("b-cloud-0", "b-idc-0")}
    for server, _ in both.values():
        for cell, (primary, sync) in told_of.items():
            status = {"epoch": 3, "primary": primary, "mode": "SYNC", "syncCopies": [sync], "lagBytes": 0,
                      "seenAt": now}  # fmt: skip
            one = {"apiVersion": "biyi.io/v1", "kind": "Cell",
                   "metadata": {"name": cell, "namespace": "biyi"},
                   "spec": {"home": primary.split("-")[1]}}  # fmt: skip
            await asyncio.to_thread(apply, server, one)
            await asyncio.to_thread(
                server.ask, "PATCH", path_of(server, one) + "/status", {"status": status}, MERGE
            )
    async with open_cluster_ground(contexts, kubeconfig, "biyi", approved) as ground:
        readings = await gather_readings(ground, narrow)
    assert [(one.failure, one.facts and one.facts["lag_bytes_most"]) for one in readings] == [("", 0)] * 2


def restore(server: ApiServer, path: str, before: dict[str, Any]) -> None:
    body = copy.deepcopy(before)
    body["metadata"].pop("managedFields", None)
    body["metadata"]["resourceVersion"] = server.ask("GET", path)["metadata"]["resourceVersion"]
    server.ask("PUT", path, body)


@pytest.mark.parametrize(("approve", "code"), [(True, 0), (False, 3)])
def test_the_command_leaves_a_signed_pack_that_verifies_offline(
    kubeconfig: Path, approved: Approval, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *,
    approve: bool, code: int,
) -> None:  # fmt: skip
    narrow, signer, out = narrow_catalogue(), make_signer("idc"), tmp_path / "cluster.pack"
    monkeypatch.setattr(cluster_cli, "read_catalogue", lambda: narrow)
    write_private(tmp_path / "sign.key", render_signer(signer))
    said = ["--approved-sm3", str(approved.sm3)] if approve else []
    done = CliRunner().invoke(cluster_cli.cluster_command, [
        "--kubeconfig", str(kubeconfig), "--context", "idc=idc", "--context", "cloud=cloud",
        "--baseline", str(approved.baseline), *said, "--sign-key", str(tmp_path / "sign.key"),
        "--out", str(out), "--json",
    ])  # fmt: skip
    assert done.exit_code == code, done.output
    assert json.loads(done.output)["items"].keys() == narrow.items.keys()
    report = verify_pack(out.read_bytes(), {signer.key_id: signer.public}, narrow)
    assert (report.findings, report.header["form"]) == ([], "cluster")


async def test_an_image_that_is_not_the_pinned_one_is_found(
    both: dict[str, tuple[ApiServer, Manifests]], kubeconfig: Path, approved: Approval
) -> None:
    server, manifests = both["idc"]
    pod = pod_of(manifests, "a-idc-0")
    try:
        other = "registry.example.com/biyi/biyi@sha256:" + "f" * 64
        await asyncio.to_thread(lambda: run(server, pod, agent=other))
        outcomes, _ = await look(kubeconfig, approved)
    finally:
        await asyncio.to_thread(run, server, pod)
    assert outcomes[IMAGES].state is State.NOT_MET
    assert "idc: a-idc-0-0/agent: does not run sha256:" in told(outcomes, IMAGES)


async def test_a_baseline_that_nobody_approved_or_another_file_proves_nothing(
    kubeconfig: Path, approved: Approval
) -> None:
    outcomes, _ = await look(kubeconfig, Approval(approved.baseline, None))
    assert outcomes[DRIFT].state is State.UNKNOWN
    outcomes, _ = await look(kubeconfig, Approval(approved.baseline, "00" * 32))
    assert outcomes[DRIFT].state is State.NOT_MET
    assert "not the approved one" in told(outcomes, DRIFT)


async def test_an_api_server_that_is_lost_makes_its_site_unknown(
    both: dict[str, tuple[ApiServer, Manifests]], kubeconfig: Path, approved: Approval
) -> None:
    narrow = narrow_catalogue()
    contexts = {"idc": "idc", "cloud": "cloud"}
    async with open_cluster_ground(contexts, kubeconfig, "biyi", approved) as ground:
        lost = both["cloud"][0]
        await asyncio.to_thread(lost.kill)
        try:
            readings = await gather_readings(ground, narrow)
        finally:
            await asyncio.to_thread(lost.start)
    facts = {(one.probe, one.where): one.facts for one in readings}
    assert facts["baseline", "idc"] is not None
    for away in (("baseline", "cloud"), ("ports", "cloud"), ("software", "system")):
        assert facts[away] is None, "silence is not green"
