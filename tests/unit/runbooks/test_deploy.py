"""`biyi deploy`: order, refusals, what is kept, and what a failed stack holds up.

Pulumi itself is a fake here: `make test-cluster` is where the real engine runs.
"""

import datetime as dt
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pulumi.automation import EngineEvent

from runbooks.cli import main
from runbooks.deploy.cli import as_plain
from runbooks.deploy.cost import PricesInvalid, estimate, parse_prices
from runbooks.deploy.engine import EngineFailed, Tell, error_of, read_stacks, step_of
from runbooks.deploy.run import Runner
from runbooks.deploy.steps import (
    LOSING_OPS,
    Outcome,
    StackFile,
    StackResult,
    StacksRefused,
    Step,
    check_losses,
    count_ops,
    exit_code,
    plan_order,
)  # fmt: skip

ROOT = Path(__file__).parent.parent.parent.parent
CREATE = Step("create", "alicloud:vpc/network:Network", "cloud")
SAME = Step("same", "alicloud:vpc/network:Network", "cloud")
LOSS = Step(
    "replace", "kubernetes:apps/v1:StatefulSet", "a-idc-0", protected=True, changed=("spec.serviceName",)
)
LOSS_NAME = "kubernetes:apps/v1:StatefulSet a-idc-0"


@dataclass
class FakeEngine:
    """Pulumi as far as `biyi deploy` knows it: steps by stack, and stacks that fail."""

    steps: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)

    def _do(self, what: str, stack: str, tell: Tell) -> tuple[Step, ...]:
        self.asked.append(f"{what} {stack}")
        steps = self.steps.get(stack, (CREATE,))
        tell(len(steps))
        if stack in self.broken:
            raise EngineFailed(f"{stack}: connection refused", steps[:1])
        return steps

    def preview(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        return self._do("preview", stack, tell)

    def up(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        return self._do("up", stack, tell)

    def drift(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        return self._do("drift", stack, tell)

    def preview_destroy(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        return self._do("preview_destroy", stack, tell)

    def destroy(self, stack: str, tell: Tell) -> tuple[Step, ...]:
        return self._do("destroy", stack, tell)

    def export_state(self, stack: str) -> Mapping[str, Any]:
        self.asked.append(f"export {stack}")
        return {"version": 3, "deployment": {"of": stack}}


NETWORK = StackFile("network", "cloud", ())
ACK = StackFile("ack", "cloud", ("network",))
IDC = StackFile("workloads-idc", "idc", ())
CLOUD = StackFile("workloads-cloud", "cloud", ("ack",))
STACKS = plan_order([CLOUD, IDC, ACK, NETWORK])


def _runner(engine: FakeEngine, directory: Path, **more: Any) -> Runner:
    return Runner(engine, directory / "deploy", lambda: "20261122T000000Z", **more)


def test_the_repositorys_stacks_come_after_those_they_need() -> None:
    stacks = read_stacks(ROOT / "infra/stacks")
    order = [stack.name for stack in plan_order(stacks)]
    assert len(order) == 8
    for stack in stacks:
        assert all(order.index(needed) < order.index(stack.name) for needed in stack.after)
    assert {stack.site for stack in stacks} == {"idc", "cloud", "witness"}


@given(st.permutations([CLOUD, IDC, ACK, NETWORK]))
def test_the_order_does_not_depend_on_how_the_files_are_read(stacks: list[StackFile]) -> None:
    assert plan_order(stacks) == STACKS


def test_stacks_that_cannot_be_ordered_are_refused_by_name() -> None:
    with pytest.raises(StacksRefused, match="no stack 'moon'; there are ack, network"):
        plan_order([NETWORK, ACK], ["moon"])
    with pytest.raises(StacksRefused, match=r"Pulumi.ack.yaml: biyi:after names 'network'"):
        plan_order([ACK])
    with pytest.raises(StacksRefused, match="in a circle"):
        plan_order([StackFile("a", "idc", ("b",)), StackFile("b", "idc", ("a",))])


def test_up_previews_keeps_the_state_and_acts(tmp_path: Path) -> None:
    engine = FakeEngine()
    (result,) = _runner(engine, tmp_path).up([NETWORK])
    assert engine.asked == ["preview network", "export network", "up network"]
    assert result.outcome is Outcome.DONE
    kept = Path(str(result.state_file))
    assert json.loads(kept.read_text())["deployment"] == {"of": "network"}
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def test_up_without_changes_does_nothing(tmp_path: Path) -> None:
    engine = FakeEngine({"network": (SAME,)})
    (result,) = _runner(engine, tmp_path).up([NETWORK])
    assert result.outcome is Outcome.SAME
    assert engine.asked == ["preview network"]


@pytest.mark.parametrize("op", sorted(LOSING_OPS))
def test_a_protected_resource_is_not_lost_unless_it_is_named(op: str, tmp_path: Path) -> None:
    loss = Step(op, LOSS.type, LOSS.name, protected=True)
    for verb in ("up", "destroy"):
        engine = FakeEngine({"workloads-idc": (CREATE, loss)})
        (result,) = getattr(_runner(engine, tmp_path), verb)([IDC])
        assert result.outcome is Outcome.REFUSED
        assert f"--i-know '{LOSS_NAME}'" in result.why
        assert len(engine.asked) == 1
        other = _runner(engine, tmp_path, known_losses=frozenset({"kubernetes:apps/v1:StatefulSet b-idc-0"}))
        assert getattr(other, verb)([IDC])[0].outcome is Outcome.REFUSED
    named = _runner(engine, tmp_path, known_losses=frozenset({LOSS_NAME}))
    assert named.up([IDC])[0].outcome is Outcome.DONE


@given(st.lists(st.builds(Step, st.sampled_from(["create", "delete", "replace", "same"]), st.just("t"),
                          st.sampled_from("abc"), st.booleans())))  # fmt: skip
def test_nothing_else_is_refused(steps: list[Step]) -> None:
    losing = any(step.protected and step.op in LOSING_OPS for step in steps)
    assert (check_losses(steps, frozenset()) is not None) == losing
    assert check_losses(steps, frozenset(f"t {name}" for name in "abc")) is None


def test_a_site_that_is_down_holds_up_only_what_needs_it(tmp_path: Path) -> None:
    engine = FakeEngine(broken=frozenset({"workloads-idc"}))
    results = {result.stack: result for result in _runner(engine, tmp_path).up(STACKS)}
    assert results["workloads-idc"].outcome is Outcome.FAILED
    assert "connection refused" in results["workloads-idc"].why
    assert {results[name].outcome for name in ("network", "ack", "workloads-cloud")} == {Outcome.DONE}
    assert exit_code(list(results.values())) == 3


def test_a_stack_that_failed_holds_up_those_that_need_it_and_theirs(tmp_path: Path) -> None:
    engine = FakeEngine(broken=frozenset({"network"}))
    results = {result.stack: result for result in _runner(engine, tmp_path).up(STACKS)}
    assert {name for name, r in results.items() if r.outcome is Outcome.SKIPPED} == {"ack", "workloads-cloud"}
    assert "needs network" in results["ack"].why
    assert results["workloads-idc"].outcome is Outcome.DONE


def test_destroy_ends_what_others_need_last(tmp_path: Path) -> None:
    engine = FakeEngine()
    _runner(engine, tmp_path).destroy(STACKS)
    done = [line.split()[1] for line in engine.asked if line.startswith("destroy ")]
    assert done.index("workloads-cloud") < done.index("ack") < done.index("network")
    engine = FakeEngine(broken=frozenset({"ack"}))
    results = {result.stack: result for result in _runner(engine, tmp_path / "again").destroy(STACKS)}
    assert results["network"].outcome is Outcome.SKIPPED


def test_a_destroy_that_the_engine_stops_names_all_that_is_protected(tmp_path: Path) -> None:
    class Stopping(FakeEngine):
        def preview_destroy(self, stack: str, tell: Tell) -> tuple[Step, ...]:
            raise EngineFailed("b is protected", ())

        def export_state(self, stack: str) -> Mapping[str, Any]:
            row = {"type": "t", "protect": True}
            rows = [row | {"urn": "urn:x::a"}, row | {"urn": "urn:x::b"}, {"type": "t", "urn": "urn:x::c"}]
            return {"deployment": {"resources": rows}}

    (result,) = _runner(Stopping(), tmp_path).destroy([IDC])
    assert result.outcome is Outcome.REFUSED
    assert "--i-know 't a' --i-know 't b'" in result.why
    named = _runner(Stopping(), tmp_path, known_losses=frozenset({"t a", "t b"}))
    assert named.destroy([IDC])[0].outcome is Outcome.FAILED  # Pulumi's own lock is the second


def test_drift_looks_everywhere_and_changes_nothing(tmp_path: Path) -> None:
    engine = FakeEngine({"ack": (SAME,)}, broken=frozenset({"network"}))
    results = {result.stack: result.outcome for result in _runner(engine, tmp_path).drift(STACKS)}
    assert results["ack"] is Outcome.SAME
    assert results["network"] is Outcome.FAILED
    assert results["workloads-cloud"] is Outcome.CHANGES
    assert {line.split()[0] for line in engine.asked} == {"drift"}


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [((), 0), (("same", "done"), 0), (("same", "changes"), 4), (("changes", "refused"), 1), (("skipped",), 1),
     (("refused", "failed", "changes"), 3)],
)  # fmt: skip
def test_the_exit_code_says_the_worst(outcomes: tuple[str, ...], code: int) -> None:
    assert exit_code([StackResult("s", "idc", Outcome(outcome)) for outcome in outcomes]) == code


def test_the_summary_is_by_site() -> None:
    results = [
        StackResult("network", "cloud", Outcome.CHANGES, (CREATE, SAME)),
        StackResult("ack", "cloud", Outcome.CHANGES, (CREATE,)),
        StackResult("workloads-idc", "idc", Outcome.REFUSED, (LOSS,), "why"),
    ]
    plain = as_plain(results)
    assert plain["sites"] == {"cloud": {"create": 2}, "idc": {"replace": 1}}
    assert plain["stacks"][2]["changes"][0]["changed"] == ("spec.serviceName",)
    assert json.loads(json.dumps(plain))["stacks"][0]["counts"] == {"create": 1}
    assert count_ops([SAME]) == {}


def test_a_step_is_read_from_pulumis_own_event() -> None:
    """The event as Pulumi writes it, read with Pulumi's own class."""
    state = {
        "type": LOSS.type,
        "urn": "urn:pulumi:idc::biyi::x::a-idc-0",
        "protect": True,
        "inputs": {"spec": {}},
    }
    metadata = {
        "op": "replace", "urn": state["urn"], "type": LOSS.type, "provider": "p", "old": state, "new": state,
        "diffs": ["spec"], "detailedDiff": {"spec.serviceName": {"diffKind": "update-replace",
            "inputDiff": True}},
    }  # fmt: skip
    event = EngineEvent.from_json({"sequence": 1, "timestamp": 2, "resourcePreEvent": {"metadata": metadata}})
    assert step_of(event) == Step("replace", LOSS.type, "a-idc-0", True, ("spec",), {"spec": {}})
    metadata["type"] = "pulumi:pulumi:Stack"
    event = EngineEvent.from_json({"sequence": 1, "timestamp": 2, "resourcePreEvent": {"metadata": metadata}})
    assert step_of(event) is None
    assert step_of(EngineEvent.from_json({"sequence": 1, "timestamp": 2})) is None


def test_what_a_refresh_found_is_said_at_its_end() -> None:
    """As the engine told it in a look for drift: announced as a refresh, ended as an update."""
    urn = "urn:pulumi:workloads-idc::biyi::kubernetes:policy/v1:PodDisruptionBudget::copies"
    metadata: dict[str, Any] = {
        "op": "refresh", "urn": urn, "type": "kubernetes:policy/v1:PodDisruptionBudget", "provider": "p",
    }  # fmt: skip
    begun = EngineEvent.from_json({"sequence": 1, "timestamp": 2, "resourcePreEvent": {"metadata": metadata}})
    metadata = {**metadata, "op": "update", "diffs": ["spec"]}
    over = EngineEvent.from_json({"sequence": 2, "timestamp": 2, "resOutputsEvent": {"metadata": metadata}})
    steps = [step for event in (begun, over) if (step := step_of(event)) is not None]
    assert count_ops(steps) == {"update": 1}
    assert steps[1].changed == ("spec",)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"diagnosticEvent": {"message": "no route \n", "severity": "error"}}, "no route"),
        ({"diagnosticEvent": {"message": "old plugin", "severity": "warning"}}, None),
        (
            {"policyEvent": {"message": "say:\n  why", "policyName": "p", "enforcementLevel": "mandatory"}},
            "p: say: why",
        ),
        ({"policyEvent": {"message": "hm", "policyName": "p", "enforcementLevel": "advisory"}}, None),
        ({}, None),
    ],
)
def test_what_is_wrong_is_told_in_pulumis_words(told: dict[str, Any], wanted: str | None) -> None:
    assert error_of(EngineEvent.from_json({"sequence": 1, "timestamp": 2, **told})) == wanted


