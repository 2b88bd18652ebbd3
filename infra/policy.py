"""What GB/T 22239-2019 Level 3 (等保三级) asks that can be read off a plan, as one list of checks. Pure.

The same list refuses inside the program before anything is created, is the policy pack that the engine runs,
and is tested check by check. A check looks at a whole plan, so it sees what is missing beside one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infra.plan import Plan, Planned
from infra.policy_cloud import CLOUD_RULES
from infra.policy_pods import POD_RULES

Rule = Callable[[Plan], Iterator[tuple[Planned, str]]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, the controls of GB/T 22239-2019 it stands for, what it asks."""

    name: str
    controls: tuple[str, ...]
    asks: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class Finding:
    """One resource that does not keep one check, and what is wrong with it."""

    check: Check
    resource: Planned
    wrong: str

    def __str__(self) -> str:
        controls = ", ".join(self.check.controls)
        return (
            f"{self.resource.type} {self.resource.name}: {self.wrong}; needs: {self.check.asks} ({controls})"
        )


CHECKS: tuple[Check, ...] = tuple(Check(*row) for row in (*CLOUD_RULES, *POD_RULES))


def check_plan(plan: Plan) -> tuple[Finding, ...]:
    """Return every finding of every check; empty means the plan may be carried out."""
    return tuple(Finding(check, planned, wrong) for check in CHECKS for planned, wrong in check.rule(plan))
