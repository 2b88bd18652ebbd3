"""What many schedules gave together: violations with their smallest fault list, and what was reached."""

import gc
from collections.abc import Iterable
from dataclasses import dataclass, field

from replication.failover.states import Step, Why
from replication.model import Mode
from replication.simulator.faults import Fault
from replication.simulator.mutations import MUTATIONS
from replication.simulator.schedule import Found, Ran, run_schedule

SEEDS_PER_RUN = 10_000_000
"""Schedule n of run S has the seed S x this + n, so a schedule's seed alone replays it."""

SWEPT_EVERY = 50
"""Schedules between two collections of garbage. Source: our choice, some 10 MB."""

UNREACHABLE = {
    "names_behind_grant": "a guard: it would mean that I3 was broken before",
}
"""Reasons that no schedule reaches, and why; others that are missing are merely rare."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One schedule in which a rule did not hold, with the fewest faults that still break it."""

    seed: int
    rule: str
    text: str
    at_ms: int
    faults: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """Sums over schedules; tallies of several processes add up."""

    schedules: int = 0
    acknowledged: int = 0
    virtual_ms: int = 0
    failures: list[Failure] = field(default_factory=list)
    decisions: dict[tuple[str, str], int] = field(default_factory=dict)
    """Schedules in which a step with its reason was decided."""
    transitions: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, ran: Ran, failure: Failure | None) -> None:
        """Count one schedule."""
        self.schedules += 1
        self.acknowledged += ran.acknowledged
        self.virtual_ms += ran.virtual_ms
        for pair in ran.coverage.decisions:
            self.decisions[pair] = self.decisions.get(pair, 0) + 1
        for pair in ran.coverage.transitions:
            self.transitions[pair] = self.transitions.get(pair, 0) + 1
        if failure is not None:
            self.failures.append(failure)

    def merge(self, other: "Tally") -> None:
        """Add another tally."""
        self.schedules += other.schedules
        self.acknowledged += other.acknowledged
        self.virtual_ms += other.virtual_ms
        self.failures.extend(other.failures)
        for mine, theirs in ((self.decisions, other.decisions), (self.transitions, other.transitions)):
            for pair, count in theirs.items():
                mine[pair] = mine.get(pair, 0) + count

    def missing_steps(self) -> list[str]:
        """Return the steps no schedule decided."""
        return sorted({step.value for step in Step} - {step for step, _ in self.decisions})

    def missing_whys(self) -> list[str]:
        """Return the reasons no schedule gave."""
        return sorted({why.value for why in Why} - {why for _, why in self.decisions})

    def missing_transitions(self) -> list[str]:
        """Return the changes of mode that the protocol knows and no schedule made."""
        known = {
            ("none", Mode.ALONE), (Mode.ALONE, Mode.SYNC), (Mode.SYNC, Mode.ALONE), (Mode.SYNC, Mode.TAKING),
            (Mode.SYNC, Mode.SYNC), (Mode.SYNC, Mode.MOVING), (Mode.MOVING, Mode.TAKING),
            (Mode.MOVING, Mode.SYNC), (Mode.TAKING, Mode.TAKING), (Mode.TAKING, Mode.ALONE),
            (Mode.ALONE, Mode.TAKING),
        }  # fmt: skip
        return sorted(f"{old}->{new}" for old, new in known if (str(old), str(new)) not in self.transitions)


def run_seeds(seeds: Iterable[int], mutation: str | None) -> Tally:
    """Run schedules one after the other; what fails is shrunk at once."""
    tally = Tally()
    gc.disable()  # each schedule leaves a web of cycles, and all of it goes at once afterwards
    gc.freeze()
    try:
        for number, seed in enumerate(seeds):
            ran = run_schedule(seed, break_rule=MUTATIONS[mutation].apply if mutation else None)
            tally.add(ran, compute_failure(ran, mutation) if ran.found else None)
            if number % SWEPT_EVERY == SWEPT_EVERY - 1:
                gc.collect()
    finally:
        gc.unfreeze()
        gc.enable()
    return tally


def compute_failure(ran: Ran, mutation: str | None) -> Failure:
    """Return the failure with as few faults as still break the same rule."""
    if ran.found is None:
        raise ValueError(f"schedule {ran.seed} broke no rule")
    faults, found = shrink(ran.seed, ran.faults, ran.found, mutation)
    return Failure(ran.seed, found.rule, found.text, found.at_ms, tuple(map(str, faults)))


def shrink(
    seed: int, faults: tuple[Fault, ...], found: Found, mutation: str | None
) -> tuple[tuple[Fault, ...], Found]:
    """Drop faults one by one as long as the same rule fails; all else stays with the seed."""
    break_rule = MUTATIONS[mutation].apply if mutation else None
    number = 0
    while number < len(faults):
        fewer = faults[:number] + faults[number + 1 :]
        again = run_schedule(seed, faults=fewer, break_rule=break_rule).found
        if again is not None and again.rule == found.rule:
            faults, found = fewer, again
        else:
            number += 1
    return faults, found
