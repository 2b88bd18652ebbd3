"""The real Pulumi engine on a copy of the project, whose two sites are the test's API servers."""

import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from runbooks.deploy.engine import PulumiEngine, read_stacks
from runbooks.deploy.run import Runner
from runbooks.deploy.steps import StackFile, StackResult, plan_order
from tests.cluster.api_server import tools
from tests.unit.infra.stage import ROOT, example

STACKS = ("workloads-idc", "workloads-cloud")


@dataclass(frozen=True)
class Project:
    """A copy of the project, its engine and where states are kept."""

    root: Path
    states: Path

    def runner(self, *known: str) -> Runner:
        """Return what `biyi deploy` runs; `known` are losses that are meant."""
        return Runner(
            PulumiEngine(self.root, self.root / "infra/policy_pack"),
            self.states,
            lambda: uuid.uuid4().hex,
            lambda stack, doing: lambda count: None,
            frozenset(known),
        )

    def stacks(self, *names: str) -> tuple[StackFile, ...]:
        return plan_order(read_stacks(self.root / "infra/stacks"), names or STACKS)


@contextmanager
def made_project(directory: Path, kubeconfig: Path) -> Iterator[Project]:
    """Copy what the program is made of; both sites are contexts of `kubeconfig`."""
    root = directory / "project"
    root.mkdir()
    shutil.copytree(ROOT / "infra", root / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Pulumi.yaml", root)
    (root / ".venv").symlink_to(Path(sys.prefix))
    document = example()
    for site in ("idc", "cloud"):
        document[site]["cluster"] = {"context": site, "kubeconfig": str(kubeconfig)}
    (root / "infra/stacks/topology.yaml").write_text(yaml.safe_dump(document))
    state = directory / "state"
    state.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tools()}:{Path(sys.prefix) / 'bin'}", prepend=":")
        patch.setenv("PULUMI_BACKEND_URL", state.as_uri())
        patch.setenv("PULUMI_HOME", str(directory / "home"))
        patch.setenv("PULUMI_CONFIG_PASSPHRASE", "known-in-tests")
        patch.setenv("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "true")
        patch.setenv("PULUMI_DISABLE_REGISTRY_RESOLVE", "true")
        patch.setenv("NO_COLOR", "1")
        yield Project(root, directory / "states")


def told(results: list[StackResult]) -> dict[str, tuple[str, str]]:
    """Return how each stack ended, and why."""
    return {result.stack: (str(result.outcome), result.why) for result in results}
