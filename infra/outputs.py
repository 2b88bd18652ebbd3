"""What each stack gives to those after it: the names of its outputs, as types. Pure.

A stack exports every field of its class; who reads a stack asks for the whole class, so a name that one side
changed and the other did not is an error of types, not of a deployment half done.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulumi import Output


@dataclass(frozen=True, slots=True)
class NetworkOutputs:
    """Stack `network`: ids in the cloud; switches by zone."""

    vpc_id: "Output[str]"
    node_switches: "Output[dict[str, str]]"
    pod_switches: "Output[dict[str, str]]"
    cen_id: "Output[str]"
    transit_router_id: "Output[str]"
    private_zone_id: "Output[str]"


@dataclass(frozen=True, slots=True)
class SecurityOutputs:
    """Stack `security`: the key that everything at rest is encrypted with, and where logs go."""

    key_id: "Output[str]"
    log_project: "Output[str]"
    firewall_group_id: "Output[str]"


@dataclass(frozen=True, slots=True)
class AckOutputs:
    """Stack `ack`: the cloud site's cluster."""

    cluster_id: "Output[str]"


@dataclass(frozen=True, slots=True)
class EdgeOutputs:
    """Stack `edge`: what customers are told to ask."""

    public_name: "Output[str]"


@dataclass(frozen=True, slots=True)
class BackupOutputs:
    """Stack `backup`: where sealed backups of the cloud site go."""

    bucket: "Output[str]"
    endpoint: "Output[str]"


@dataclass(frozen=True, slots=True)
class WitnessOutputs:
    """Stack `witness`: the address of the third vote."""

    etcd_address: "Output[str]"


@dataclass(frozen=True, slots=True)
class WorkloadsOutputs:
    """Stacks `workloads-idc` and `workloads-cloud`: what runs there."""

    namespace: "Output[str]"
    copies: "Output[list[str]]"


StackOutputs = (
    NetworkOutputs
    | SecurityOutputs
    | AckOutputs
    | EdgeOutputs
    | BackupOutputs
    | WitnessOutputs
    | WorkloadsOutputs
)


def names_of(kind: type[StackOutputs]) -> tuple[str, ...]:
    """Return the names of the outputs of a stack.

    >>> names_of(AckOutputs)
    ('cluster_id',)
    """
    return tuple(field.name for field in fields(kind))
