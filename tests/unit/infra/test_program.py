"""Every stack under mocks: what it registers, what it refuses to, and what it gives to the others."""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi.runtime import MockResourceArgs

from infra.components.network import split_by_zone
from infra.plan import PREPAID, UNKNOWN, Plan, is_protected_kind
from infra.program import PARTS, ProgramRefused
from infra.protection import Guard, PlanRefused
from tests.unit.infra.stage import CONFIG, EXAMPLE, ROOT, Recorder, build, example

PREVIEW_SECONDS = 10.0
"""What is asked of a preview of every stack under mocks, in seconds of one idle core."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Recorder, Plan, float]]:
    """Each stack of the example, built once: what was registered, what was judged, and how long it took."""
    plans: list[Plan] = []
    judge = Guard.judge

    def keep(guard: Guard) -> Plan:
        plans.append(judge(guard))
        return plans[-1]

    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guard, "judge", keep)
        for part in PARTS:
            begun = time.process_time()  # on a busy machine the clock would measure the others
            recorder = build(part, example(), tmp_path_factory.mktemp(part))
            found[part] = (recorder, plans[-1], time.process_time() - begun)
    return found


@pytest.mark.parametrize("part", PARTS)
def test_every_stack_is_planned_within_its_time(
    seen: dict[str, tuple[Recorder, Plan, float]], part: str
) -> None:
    recorder, plan, seconds = seen[part]
    assert len(recorder.registered) == len(plan) > 2
    assert seconds < PREVIEW_SECONDS


@pytest.mark.parametrize("part", PARTS)
def test_what_was_judged_is_what_was_registered(
    seen: dict[str, tuple[Recorder, Plan, float]], part: str
) -> None:
    recorder, plan, _ = seen[part]
    inputs = {(args.typ, args.name): args.inputs for args in recorder.registered}
    assert len(inputs) == len(plan)
    for planned in plan:
        assert list(_differences(dict(planned.props), inputs[planned.type, planned.name])) == []


def _differences(judged: Any, registered: Any, path: str = "") -> Any:
    """Yield where the two differ; what is unknown to one, or secret in the other, may."""
    if judged is UNKNOWN or (
        isinstance(registered, dict) and "4dabf18193072939515e22adb298388d" in registered
    ):
        return
    if isinstance(judged, dict) and isinstance(registered, dict):
        for key in sorted(set(judged) | set(registered)):
            if judged.get(key) is not UNKNOWN:
                yield from _differences(judged.get(key), registered.get(key), f"{path}.{key}")
    elif isinstance(judged, list) and isinstance(registered, list) and len(judged) == len(registered):
        for index, (one, other) in enumerate(zip(judged, registered, strict=True)):
            yield from _differences(one, other, f"{path}.{index}")
    elif judged != registered:
        yield f"{path}: {judged!r} is not {registered!r}"


@pytest.mark.parametrize("part", PARTS)
def test_what_holds_data_is_protected(seen: dict[str, tuple[Recorder, Plan, float]], part: str) -> None:
    assert all(planned.protect for planned in seen[part][1] if is_protected_kind(planned.type))


def test_nothing_is_bought_by_default(seen: dict[str, tuple[Recorder, Plan, float]]) -> None:
    assert [
        args.typ for recorder, _, _ in seen.values() for args in recorder.registered if args.typ in PREPAID
    ] == []


def test_everything_that_is_allowed_is_bought_and_protected(tmp_path: Path) -> None:
    document = example()
    document["purchases"] = dict.fromkeys(document["purchases"], True)
    document["existing"] = {"certificate_id": "1-cn"}
    bought = [args for part in ("security", "edge") for args in build(part, document, tmp_path).registered]
    assert {args.typ for args in bought} >= PREPAID


def test_the_network_joins_three_places(seen: dict[str, tuple[Recorder, Plan, float]]) -> None:
    recorder = seen["network"][0]
    assert set(recorder.all("VirtualBorderRouter")) == {"line-a", "line-b"}
    assert recorder.named("VirtualBorderRouter", "line-a")["minRxInterval"] == 200
    assert recorder.named("BgpPeer", "line-b")["enableBfd"] is True
    assert set(recorder.all("TransitRouterRouteTablePropagation")) == {"cloud", "line-a", "line-b", "vpn"}
    records = {args["rr"]: args["value"] for args in recorder.all("ZoneRecord").values()}
    assert records["a-idc-0.idc"] == "10.16.255.10"
    assert records["etcd.witness"] == "10.48.0.10"
    assert len(records) == 11
    witness = seen["witness"][0]
    assert "TransitRouterPeerAttachment" in {args.typ.split(":")[-1] for args in witness.registered}
    assert witness.named("Instance", "witness")["privateIp"] == "10.48.0.10"


def test_secrets_are_secret_in_the_state(seen: dict[str, tuple[Recorder, Plan, float]]) -> None:
    for recorder, _, _ in seen.values():
        assert "known-in-tests" not in repr([_without_secrets(args) for args in recorder.registered])


def _without_secrets(args: MockResourceArgs) -> Any:
    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("4dabf18193072939515e22adb298388d"):
                return "<secret>"
            return {key: strip(item) for key, item in value.items()}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return strip(dict(args.inputs))


def test_the_cluster_reads_its_keys_and_switches_from_the_stacks_before(
    seen: dict[str, tuple[Recorder, Plan, float]],
) -> None:
    recorder = seen["ack"][0]
    cluster = recorder.named("ManagedKubernetes", "cloud")
    assert cluster["encryptionProviderKey"] == "security-key_id"
    assert cluster["vswitchIds"] == ["vsw-cn-shanghai-g", "vsw-cn-shanghai-m"]
    assert recorder.named("NodePool", "work")["scalingConfig"]["maxSize"] == 10
    assert "scalingConfig" not in recorder.named("NodePool", "copies")


def test_the_edge_asks_both_sites(seen: dict[str, tuple[Recorder, Plan, float]], tmp_path: Path) -> None:
    records = seen["edge"][0].all("AlidnsRecord")
    assert {name: args["value"] for name, args in records.items()} == {
        "idc": "198.51.100.10",
        "cloud": "203.0.113.10",
    }
    document = example()
    document["purchases"]["gtm"] = True
    managed = build("edge", document, tmp_path)
    assert set(managed.all("MonitorConfig")) == {"idc", "cloud"}
    assert managed.all("AlidnsRecord") == {}


@pytest.mark.parametrize("part", ["network", "workloads-idc"])
def test_a_bad_document_registers_nothing_and_names_the_setting(part: str, tmp_path: Path) -> None:
    document = example()
    document["votes"]["witness"] = 0
    with pytest.raises(ProgramRefused, match="votes: 2 votes in all"):
        build(part, document, tmp_path)


def test_an_unknown_part_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ProgramRefused, match="biyi:part: found 'moon'; set it to one of network, security"):
        build("moon", example(), tmp_path)


def _public_balancers(document: dict[str, Any]) -> None:
    document["idc"]["load_balancer_annotations"] = {}


def test_a_bad_plan_is_refused_with_every_finding(tmp_path: Path) -> None:
    document = example()
    _public_balancers(document)
    with pytest.raises(PlanRefused) as refused:
        build("workloads-idc", document, tmp_path)
    found = {(finding.check.name, finding.resource.name) for finding in refused.value.findings}
    assert ("balancers-internal", "a-idc-0") in found
    assert "8.1.3.1 a" in str(refused.value)


AS_THE_ENGINE = """
    import asyncio, os, runpy, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    import pulumi
    from pulumi.runtime import set_all_config, set_mocks
    from pulumi.runtime.settings import set_root_resource
    import infra.program

    class Loud(pulumi.runtime.Mocks):
        def new_resource(self, args):
            os.write(1, f"REGISTERED {args.typ} {args.name}\\n".encode())  # one write: threads register
            return args.name, args.inputs
        def call(self, args):
            return {}

    async def run(config):
        set_mocks(Loud(), project="biyi", stack="workloads-idc", organization="organization")
        set_root_resource(None)
        set_all_config(config, [])
        await pulumi.runtime.run_in_stack(lambda: runpy.run_path("infra", run_name="__main__") and None)

    for config in CONFIGS:
        child = os.fork()
        if not child:
            asyncio.run(run(config))
            os._exit(0)
        os.write(1, f"ENDED {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\\n".encode())
