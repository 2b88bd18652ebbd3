"""Legal parameters as dated rows, and those in force on a day. Pure: the rows are read elsewhere."""

import datetime as dt
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from core_app.errors import DocumentInvalid


class Stage(enum.StrEnum):
    """When a rule is asked: a product goes on sale, a price is shown, a contract signed, money booked, a
    debtor contacted."""

    PUBLICATION = "publication"
    QUOTE = "quote"
    CONTRACT = "contract"
    POSTING = "posting"
    CONTACT = "contact"


class RulesInvalid(DocumentInvalid):
    """The rows of the rules contradict each other or lack what is asked for; nothing may be decided."""


def _need_exact(value: object) -> object:
    if not isinstance(value, (str, list, tuple, Decimal)):
        raise ValueError('needs a decimal in quotes, such as "0.24", or a list of names')
    return value


Names = tuple[Annotated[str, Field(min_length=1)], ...]
Value = Annotated[Decimal | Names, BeforeValidator(_need_exact)]


class LegalRow(BaseModel):
    """One value with the days it holds, where it is written, and how sure we are.

    A row with `looks_at` is a rule: at its `stages` it compares the measure of that name with its
    value. A row without is a parameter that code reads by key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(pattern=r"^[a-z0-9_.-]+$", description="Id of the rule or parameter.")
    value: Value
    unit: str = Field(min_length=1, description="Unit of the value: fen, share a year, days, names.")
    first_day: dt.date = Field(alias="from", description="First day in force.")
    last_day: dt.date | None = Field(alias="to", default=None, description="Last day in force.")
    source: str = Field(min_length=1, description="Where it is written.")
    status: Literal["law", "guidance", "to_verify"]
    looks_at: str | None = Field(default=None, description="Measure that the rule compares.")
    compare: Literal["at_most", "at_least", "none_of", "one_of", "contains_none_of"] | None = None
    stages: tuple[Stage, ...] = ()
    research_row: str | None = Field(default=None, description="Row of the systems table, for exclusions.")

    @model_validator(mode="after")
    def _check_rule(self) -> "LegalRow":
        parts = (self.looks_at is not None, self.compare is not None, bool(self.stages))
        if len(set(parts)) != 1:
            raise ValueError("a rule needs looks_at, compare and stages; a parameter has none of them")
        names = isinstance(self.value, tuple)
        if self.compare is not None and names == (self.compare in {"at_most", "at_least"}):
            raise ValueError("at_most and at_least need a decimal, the others a list of names")
        if self.last_day is not None and self.last_day < self.first_day:
            raise ValueError("`to` lies before `from`")
        return self

    def holds_on(self, day: dt.date) -> bool:
        """Say whether the row is in force on `day`."""
        return self.first_day <= day and (self.last_day is None or day <= self.last_day)


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All rows; `by_stage` holds the rules of each stage, so that a posting looks at its own only."""

    rows: tuple[LegalRow, ...]
    by_stage: Mapping[Stage, tuple[LegalRow, ...]]

    def value(self, key: str, day: dt.date) -> Decimal:
        """Return the number under `key` in force on `day`; RulesInvalid unless exactly one row holds."""
        values = [row.value for row in self.rows if row.key == key and row.holds_on(day)]
        if len(values) != 1 or not isinstance(values[0], Decimal):
            raise RulesInvalid(
                f"legal parameter {key} on {day}: {len(values)} rows in force, needs one number"
            )
        return values[0]

    def in_force(self, stage: Stage, day: dt.date) -> tuple[LegalRow, ...]:
        """Return the rules of a stage that hold on `day`."""
        return tuple(row for row in self.by_stage[stage] if row.holds_on(day))

    def days_of_change(self, first: dt.date, last: dt.date | None) -> tuple[dt.date, ...]:
        """Return `first` and every later day, up to `last`, on which a rule begins to hold."""
        begins = {row.first_day for row in self.rows if row.first_day > first}
        return (first, *sorted(day for day in begins if last is None or day <= last))


def make_rulebook(rows: Iterable[LegalRow]) -> Rulebook:
    """Return the rulebook; RulesInvalid when two rows of one key hold on the same day."""
    ordered = tuple(sorted(rows, key=lambda row: (row.key, row.first_day)))
    for earlier, later in pairwise(ordered):
        if earlier.key == later.key and earlier.holds_on(later.first_day):
            raise RulesInvalid(f"{earlier.key}: two rows hold on {later.first_day}, needs one: set `to`")
    by_stage = {stage: tuple(row for row in ordered if stage in row.stages) for stage in Stage}
    return Rulebook(ordered, by_stage)
