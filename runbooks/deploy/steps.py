"""Stacks, the steps that Pulumi would take in them, and what of it is refused. Pure."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any


class Outcome(enum.StrEnum):
    """How a stack ended."""

    SAME = "same"
    CHANGES = "changes"
    """A preview or a look for drift found some."""
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    SKIPPED = "skipped"
    """A stack that this one needs did not get through."""


@dataclass(frozen=True, slots=True)
class StackFile:
    """A stack as its configuration file describes it; `site` is where its resources are."""

    name: str
    site: str
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing Pulumi does or would do to one resource. `protected`: by the state it is in now."""

    op: str
    type: str
    name: str
    protected: bool = False
    changed: tuple[str, ...] = ()
    inputs: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StackResult:
    """What became of one stack; `seconds` of wall time."""

    stack: str
    site: str
    outcome: Outcome
    steps: tuple[Step, ...] = ()
    why: str = ""
    seconds: float = 0.0
    state_file: str | None = None


QUIET_OPS = frozenset({"same", "read", "refresh"})
LOSING_OPS = frozenset(
    {"delete", "replace", "delete-replaced", "create-replacement", "discard", "discard-replaced"}
)
"""What ends the resource that is there."""


class StacksRefused(Exception):
    """The stacks cannot be ordered, or one that was asked for does not exist; the message says which."""


def plan_order(stacks: Iterable[StackFile], asked: Sequence[str] = ()) -> tuple[StackFile, ...]:
    """Return the stacks in an order in which each comes after those it needs; only `asked` ones, if any."""
    by_name = {stack.name: stack for stack in stacks}
    for name in asked:
        if name not in by_name:
            raise StacksRefused(f"no stack {name!r}; there are {', '.join(sorted(by_name)) or 'none'}")
    for stack in by_name.values():
        for needed in stack.after:
            if needed not in by_name:
                raise StacksRefused(
                    f"Pulumi.{stack.name}.yaml: biyi:after names {needed!r}, which has no file"
                )
    try:
        order = TopologicalSorter(
            {name: sorted(s.after) for name, s in sorted(by_name.items())}
        ).static_order()
        return tuple(by_name[name] for name in order if not asked or name in asked)
    except CycleError as error:
        raise StacksRefused(f"stacks need each other in a circle: {' > '.join(error.args[1])}") from error


def changes_of(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps that change something."""
    return tuple(step for step in steps if step.op not in QUIET_OPS)


def losses_of(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps that would end a protected resource: what holds data, or was paid for in advance."""
    return tuple(step for step in steps if step.protected and step.op in LOSING_OPS)


def protected_of(state: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return what Pulumi's exported state says is protected, as steps that would end it."""
    return tuple(
        Step("delete", row["type"], row["urn"].rsplit("::", 1)[-1], protected=True)
        for row in state["deployment"].get("resources", ())
        if row.get("protect")
    )


def check_losses(steps: Iterable[Step], known: frozenset[str]) -> str | None:
    """Return why the steps must not be taken, None if they may.

    `known` are the resources (`type name`) that the operator named with --i-know; a name covers no other.
    """
    unknown = [step for step in losses_of(steps) if f"{step.type} {step.name}" not in known]
    if not unknown:
        return None
    listed = "; ".join(f"{step.op} of {step.type} {step.name}" for step in unknown)
    ways = " ".join(f"--i-know '{step.type} {step.name}'" for step in unknown[:3])
    return f"would lose what is protected: {listed}. If that is meant, and a backup is at hand: {ways}"


def count_ops(steps: Iterable[Step]) -> dict[str, int]:
    """Return how many steps there are of each kind that changes something.

    >>> count_ops([Step("create", "t", "a"), Step("same", "t", "b"), Step("create", "t", "c")])
    {'create': 2}
    """
    counts: dict[str, int] = {}
    for step in changes_of(steps):
        counts[step.op] = counts.get(step.op, 0) + 1
    return dict(sorted(counts.items()))


def summarise_sites(results: Iterable[StackResult]) -> dict[str, dict[str, int]]:
    """Return the kinds of steps by site."""
    by_site: dict[str, list[Step]] = {}
    for result in results:
        by_site.setdefault(result.site, []).extend(result.steps)
    return {site: count_ops(steps) for site, steps in sorted(by_site.items())}


EXIT_DONE, EXIT_REFUSED, EXIT_UNKNOWN, EXIT_CHANGES = 0, 1, 3, 4
"""Source: the house's codes; 4 is ours. 2 is a wrong call, which must not pass for "there are changes"."""


def exit_code(results: Sequence[StackResult]) -> int:
    """Return the command's exit code: failed before refused before changes before done."""
    outcomes = {result.outcome for result in results}
    if Outcome.FAILED in outcomes:
        return EXIT_UNKNOWN
    if outcomes & {Outcome.REFUSED, Outcome.SKIPPED}:
        return EXIT_REFUSED
    return EXIT_CHANGES if Outcome.CHANGES in outcomes else EXIT_DONE
