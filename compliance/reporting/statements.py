"""Figures of returns that are not in the books of lending: stated by who keeps them, dated and signed. Pure.

Nothing is made up in their place: a cell that nobody stated is filed empty and named in the manifest. Which
cells there are, and whose they are, stands in tables/1104.yaml.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, NamedTuple

from pydantic import ConfigDict, Field

from compliance.reporting.batch import Finding
from compliance.reporting.returns import yuan


class StatedCell(NamedTuple):
    """A cell whose figure is not in the books of lending: `owner` states it."""

    cell: str
    zh: str
    en: str
    owner: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One figure: what `owner` keeps, as of an evening, in which document, and who says so."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    yuan: Annotated[Decimal, Field(ge=0, max_digits=20, decimal_places=2)]
    as_of: dt.date
    owner: str
    stated_by: Annotated[str, Field(min_length=2)]
    document: Annotated[str, Field(min_length=3)]

    @property
    def fen(self) -> int:
        """Return it as integer fen."""
        return int(self.yuan * 100)


Statements = Mapping[str, Mapping[str, Statement]]
"""By return and cell."""
Asked = Mapping[str, Sequence[StatedCell]]
"""The cells that are stated, by return."""


def find_statement_faults(asked: Asked, given: Statements, day: dt.date) -> list[Finding]:
    """Return what was stated for no cell, of another day, or by another than its owner."""
    found = []
    for name, cells in given.items():
        owners = {one.cell: one.owner for one in asked.get(name, ())}
        for cell, one in cells.items():
            if cell not in owners:
                known = ", ".join(owners) or "none"
                found.append(Finding(name, cell, "a stated cell is of the catalogue", cell, known))
                continue
            if one.as_of != day:
                found.append(Finding(name, cell, "it is stated as of the evening", str(one.as_of), str(day)))
            if one.owner != owners[cell]:
                found.append(Finding(name, cell, "it is stated by its owner", one.owner, owners[cell]))
    return found + _check_capital({cell: one.fen for cell, one in given.get("G40", {}).items()})


def _check_capital(fen: Mapping[str, int]) -> list[Finding]:
    """Compare the figures of capital with each other, as far as they are there."""
    found = []
    for less, more in (("core_tier1", "tier1"), ("tier1", "capital")):
        if less in fen and more in fen and fen[less] > fen[more]:
            found.append(
                Finding("G40", less, f"{less} is part of {more}", yuan(fen[less]), f"<= {yuan(fen[more])}")
            )
    parts = ("credit_risk", "market_risk", "operational_risk")
    if {"risk_weighted", *parts} <= fen.keys() and fen["risk_weighted"] != sum(fen[part] for part in parts):
        needed = yuan(sum(fen[part] for part in parts))
        rule = "risk-weighted assets are their three parts"
        found.append(Finding("G40", "risk_weighted", rule, yuan(fen["risk_weighted"]), needed))
    return found


def list_missing(asked: Asked, given: Statements) -> list[str]:
    """Return the cells that somebody has to state and nobody did."""
    return [
        f"{name}.{one.cell} ({one.owner})"
        for name, cells in asked.items()
        for one in cells
        if one.cell not in given.get(name, {})
    ]


def render_stated(name: str, asked: Asked, given: Statements) -> list[str]:
    """Return the lines of a return's stated cells, each with whose it is; empty where nobody stated one."""
    lines = []
    for one in asked.get(name, ()):
        said = given.get(name, {}).get(one.cell)
        value = yuan(said.fen) if said else ""
        whose = "未提供 not stated"
        if said:
            whose = f"{said.owner}, {said.stated_by}, {said.as_of}, {said.document}"
        lines.append(f"{name}.{one.cell}\t{one.zh}\t{one.en}\t{value}\t{whose}")
    return lines


def render_statements(given: Statements) -> dict[str, dict[str, dict[str, str]]]:
    """Return what was stated as plain values, as a manifest has it."""
    return {
        name: {
            cell: {"yuan": yuan(one.fen), "as_of": one.as_of.isoformat(), "owner": one.owner,
                   "stated_by": one.stated_by, "document": one.document}
            for cell, one in cells.items()
        }
        for name, cells in given.items()
    }  # fmt: skip
