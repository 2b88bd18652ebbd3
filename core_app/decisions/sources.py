"""The registry of data sources: purpose, ground, time they are kept, what scorecards may see. Pure."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from core_app.products.model import Product
from core_app.products.parameters.shapes import Count, Group, Line, Name

Domain = Literal["application", "device", "behaviour", "channel", "third_party"]

DECIDING = ("decide_application", "fraud_control")
"""Purposes for which a product may name a source."""


class Source(Group):
    """One source, as its document says. `fields` have the bounds within which an answer is believed."""

    id: Name
    domain: Domain
    text: Line
    purpose: Literal["decide_application", "fraud_control", "tell_offers", "improve_pages"]
    consent: Literal["contract", "written", "separate"]
    retention_days: Annotated[int, Field(ge=1, le=3650)]
    owner: Name
    kept_in: Annotated[str, Field(pattern=r"^core\.[a-z_]+$")] | None = None
    fields: Mapping[Name, tuple[Count, Annotated[int, Field(ge=0)]]] = {}

    @property
    def decides(self) -> bool:
        """Say whether a decision may ask it: what was agreed to for another purpose is for that alone."""
        return self.purpose in DECIDING

    @model_validator(mode="after")
    def _check_place(self) -> "Source":
        if bool(self.fields) == (self.kept_in is not None):
            raise ValueError("needs fields (asked of an outside source) or kept_in (a table of the core)")
        if self.fields and self.consent != "separate":
            raise ValueError("consent: an outside source needs a separate one")
        return self

    def read_answer(self, plain: Mapping[str, Any]) -> dict[str, int]:
        """Return the fields of an answer within their bounds; ValueError names one that is not."""
        read = {}
        for name, (least, most) in self.fields.items():
            value = plain.get(name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise ValueError(f"source {self.id}: {name} is no whole number from {least} to {most}")
            read[name] = value
        return read

    def keep_until(self, day: dt.date) -> dt.date:
        """Return the last day on which an answer of `day` is kept and used."""
        return day + dt.timedelta(days=self.retention_days)


@dataclass(frozen=True, slots=True)
class Sources:
    """All sources by id."""

    by_id: Mapping[str, Source]

    @property
    def inputs(self) -> frozenset[str]:
        """Return the inputs that scorecards may name."""
        return frozenset(input_of(s.id, name) for s in self.by_id.values() for name in s.fields)

    def find_unknown(self, product: Product) -> tuple[str, ...]:
        """Return the sources that a product names and that no decision may ask."""
        return tuple(
            sorted(set(product.risk.data_sources) - {s.id for s in self.by_id.values() if s.decides})
        )

    def outside(self, product: Product) -> tuple[Source, ...]:
        """Return the product's sources that are asked for each applicant with the applicant's consent."""
        return tuple(
            self.by_id[name]
            for name in product.risk.data_sources
            if name in self.by_id and self.by_id[name].fields
        )

    def find_inputs(self, answers: Mapping[str, Mapping[str, int]]) -> dict[str, int | None]:
        """Return every input by its name, None where there is no answer."""
        return {
            input_of(source.id, name): answers.get(source.id, {}).get(name)
            for source in self.by_id.values()
            for name in source.fields
        }


def input_of(source_id: str, field: str) -> str:
    """Return the name by which a scorecard finds a field."""
    return f"source.{source_id}.{field}"


def make_sources(rows: Iterable[Source]) -> Sources:
    """Return the registry; ValueError when an id stands twice."""
    by_id: dict[str, Source] = {}
    for row in rows:
        if row.id in by_id:
            raise ValueError(f"source {row.id}: stands twice")
        by_id[row.id] = row
    return Sources(by_id)
