"""The catalogue: items, probes, checks, serious-risk triggers and what a stand cannot meet, read from data.

Items are those of GB/T 22239-2019 level 3, general (8.1) and cloud extension (8.2), in our own words: the
standard's text decides. Counts, tags and probes: research on compliance, sections 1.1 to 1.5. Weights 1 to 3
(general, important, key) are our judgement: no citable list of the template's weights was found.
"""

import csv
import enum
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from compliance.controls.errors import CatalogueInvalid

T = TypeVar("T")
FILES = ("points.csv", "items.csv", "probes.yaml", "checks.csv", "triggers.csv", "stand.yaml")
ATTESTED_DAYS_MOST = 365
"""Longest life of an attestation. Source: GB/T 22239-2019 8.1.9.9: level 3 is assessed each year."""
_STRICT = ConfigDict(extra="forbid")
_CLAUSE = re.compile(r"\.[a-z]$")


class Basis(enum.StrEnum):
    """On what an item's verdict rests."""

    LIVE = "live"
    """Software alone decides, from readings of the running system."""
    PARTIAL = "partial"
    """Readings, where there are some, and a person's attestation."""
    ATTESTED = "attested"
    """A person's attestation."""


class Scope(enum.StrEnum):
    """Where a probe reads: at each data site, or once for the whole system."""

    SITE = "site"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Text:
    """What people read, in both languages."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison with one fact of a reading; a fact named by `unless` that is true excuses it."""

    probe: str
    fact: str
    op: Literal["==", ">=", "<=", "in", "empty"]
    value: Any
    unless: str
    text: Text

    @property
    def needed(self) -> str:
        """Return what passes, in words."""
        return "nothing" if self.op == "empty" else f"{self.op} {self.value}"


@dataclass(frozen=True, slots=True)
class Probe:
    """A question to the running system; readings older than `max_age_s` are unknown."""

    name: str
    scope: Scope
    max_age_s: int
    text: Text
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One requirement. `weight` 1 general, 2 important, 3 key."""

    id: str
    point: str
    category: str
    point_text: Text
    text: Text
    basis: Basis
    weight: int
    owner: str
    probes: tuple[str, ...]

    @property
    def managerial(self) -> bool:
        """Say whether it is one of the management classes (8.1.6 to 8.1.10; 8.2.6 and 8.2.7)."""
        return int(self.id.split(".")[2]) >= 6


@dataclass(frozen=True, slots=True)
class Trigger:
    """A serious risk: raised when one of its items is not met."""

    id: str
    items: tuple[str, ...]
    text: Text


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything a run is judged by; `sm3` is of its files, so that a pack names what judged it."""

    items: Mapping[str, Item]
    probes: Mapping[str, Probe]
    triggers: tuple[Trigger, ...]
    stand_notes: Mapping[str, Text]
    sm3: str


@dataclass(frozen=True, slots=True)
class _Point:
    __pydantic_config__ = _STRICT
    clause: str
    category: str
    zh: Annotated[str, Field(min_length=1)]
    en: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class _Item:
    __pydantic_config__ = _STRICT
    id: Annotated[str, Field(pattern=r"^8\.[12]\.\d+\.\d+(\.[a-j])?$|^8\.2\.7\.1$")]
    basis: Basis
    weight: Annotated[int, Field(ge=1, le=3)]
    owner: Annotated[str, Field(pattern=r"^[a-z]+$")]
    probes: str
    zh: Annotated[str, Field(min_length=4)]
    en: Annotated[str, Field(min_length=8)]


@dataclass(frozen=True, slots=True)
class _Probe:
    __pydantic_config__ = _STRICT
    scope: Scope
    max_age_s: Annotated[int, Field(ge=60, le=86_400)]
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class _Check:
    __pydantic_config__ = _STRICT
    probe: str
    fact: Annotated[str, Field(pattern=r"^[a-z_0-9]+$")]
    op: Literal["==", ">=", "<=", "in", "empty"]
    value: str
    unless: str
    zh: Annotated[str, Field(min_length=1)]
    en: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class _Trigger:
    __pydantic_config__ = _STRICT
    id: str
    items: Annotated[str, Field(min_length=1)]
    zh: str
    en: str


