"""The program of every stack: settings, topology, checks, components, outputs, in this order.

Which stack it is says `biyi:part`; where both sites are described says `biyi:topology` (a path from the
project's directory). Nothing is created when a check fails, and the message names the setting.
"""

from collections.abc import Callable
from pathlib import Path

import pulumi
import pulumi_alicloud as alicloud

from infra.components.ack import build_ack
from infra.components.backup import build_backup
from infra.components.edge import build_edge
from infra.components.network import build_network
from infra.components.security import build_security
from infra.components.witness import build_witness
from infra.outputs import (
    AckOutputs,
    BackupOutputs,
    EdgeOutputs,
    NetworkOutputs,
    SecurityOutputs,
    StackOutputs,
    WitnessOutputs,
    WorkloadsOutputs,
    names_of,
)  # fmt: skip
from infra.protection import Guard
from infra.settings import DataSiteName, Settings, SettingsRefused, parse_settings
from infra.topology import Topology, check_topology, plan_topology
from infra.workloads.build import build_workloads, open_cluster

PARTS: dict[str, type[StackOutputs]] = {
    "network": NetworkOutputs,
    "security": SecurityOutputs,
    "backup": BackupOutputs,
    "ack": AckOutputs,
    "witness": WitnessOutputs,
    "workloads-idc": WorkloadsOutputs,
    "workloads-cloud": WorkloadsOutputs,
    "edge": EdgeOutputs,
}
"""Every stack with what it gives to the others, in the order in which they can be made."""

ROOT = Path(__file__).parent.parent
"""The project's directory; Pulumi runs the program in `infra/`."""


class ProgramRefused(Exception):
    """What is asked for must not or cannot be built; the message says which setting, and a way out."""


def run() -> None:
    """Build the stack that the configuration names, and export its outputs."""
    config = pulumi.Config("biyi")
    part = config.get("part")
    if part not in PARTS:
        raise ProgramRefused(f"biyi:part: found {part!r}; set it to one of {', '.join(PARTS)}")
    settings = read_settings(ROOT / (config.get("topology") or "infra/stacks/topology.yaml"))
    if refusals := check_topology(settings):
        raise ProgramRefused("nothing was created:\n" + "\n".join(f"  - {refusal}" for refusal in refusals))
    guard = Guard()
    guard.watch()
    outputs = _BUILDERS[part](plan_topology(settings))
    guard.judge()
    for name in names_of(PARTS[part]):
        pulumi.export(name, getattr(outputs, name))


def read_settings(path: Path) -> Settings:
    """Read the document of both sites; SettingsRefused names the file and each bad setting."""
    try:
        return parse_settings(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError as error:
        raise SettingsRefused(f"{path}: no such file; infra/stacks/topology.yaml is the example") from error


def _of(part: str) -> Callable[[str], pulumi.Output[object]]:
    """Return a reader of another stack's outputs; both have the same prefix before the part's name."""
    own = pulumi.Config("biyi").require("part")
    prefix = pulumi.get_stack().removesuffix(own)
    other = pulumi.StackReference(f"{pulumi.get_organization()}/{pulumi.get_project()}/{prefix}{part}")
    return other.require_output


def _network() -> NetworkOutputs:
    read = _of("network")
    return NetworkOutputs(**{name: read(name) for name in names_of(NetworkOutputs)})  # type: ignore[arg-type]


def _security() -> SecurityOutputs:
    read = _of("security")
    return SecurityOutputs(**{name: read(name) for name in names_of(SecurityOutputs)})  # type: ignore[arg-type]


def _cloud(topology: Topology, name: str) -> pulumi.ResourceOptions:
    provider = alicloud.Provider("cloud", region=topology.settings.cloud.region)
    component = pulumi.ComponentResource(f"biyi:infra:{name}", name.lower())
    return pulumi.ResourceOptions(parent=component, provider=provider)


def _build_network(topology: Topology) -> StackOutputs:
    return build_network(topology, _cloud(topology, "Network"))


def _build_security(topology: Topology) -> StackOutputs:
    return build_security(topology, _network(), _cloud(topology, "Security"))


def _build_ack(topology: Topology) -> StackOutputs:
    return build_ack(topology, _network(), _security(), _cloud(topology, "Ack"))


def _build_backup(topology: Topology) -> StackOutputs:
    return build_backup(topology, _security(), _cloud(topology, "Backup"))


def _build_edge(topology: Topology) -> StackOutputs:
    return build_edge(topology, _cloud(topology, "Edge"))


def _build_witness(topology: Topology) -> StackOutputs:
    main = _cloud(topology, "Witness")
    there = alicloud.Provider("witness", region=topology.settings.witness.region)
    opts = pulumi.ResourceOptions(parent=main.parent, provider=there)
    return build_witness(topology, _network(), opts, main)


def _build_workloads(topology: Topology, site: DataSiteName) -> StackOutputs:
    ack = None
    if site == "cloud" and topology.settings.cloud.cluster.context is None:
        ack = AckOutputs(**{name: _of("ack")(name) for name in names_of(AckOutputs)})  # type: ignore[arg-type]
    component = pulumi.ComponentResource("biyi:infra:Workloads", site)
    return build_workloads(topology, site, open_cluster(topology, site, ack), component)


_BUILDERS: dict[str, Callable[[Topology], StackOutputs]] = {
    "network": _build_network,
    "security": _build_security,
    "backup": _build_backup,
    "ack": _build_ack,
    "witness": _build_witness,
    "workloads-idc": lambda topology: _build_workloads(topology, "idc"),
    "workloads-cloud": lambda topology: _build_workloads(topology, "cloud"),
    "edge": _build_edge,
}
