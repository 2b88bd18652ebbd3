"""What every resource gets and every plan must pass, in one place: the transformation of a whole stack.

The program registers resources only when it has ended. So a plan is gathered while the program runs, and
one that fails a check ends it before anything is asked of the engine.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi import _types as pulumi_types
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from infra.plan import UNKNOWN, Plan, Planned, is_protected_kind
from infra.policy import Finding, check_plan


class PlanRefused(Exception):
    """The plan breaks checks; the message lists each finding with its controls. Nothing was created."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("nothing was created:\n" + "\n".join(f"  - {finding}" for finding in findings))
        self.findings = tuple(findings)


class Guard:
    """Gathers what a program plans, protects what holds data, and judges the whole at the end."""

    def __init__(self) -> None:
        self._planned: list[Planned] = []

    def watch(self) -> None:
        """See every resource that the program makes from now on."""
        pulumi.runtime.register_stack_transformation(self._note)

    def judge(self) -> Plan:
        """Return the plan; PlanRefused lists what speaks against it."""
        plan = tuple(self._planned)
        if findings := check_plan(plan):
            raise PlanRefused(findings)
        return plan

    def _note(self, args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if not args.type_.startswith(("alicloud:", "kubernetes:")):
            return None
        opts = args.opts
        if is_protected_kind(args.type_):
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=True))
        _force(args.props.get("metadata"))
        self._planned.append(Planned(args.type_, args.name, plain_props(args), bool(opts.protect)))
        return pulumi.ResourceTransformationResult(props=args.props, opts=opts)


def _force(metadata: object) -> None:
    """Let the program's word count over a person's: without it an apply over a change by hand is a conflict.

    What others may change for good, the steward's bound above all, the program ignores.
    """
    if isinstance(metadata, ObjectMetaArgs):
        notes: Any = metadata.annotations or {}
        metadata.annotations = {**notes, "pulumi.com/patchForce": "true"}


def plain_props(args: pulumi.ResourceTransformationArgs) -> Mapping[str, object]:
    """Return a resource's inputs by wire name; what only the cloud will know is UNKNOWN."""
    names = pulumi_types.resource_py_to_pulumi_names(type(args.resource)) if args.resource else {}
    translate = args.resource.translate_input_property if args.resource else str
    return {
        names.get(key) or translate(key): _plain(value)
        for key, value in args.props.items()
        if value is not None
    }


def _plain(value: Any) -> object:
    match value:
        case pulumi.Output() | pulumi.Resource():
            return UNKNOWN
        case str() | bool() | int() | float() | None:
            return value
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items() if item is not None}
        case _ if pulumi_types.is_input_type(type(value)):
            names = pulumi_types.input_type_py_to_pulumi_names(type(value))
            found = pulumi_types.input_type_to_dict(value)
            return {names.get(key, key): _plain(item) for key, item in found.items() if item is not None}
    return UNKNOWN
