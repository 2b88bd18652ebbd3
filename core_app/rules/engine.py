"""The rule engine: what was measured is compared with the rows in force. Pure.

A rule in force whose measure is not given is an error, never a pass: a check cannot be skipped by
forgetting to measure.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal

from core_app.errors import FieldProblem, Kind, Refused, RuleBroken
from core_app.rules.legal import LegalRow, Rulebook, RulesInvalid, Stage


@dataclass(frozen=True, slots=True)
class Found:
    """One thing measured: where it stands (`pricing.rate_annual`, `body.amount_fen`) and its value."""

    path: str
    value: Decimal | int | str


Measures = Mapping[str, Sequence[Found]]
"""By name of the measure; an empty sequence says that there is nothing of the kind."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a rule refuses: its id, where and what was found, its limit, the day, and who says so."""

    rule: str
    path: str
    found: str
    limit: str
    on: dt.date
    source: str
    status: str

    def as_plain(self) -> dict[str, str]:
        """Return the refusal as JSON has it."""
        return asdict(self) | {"on": self.on.isoformat()}

    def as_broken(self) -> RuleBroken:
        """Return the refusal as a client is told of it."""
        return RuleBroken(self.rule, self.found, self.limit, self.on.isoformat(), self.source)

    def __str__(self) -> str:
        return f"{self.path}: {self.found}; {self.rule} allows {self.limit} on {self.on} ({self.source})"


def judge(rulebook: Rulebook, stage: Stage, measures: Measures, day: dt.date) -> tuple[Refusal, ...]:
    """Return what the rules of `stage` in force on `day` refuse, in the order of the rules' ids.

    RulesInvalid when a rule looks at a measure that is not among `measures`.
    """
    return tuple(
        refusal for row in rulebook.in_force(stage, day) for refusal in _refuse(row, stage, measures, day)
    )


def _refuse(row: LegalRow, stage: Stage, measures: Measures, day: dt.date) -> Iterator[Refusal]:
    if row.looks_at is None or row.looks_at not in measures:
        raise RulesInvalid(f"rule {row.key} at {stage} looks at {row.looks_at}, which was not measured")
    for found in measures[row.looks_at]:
        if not _allows(row, found):
            yield Refusal(row.key, found.path, str(found.value), describe(row), day, row.source, row.status)


def _allows(row: LegalRow, found: Found) -> bool:
    limit, value = row.value, found.value
    if isinstance(limit, tuple):
        if row.compare == "contains_none_of":
            return not any(name in str(value) for name in limit)
        return (value in limit) == (row.compare == "one_of")
    if isinstance(value, str):
        raise RulesInvalid(f"rule {row.key} compares a number, {row.looks_at} gave a text at {found.path}")
    return value <= limit if row.compare == "at_most" else value >= limit


def refuse_by_rules(refusals: Sequence[Refusal]) -> Refused:
    """Return the refusal of a request that rules forbid, with a field problem for each."""
    problems = (FieldProblem(refusal.path, refusal.found, refusal.limit) for refusal in refusals)
    broken = tuple(refusal.as_broken() for refusal in refusals)
    return Refused(Kind.RULE, "; ".join(map(str, refusals)), *problems, rules=broken)


def describe(row: LegalRow) -> str:
    """Return what a rule allows, for people: `<= 0.24 share a year`."""
    if isinstance(row.value, tuple):
        return f"{'one' if row.compare == 'one_of' else 'none'} of: {', '.join(row.value)}"
    return f"{'<=' if row.compare == 'at_most' else '>='} {row.value:f} {row.unit}"
