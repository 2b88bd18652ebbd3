"""Runs a stack's program the way the language host does, against mocks that write down what it registers.

`python -m tests.unit.infra.stage DIRECTORY` writes the manifests of both sites there, a file each.
"""

import asyncio
import copy
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pulumi
import yaml
from pulumi.runtime import MockCallArgs, MockResourceArgs, set_all_config, set_mocks
from pulumi.runtime.settings import set_root_resource

from infra.outputs import names_of
from infra.plan import Plan, Planned
from infra.program import PARTS, run

ROOT = Path(__file__).parent.parent.parent.parent
EXAMPLE = ROOT / "infra/stacks/topology.yaml"
ZONES = ("cn-shanghai-g", "cn-shanghai-m")
CONFIG = {
    "biyi:account": "1000000000000000",
    "biyi:vpnKey": "known-in-tests",
    "biyi:bgpKey": "known-in-tests",
}
SECRETS = ["biyi:vpnKey", "biyi:bgpKey"]


@dataclass
class Recorder(pulumi.runtime.Mocks):
    """Answers as the cloud would, and keeps what was asked of it."""

    registered: list[MockResourceArgs] = field(default_factory=list)
    references: set[str] = field(default_factory=set)

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        if args.typ == "pulumi:pulumi:StackReference":
            part = args.name.rsplit("/", 1)[-1]
            self.references.add(part)
            return args.name, {"name": args.name, "outputs": _outputs_of(part), "secretOutputNames": []}
        if args.typ.startswith(("alicloud:", "kubernetes:")):
            self.registered.append(args)
        return f"{args.name}-id", dict(args.inputs)

    def call(
        self, args: MockCallArgs
    ) -> dict[Any, Any] | tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        answers: dict[str, dict[str, Any]] = {
            "alicloud:cs/getClusterCredential:getClusterCredential": {"kubeConfig": "kind: Config"},
            "alicloud:wafv3/getInstances:getInstances": {"ids": ["waf-1"]},
        }
        return answers[args.token]

    def plan(self) -> Plan:
        """Return what was registered as a plan."""
        return tuple(Planned(args.typ, args.name, args.inputs) for args in self.registered)

    def named(self, kind: str, name: str) -> Mapping[str, Any]:
        """Return the inputs of the one resource of this kind and name."""
        found = [args for args in self.registered if args.typ.endswith(f":{kind}") and args.name == name]
        assert len(found) == 1, f"{len(found)} of {kind} {name}"
        return found[0].inputs

    def all(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """Return the inputs of all resources of a kind by name."""
        return {args.name: args.inputs for args in self.registered if args.typ.endswith(f":{kind}")}

    def manifests(self) -> dict[str, dict[str, Any]]:
        """Return what a cluster was asked for, by kind and name, as it would stand in a file."""
        made = [_whole(dict(args.inputs)) for args in self.registered if args.typ.startswith("kubernetes:")]
        return {f"{one['kind']}-{one['metadata']['name']}".lower(): one for one in made}


def _whole(value: Any) -> Any:
    """Pulumi's wire knows numbers only; Kubernetes wants its integers to be some."""
    match value:
        case dict():
            return {key: _whole(item) for key, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case float() if value.is_integer():
            return int(value)
    return value


def _outputs_of(part: str) -> dict[str, Any]:
    by_zone = {zone: f"vsw-{zone}" for zone in ZONES}
    special = {"node_switches": by_zone, "pod_switches": by_zone}
    return {name: special.get(name, f"{part}-{name}") for name in names_of(PARTS[part])}


def example() -> dict[str, Any]:
    """Return the example document, to be changed at will."""
    return copy.deepcopy(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))


def build(part: str, document: Mapping[str, Any], directory: Path) -> Recorder:
    """Run the program of a stack on `document`; whatever it raises comes out."""
    path = directory / "topology.yaml"
    path.write_text(yaml.safe_dump(dict(document)), encoding="utf-8")
    recorder = Recorder()

    async def work() -> None:
        set_mocks(recorder, project="biyi", stack=part, preview=False, organization="organization")
        set_root_resource(None)  # type: ignore[arg-type]  # the language host's own makes a fresh one
        set_all_config({**CONFIG, "biyi:part": part, "biyi:topology": str(path)}, SECRETS)
        await pulumi.runtime.run_in_stack(run)

    made: list[asyncio.AbstractEventLoop] = []
    make = asyncio.new_event_loop

    def kept() -> asyncio.AbstractEventLoop:
        made.append(make())
        return made[-1]

    # The mocks answer in threads, each with an event loop that the SDK forgets to close.
    try:
        with mock.patch.object(asyncio, "new_event_loop", kept):
            asyncio.run(work())
    finally:
        for loop in made:
            loop.close()
    return recorder


def main(target: Path) -> None:
    """Write every manifest of both sites' workloads of the example."""
    for site in ("idc", "cloud"):
        directory = target / site
        directory.mkdir(parents=True, exist_ok=True)
        recorder = build(f"workloads-{site}", example(), directory)
        (directory / "topology.yaml").unlink()
        for name, manifest in recorder.manifests().items():
            (directory / f"{name}.yaml").write_text(yaml.safe_dump(manifest, allow_unicode=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
