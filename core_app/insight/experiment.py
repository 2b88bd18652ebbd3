"""Experiments: in which group a customer is on a day, by a keyed hash. Pure; no table, so it never grows.

The hash of an experiment's own salt and the customer deals everybody into one of 10,000 parts, for good.
Groups get parts by rows that are only ever added, so a share that grows takes from the rest and nobody else.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pydantic import Field, TypeAdapter, model_validator

from compliance.protection.index import compute_hmac_sm3
from core_app.errors import DocumentInvalid
from core_app.products.parameters.shapes import Group, InTwoLanguages, Name, Names

PARTS = 10_000
"""Parts that customers are dealt into. Source: our choice; the smallest share is a hundredth of a percent."""
REST = "rest"
"""The group of whoever is in no other: nothing is done differently for it."""
_DRAWN_BYTES = 8


class Growth(Group):
    """Parts that a group gets from a day on, beyond what it has."""

    first_day: dt.date = Field(alias="from")
    group: Name
    parts: Annotated[int, Field(ge=1, le=PARTS, strict=True)]


class Experiment(Group):
    """One experiment: its question, owner, days, groups, and how they grew."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,39}$")]
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
    owner: Name
    question: InTwoLanguages
    first_day: dt.date = Field(alias="from")
    last_day: dt.date = Field(alias="to")
    groups: Annotated[Names, Field(min_length=1)]
    shares: Annotated[tuple[Growth, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "Experiment":
        if fault := next(self._find_faults(), None):
            raise ValueError(fault)
        return self

    def _find_faults(self) -> Iterator[str]:
        if self.last_day < self.first_day:
            yield "`to` lies before `from`"
        if REST in self.groups:
            yield f"groups: {REST} is who is in no group"
        for number, row in enumerate(self.shares):
            if row.group not in self.groups:
                yield f"shares.{number}.group: {row.group}, which is not among groups"
            if not self.first_day <= row.first_day <= self.last_day:
                yield f"shares.{number}.from: {row.first_day} is no day of the experiment"
        if any(later.first_day < earlier.first_day for earlier, later in pairwise(self.shares)):
            yield "shares: rows are added at the end, each from the day of the one before or a later one on"
        if (total := sum(row.parts for row in self.shares)) > PARTS:
            yield f"shares: {total} parts, there are {PARTS}"

    def group_of_part(self, part: int, day: dt.date) -> str | None:
        """Return the group that has a part on `day`, None while the experiment does not run."""
        if not self.first_day <= day <= self.last_day:
            return None
        dealt = 0
        for row in self.shares:
            dealt += row.parts
            if part < dealt:
                return row.group if row.first_day <= day else REST
        return REST

    def parts_on(self, day: dt.date) -> Mapping[str, int]:
        """Return how many of all parts each group has on `day`, the rest last; {} while it does not run."""
        if not self.first_day <= day <= self.last_day:
            return {}
        found = dict.fromkeys(self.groups, 0)
        for row in self.shares:
            found[row.group] += row.parts if row.first_day <= day else 0
        return found | {REST: PARTS - sum(found.values())}


@dataclass(frozen=True, slots=True)
class Assignment:
    """The group of a customer in an experiment."""

    experiment: str
    group: str


def compute_part(key: bytes, salt: str, customer_id: str) -> int:
    """Return the part of a customer, 0 to 9,999: keyed, so that nobody outside can foresee it."""
    drawn = compute_hmac_sm3(key, f"experiment|{salt}|{customer_id}".encode())[:_DRAWN_BYTES]
    return int.from_bytes(drawn, "big") % PARTS


def assign(experiment: Experiment, key: bytes, customer_id: str, day: dt.date) -> Assignment | None:
    """Return a customer's group on `day`, None while the experiment does not run."""
    group = experiment.group_of_part(compute_part(key, experiment.salt, customer_id), day)
    return None if group is None else Assignment(experiment.id, group)


def find_changes(before: Experiment, after: Experiment) -> tuple[str, ...]:
    """Return what a newer document changes that would move customers between groups; growing is none."""
    faults = []
    if (before.salt, before.first_day) != (after.salt, after.first_day):
        faults.append(f"{after.id}: another salt or first day deals everybody anew")
    if after.shares[: len(before.shares)] != before.shares:
        faults.append(f"{after.id}: shares: a row that was there changed; rows are only added")
    return tuple(faults)


EXPERIMENTS = TypeAdapter(tuple[Experiment, ...])


def make_experiments(rows: tuple[Experiment, ...]) -> Mapping[str, Experiment]:
    """Return experiments by id; DocumentInvalid when an id or a salt stands twice."""
    if len({row.id for row in rows}) != len(rows) or len({row.salt for row in rows}) != len(rows):
        raise DocumentInvalid("experiments: an id or a salt stands twice")
    return {row.id: row for row in rows}
