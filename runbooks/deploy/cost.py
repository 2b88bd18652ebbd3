"""An estimate of what the stacks cost a month, from a dated price table. Pure.

It knows what stands in the table and says of everything else that it does not know: an estimate, no bill.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from runbooks.deploy.steps import StackResult

_STRICT = ConfigDict(extra="forbid")
STALE_DAYS = 92
"""Older tables are called old. Source: our choice, a quarter."""


class PricesInvalid(Exception):
    """The price table cannot be used; the message names the field."""


@dataclass(frozen=True, slots=True)
class Price:
    """Monthly price of one resource: of a type, or of one whose `where` inputs all have these values.

    `times` names an input that multiplies it (a number of nodes, a size), by its dotted path.
    """

    __pydantic_config__ = _STRICT

    type: str
    fen: int
    what: str
    where: dict[str, str] | None = None
    times: str | None = None


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices as of a day from a source, in fen of `currency` a month."""

    __pydantic_config__ = _STRICT

    as_of: dt.date
    currency: str
    source: str
    prices: tuple[Price, ...]
    free: tuple[str, ...] = ()
    """Types that cost nothing by themselves."""


@dataclass(frozen=True, slots=True)
class CostLine:
    """One resource's share; `fen` is None where the table has no price."""

    stack: str
    site: str
    type: str
    name: str
    what: str
    fen: int | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known, what is not, and how old the prices are (days)."""

    lines: tuple[CostLine, ...]
    age_days: int

    @property
    def fen(self) -> int:
        """Sum of what is known."""
        return sum(line.fen for line in self.lines if line.fen is not None)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Types without a price, each once."""
        return tuple(sorted({line.type for line in self.lines if line.fen is None}))

    @property
    def is_stale(self) -> bool:
        """Say whether the prices are older than a quarter."""
        return self.age_days > STALE_DAYS


_ADAPTER = TypeAdapter(PriceTable)


def parse_prices(text: str) -> PriceTable:
    """Read a price table; PricesInvalid names the field."""
    try:
        return _ADAPTER.validate_python(yaml.safe_load(text))
    except (ValidationError, yaml.YAMLError) as error:
        raise PricesInvalid(f"price table: {error}") from error


def estimate(results: Iterable[StackResult], table: PriceTable, today: dt.date) -> Estimate:
    """Return what the resources that would stand after an `up` cost a month."""
    lines = []
    for result in results:
        for step in result.steps:
            if step.op.startswith(("delete", "discard")) or _is_free(step.type, table):
                continue
            price = _find(step.type, step.inputs, table)
            fen = None if price is None else _multiplied(price, step.inputs)
            what = price.what if price else "no price in the table"
            lines.append(CostLine(result.stack, result.site, step.type, step.name, what, fen))
    return Estimate(tuple(lines), (today - table.as_of).days)


def _is_free(kind: str, table: PriceTable) -> bool:
    """Say whether a type costs nothing: what is in a cluster is paid for with its machines."""
    return kind.startswith(("kubernetes:", "biyi:")) or kind in table.free


def _find(kind: str, inputs: Mapping[str, object], table: PriceTable) -> Price | None:
    fitting = [
        price
        for price in table.prices
        if price.type == kind
        and all(_holds(inputs, path, value) for path, value in (price.where or {}).items())
    ]
    return max(fitting, key=lambda price: len(price.where or {}), default=None)


def _holds(inputs: Mapping[str, object], path: str, value: str) -> bool:
    found = _look(inputs, path)
    return value in (map(str, found) if isinstance(found, list) else (str(found),))


def _multiplied(price: Price, inputs: Mapping[str, object]) -> int | None:
    if price.times is None:
        return price.fen
    found = _look(inputs, price.times)
    try:
        return price.fen * int(str(found))
    except ValueError:
        return None


def _look(inputs: Mapping[str, object], path: str) -> object:
    found: object = inputs
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