"""


def test_after_a_refusal_the_engine_is_asked_for_nothing(tmp_path: Path) -> None:
    configs = []
    changes: list[Callable[[dict[str, Any]], object]] = [lambda _: None, _public_balancers]
    for number, change in enumerate(changes):
        document = example()
        change(document)
        path = tmp_path / f"topology-{number}.yaml"
        path.write_text(yaml.safe_dump(document))
        configs.append({**CONFIG, "biyi:part": "workloads-idc", "biyi:topology": str(path)})
    program = f"CONFIGS = {configs!r}\n" + textwrap.dedent(AS_THE_ENGINE)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    good, bad, _ = done.stdout.split("ENDED")
    assert "REGISTERED kubernetes:apps/v1:StatefulSet a-idc-0" in good, done.stderr[-2000:]
    assert bad.splitlines() == [" 0"], done.stdout[-2000:]
    assert done.stdout.endswith("ENDED 1\n")
    assert "refused: nothing was created" in done.stderr


def test_every_stack_has_an_example_configuration_that_names_the_stacks_it_reads(
    seen: dict[str, tuple[Recorder, Plan, float]],
) -> None:
    files = {path.name.split(".")[1]: path for path in (ROOT / "infra/stacks").glob("Pulumi.*.yaml")}
    assert set(files) == set(PARTS)
    for part, path in files.items():
        config = yaml.safe_load(path.read_text())["config"]
        assert seen[part][0].references <= set(config["biyi:after"])
        assert config["biyi:part"] == part
        assert (ROOT / config["biyi:topology"]) == EXAMPLE


@pytest.mark.parametrize(("zones", "prefix"), [(("b",), 18), (("b", "g"), 19), (("b", "g", "m"), 20)])
def test_zones_share_a_network_evenly(zones: tuple[str, ...], prefix: int) -> None:
    parts = split_by_zone("10.32.0.0/18", zones)
    assert tuple(parts) == zones
    assert {part.split("/")[1] for part in parts.values()} == {str(prefix)}
    assert len(set(parts.values())) == len(zones)