@functools.cache
def read_catalogue() -> Catalogue:
    """Return the catalogue; CatalogueInvalid names the file and row that is wrong."""
    texts = {name: _read(name) for name in FILES}
    points = {row.clause: row for row in _rows(texts, "points.csv", _Point, {"class": "category"})}
    checks = [_check(row) for row in _rows(texts, "checks.csv", _Check)]
    probes = _probes(texts["probes.yaml"], checks)
    items = {row.id: _item(row, points) for row in _rows(texts, "items.csv", _Item)}
    triggers = tuple(
        Trigger(row.id, tuple(row.items.split()), Text(row.zh, row.en))
        for row in _rows(texts, "triggers.csv", _Trigger)
    )
    notes = TypeAdapter(dict[str, Text]).validate_python(yaml.safe_load(texts["stand.yaml"]))
    digest = hashlib.new("sm3")
    for name in FILES:
        digest.update(texts[name].encode())
    made = Catalogue(items, probes, triggers, notes, digest.hexdigest())
    if faults := find_faults(made):
        raise CatalogueInvalid("; ".join(faults))
    return made


def find_faults(catalogue: Catalogue) -> list[str]:
    """Return what does not fit together in a catalogue."""
    faults = []
    for item in catalogue.items.values():
        unknown = [name for name in item.probes if name not in catalogue.probes]
        if unknown:
            faults.append(f"items.csv: {item.id}: no probe {', '.join(unknown)}")
        if item.basis is Basis.LIVE and not item.probes:
            faults.append(f"items.csv: {item.id}: live, but no probe")
        if item.basis is Basis.ATTESTED and item.probes:
            faults.append(f"items.csv: {item.id}: attested, but has a probe: make it partial")
    for probe in catalogue.probes.values():
        if not probe.checks:
            faults.append(f"checks.csv: no check of probe {probe.name}")
    asked = {name for item in catalogue.items.values() for name in item.probes}
    faults += [f"probes.yaml: {name}: no item rests on it" for name in catalogue.probes.keys() - asked]
    named = [(trigger.id, item) for trigger in catalogue.triggers for item in trigger.items]
    named += [("stand.yaml", item) for item in catalogue.stand_notes]
    faults += [f"{where}: no item {item}" for where, item in named if item not in catalogue.items]
    return faults


def _read(name: str) -> str:
    return files("compliance.controls").joinpath(name).read_text(encoding="utf-8")


def _rows(
    texts: Mapping[str, str], name: str, kind: type[T], renamed: Mapping[str, str] | None = None
) -> Iterator[T]:
    adapter = TypeAdapter(kind)
    for number, row in enumerate(csv.DictReader(texts[name].splitlines()), 2):
        try:
            yield adapter.validate_python({(renamed or {}).get(key, key): text for key, text in row.items()})
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise CatalogueInvalid(f"{name}: line {number}: {wrong}") from error


def _item(row: _Item, points: Mapping[str, _Point]) -> Item:
    clause = _CLAUSE.sub("", row.id)
    point = points.get(clause)
    if point is None:
        raise CatalogueInvalid(f"items.csv: {row.id}: points.csv has no {clause}")
    return Item(
        row.id, clause, point.category, Text(point.zh, point.en), Text(row.zh, row.en), row.basis,
        row.weight, row.owner, tuple(row.probes.split()),
    )  # fmt: skip


def _check(row: _Check) -> Check:
    value: Any = row.value
    if row.op == "in":
        value = tuple(row.value.split())
    elif row.value in ("true", "false"):
        value = row.value == "true"
    elif row.value.isdigit():
        value = int(row.value)
    return Check(row.probe, row.fact, row.op, value, row.unless, Text(row.zh, row.en))


def _probes(text: str, checks: list[Check]) -> dict[str, Probe]:
    rows = TypeAdapter(dict[str, _Probe]).validate_python(yaml.safe_load(text))
    if strays := {check.probe for check in checks} - rows.keys():
        raise CatalogueInvalid(f"checks.csv: no probe {', '.join(sorted(strays))}")
    return {
        name: Probe(
            name, row.scope, row.max_age_s, Text(row.zh, row.en),
            tuple(check for check in checks if check.probe == name),
        )
        for name, row in rows.items()
    }  # fmt: skip
