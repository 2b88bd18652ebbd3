"""Each check of `infra.policy` as a policy of the engine, over the whole stack, mandatory."""

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyResource,
    ReportViolation,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from infra.plan import UNKNOWN, Plan, Planned
from infra.policy import CHECKS, Check


def make_policies() -> list[Policy]:
    """Return one policy a check."""
    return [_policy(check) for check in CHECKS]


def plan_of(resources: list[PolicyResource]) -> Plan:
    """Return the engine's resources as a plan."""
    return tuple(
        Planned(r.resource_type, r.name, _plain(r.props), bool(r.opts and r.opts.protect))
        for r in resources
        if r.resource_type.startswith(("alicloud:", "kubernetes:"))
    )


def _plain(value: Any) -> Any:
    """Take off the SDK's proxies: its lists are no `list`, and what is not known yet raises when read."""
    match value:
        case Mapping():
            return {key: _plain(_read(value, key)) for key in value}
        case str() | bytes():
            return value
        case Sequence():
            return [_plain(_read(value, index)) for index in range(len(value))]
    return value


def _read(value: Any, key: Any) -> Any:
    try:
        return value[key]
    except UnknownValueError:
        return UNKNOWN


def _policy(check: Check) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for planned, wrong in check.rule(plan_of(args.resources)):
            urn = next(
                (r.urn for r in args.resources if (r.resource_type, r.name) == (planned.type, planned.name)),
                None,
            )
            report(f"{planned.name}: {wrong}; needs: {check.asks} ({', '.join(check.controls)})", urn)

    return StackValidationPolicy(
        name=check.name,
        description=f"GB/T 22239-2019 {', '.join(check.controls)}: {check.rule.__doc__}",
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
    )