PRICES = """
as_of: 2026-11-01
currency: CNY
source: a list
free: ["alicloud:vpc/network:Network"]
prices:
  - {type: "t", fen: 100, what: one}
  - {type: "t", where: {kind: big}, fen: 300, times: size.nodes, what: big ones}
"""


def _cost(*steps: Step) -> Any:
    result = StackResult("s", "cloud", Outcome.CHANGES, steps)
    return estimate([result], parse_prices(PRICES), dt.date(2026, 11, 22))


def test_the_estimate_multiplies_and_names_what_it_does_not_know() -> None:
    found = _cost(
        Step("create", "t", "a"),
        Step("same", "t", "b", inputs={"kind": "big", "size": {"nodes": "4"}}),
        Step("delete", "t", "c"),
        Step("create", "u", "d"),
        Step("create", "alicloud:vpc/network:Network", "e"),
        Step("create", "kubernetes:apps/v1:Deployment", "f"),
    )
    assert found.fen == 100 + 4 * 300
    assert found.unknown == ("u",)
    assert [line.name for line in found.lines] == ["a", "b", "d"]
    assert (found.age_days, found.is_stale) == (21, False)


def test_a_multiplier_that_is_not_there_is_unknown_not_free() -> None:
    (line,) = _cost(Step("create", "t", "a", inputs={"kind": "big"})).lines
    assert line.fen is None


