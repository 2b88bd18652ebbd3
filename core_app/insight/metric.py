"""A metric: what it is called, who owns it, its SQL, and its sums over cells. Pure.

Each cell answers with a part, and where the metric is a ratio a whole, for every combination of dimensions.
Parts and wholes are added up over cells before anything is divided, so a ratio over all is exact.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from core_app.errors import DocumentInvalid
from core_app.products.parameters.shapes import Group, Line, Name

Dimensions = tuple[str, ...]
Cube = Mapping[Dimensions, tuple[int, int]]
"""Part and whole by the values of the dimensions; the whole is 1 where the metric is a sum."""


class Both(Group):
    """A text in Chinese and in English."""

    zh: Line
    en: Line


class Metric(Group):
    """One row of the catalogue. `sql` sees `%(day)s`; returns dimensions, part, and for a ratio a whole."""

    id: Name
    name: Both
    owner: Line
    unit: Literal["fen", "count", "share", "share a year", "ms"]
    kind: Literal["sum", "ratio"]
    dimensions: tuple[Name, ...] = ()
    sql: Annotated[str, Field(min_length=20)]

    @model_validator(mode="after")
    def _check(self) -> "Metric":
        if not self.sql.lstrip().lower().startswith(("select", "with")) or ";" in self.sql:
            raise ValueError("sql needs one query, without a semicolon")
        if self.kind == "sum" and self.unit not in ("fen", "count"):
            raise ValueError(f"a sum has no unit {self.unit}: needs fen or count")
        return self


CATALOGUE: TypeAdapter[tuple[Metric, ...]] = TypeAdapter(tuple[Metric, ...])


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric on a business day, over all cells."""

    metric: Metric
    on: dt.date
    cube: Cube

    def value(self, where: Mapping[str, str] | None = None) -> Fraction | None:
        """Return its value over the rows that `where` names; None without a row or a whole."""
        return value_of(roll_up(self.metric, self.cube, (), where or {}).get(()), self.metric)


def make_catalogue(metrics: Sequence[Metric]) -> Mapping[str, Metric]:
    """Return the metrics by id; DocumentInvalid when an id stands twice."""
    found = {one.id: one for one in metrics}
    if len(found) != len(metrics):
        raise DocumentInvalid("metrics.yaml: an id stands twice")
    return found


def read_row(metric: Metric, row: Sequence[object]) -> tuple[Dimensions, tuple[int, int]]:
    """Return a row of a metric's query; DocumentInvalid when it has other columns."""
    count = len(metric.dimensions)
    numbers = row[count:]
    if len(numbers) != (1 if metric.kind == "sum" else 2) or not all(type(one) is int for one in numbers):
        raise DocumentInvalid(f"metric {metric.id}: its query needs {count} dimensions, then whole numbers")
    whole = numbers[1] if metric.kind == "ratio" else 1
    assert isinstance(numbers[0], int)  # noqa: S101 - checked above
    assert isinstance(whole, int)  # noqa: S101
    return tuple(str(one) for one in row[:count]), (numbers[0], whole)


def add_up(metric: Metric, cubes: Iterable[Cube]) -> Cube:
    """Return the sum of cubes, of cells or of days."""
    found: dict[Dimensions, tuple[int, int]] = {}
    for cube in cubes:
        for key, (part, whole) in cube.items():
            before = found.get(key, (0, 0))
            summed = 1 if metric.kind == "sum" else before[1] + whole
            found[key] = (before[0] + part, summed)
    return found


def roll_up(metric: Metric, cube: Cube, per: Sequence[str], where: Mapping[str, str]) -> Cube:
    """Return the cube by the dimensions `per` alone, of the rows that `where` names.

    DocumentInvalid when one of them is no dimension of the metric.
    """
    if unknown := sorted({*per, *where} - set(metric.dimensions)):
        raise DocumentInvalid(f"metric {metric.id} has no dimension {', '.join(unknown)}")
    kept: dict[Dimensions, list[Cube]] = defaultdict(list)
    for key, sums in cube.items():
        named = dict(zip(metric.dimensions, key, strict=True))
        if all(named[name] == value for name, value in where.items()):
            place = tuple(named[name] for name in per)
            kept[place].append({place: sums})
    return {place: add_up(metric, cubes)[place] for place, cubes in kept.items()}


def value_of(sums: tuple[int, int] | None, metric: Metric) -> Fraction | None:
    """Return part over whole; None where there is nothing to be a part of."""
    if sums is None or (metric.kind == "ratio" and not sums[1]):
        return None
    return Fraction(*sums)
