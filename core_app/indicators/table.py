"""The table of indicators and its judgement. Pure."""

import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from core_app.errors import DocumentInvalid
from core_app.products.parameters.shapes import Group, Line, Name
from core_app.rules.legal import Rulebook

Bound = Annotated[str, Field(pattern=r"^[a-z0-9_.]+$")]


class Both(Group):
    """A text in Chinese and in English."""

    zh: Line
    en: Line


class Indicator(Group):
    """One row of the table; bounds are keys of legal parameters or numbers."""

    id: Name
    domain: Line
    name: Both
    part: Name
    whole: Name
    least: Bound | None = None
    most: Bound | None = None
    per: Literal["company", "partner"] = "company"
    owner: Line
    on_breach: Literal["report", "stop_partners"]

    @model_validator(mode="after")
    def _check_bounds(self) -> "Indicator":
        if self.least is None and self.most is None:
            raise ValueError("needs least, most or both: an indicator without a bound shows nothing")
        return self


TABLE: TypeAdapter[tuple[Indicator, ...]] = TypeAdapter(tuple[Indicator, ...])
Sums = Mapping[str, int | None]
"""By name, over all cells; None is not known."""


class State(enum.StrEnum):
    """How an indicator stands."""

    WITHIN = "within"
    BREACHED = "breached"
    UNKNOWN = "unknown"
    """A sum is not known."""
    NOTHING = "nothing"
    """There is no whole to be a part of."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An indicator on a day: of which partner if any, its value, the bounds in force."""

    indicator: Indicator
    partner: str | None
    state: State
    value: Fraction | None
    least: Decimal | None
    most: Decimal | None


def judge_table(
    table: Sequence[Indicator],
    sums: tuple[Sums, Mapping[str, Sums]],
    rulebook: Rulebook,
    day: dt.date,
) -> tuple[Standing, ...]:
    """Return how each indicator stands on `day`; `sums` are the company's, and those of each partner.

    DocumentInvalid when a row names a sum or a legal parameter that there is not.
    """
    company, partners = sums
    found = []
    for row in table:
        bounds = (_bound(row.least, rulebook, day), _bound(row.most, rulebook, day))
        places: list[tuple[str | None, Sums]] = [(None, {})]
        if row.per == "partner":
            places = [*sorted(partners.items())]
        for partner, own in places:
            known = {**company, **own}
            for name in (row.part, row.whole):
                if name not in known:
                    raise DocumentInvalid(f"indicator {row.id}: no sum {name}")
            found.append(_judge(row, partner, (known[row.part], known[row.whole]), bounds))
    return tuple(found)


def _judge(
    row: Indicator,
    partner: str | None,
    measured: tuple[int | None, int | None],
    bounds: tuple[Decimal | None, Decimal | None],
) -> Standing:
    part, whole = measured
    least, most = bounds
    if part is None or whole is None:
        return Standing(row, partner, State.UNKNOWN, None, least, most)
    if whole < 0 or (not whole and part > 0 and most is not None):
        # Capital that is used up: the quotient would have the wrong sign or none, and the bound is broken.
        return Standing(row, partner, State.BREACHED, None, least, most)
    if not whole:
        return Standing(row, partner, State.NOTHING, None, least, most)
    value = Fraction(part, whole)
    low = least is not None and value < Fraction(least)
    high = most is not None and value > Fraction(most)
    return Standing(row, partner, State.BREACHED if low or high else State.WITHIN, value, least, most)


def _bound(text: str | None, rulebook: Rulebook, day: dt.date) -> Decimal | None:
    if text is None:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return rulebook.value(text, day)


def find_partners_to_stop(standings: Sequence[Standing], partners: Sequence[str]) -> tuple[str, ...]:
    """Return the partners that breached rows keep out of further loans: one's own row, or all of them."""
    breached = [
        one for one in standings if one.state is State.BREACHED and one.indicator.on_breach == "stop_partners"
    ]
    if any(one.partner is None for one in breached):
        return tuple(sorted(partners))
    return tuple(sorted({one.partner for one in breached if one.partner is not None}))