def test_an_unreadable_price_table_is_refused() -> None:
    with pytest.raises(PricesInvalid, match="fen"):
        parse_prices(PRICES.replace("fen: 100", "fen: much"))
    shipped = parse_prices((ROOT / "infra/stacks/prices.yaml").read_text())
    assert "example" in shipped.source


def test_without_pulumi_the_command_says_so_and_could_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    run = CliRunner().invoke(main, ["deploy", "preview", "--json"])
    assert run.exit_code == 3
    assert "`pulumi` is not on PATH" in run.output


def test_without_the_sdk_the_command_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pulumi.automation", None)
    monkeypatch.delattr("pulumi.automation", raising=False)
    run = CliRunner().invoke(main, ["deploy", "preview"])
    assert run.exit_code == 3
    assert "SDK is not installed" in run.output


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["preview", "--stack", "moon"], "no stack 'moon'"),
        (["up", "--site", "moon"], "no stack of site 'moon'"),
    ],
)
def test_a_wrong_call_is_no_change(command: list[str], told: str) -> None:
    run = CliRunner().invoke(main, ["deploy", *command])
    assert run.exit_code == 2
    assert told in run.output


def test_destroy_without_execute_only_names_the_order() -> None:
    run = CliRunner().invoke(main, ["deploy", "destroy", "--site", "cloud"])
    assert run.exit_code == 1
    assert "workloads-cloud" in run.output
    assert "add --execute" in run.output
