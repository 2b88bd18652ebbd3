"""Customer segments as dated data, and whether a customer fits what a product asks for. Pure."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from core_app.products.model import Product
from core_app.products.parameters.shapes import Group, InTwoLanguages, Line, Name

NO_SEGMENT = "none"
"""How a customer without a segment is shown where a reason names what was found."""


class Segment(Group):
    """A group of customers that offers and prices may name, with the days on which it exists."""

    id: Name
    name: InTwoLanguages
    text: Line
    first_day: dt.date = Field(alias="from")
    last_day: dt.date | None = Field(alias="to", default=None)

    def holds_on(self, day: dt.date) -> bool:
        """Say whether the segment exists on `day`."""
        return self.first_day <= day and (self.last_day is None or day <= self.last_day)


def _need_distinct(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    if len({segment.id for segment in segments}) != len(segments):
        raise ValueError("needs distinct ids")
    return segments


Segments = Annotated[tuple[Segment, ...], AfterValidator(_need_distinct)]


def find_unknown_segments(product: Product, segments: Iterable[Segment]) -> Iterator[str]:
    """Yield each segment that a product names and that does not exist on its first day, with its path."""
    day = product.identity.valid_from
    existing = {one.id for one in segments if one.holds_on(day)}
    offered = product.eligibility.segments
    for name in offered:
        if name not in existing:
            yield f"eligibility.segments: {name}, which is no segment on {day}"
    for number, cell in enumerate(product.pricing.grid):
        path = f"pricing.grid.{number}.segment"
        if cell.segment not in existing:
            yield f"{path}: {cell.segment}, which is no segment on {day}"
        elif offered and cell.segment not in offered:
            yield f"{path}: {cell.segment}, which eligibility.segments does not offer it to"


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a customer is not one that a product is for. A figure of the customer's is not repeated."""

    rule: str
    found: str
    needed: str


def find_misfit(product: Product, segment: str | None) -> Misfit | None:
    """Return why the product is not offered to a customer of that segment, None when it is."""
    offered = product.eligibility.segments
    if not offered or segment in offered:
        return None
    return Misfit("segment", segment or NO_SEGMENT, f"one of: {', '.join(offered)}")


def find_income_misfit(product: Product, monthly_income_fen: int | None) -> Misfit | None:
    """Return why an income is not enough for the product, None when it is, or none is asked for."""
    least_fen = product.eligibility.income_min_fen
    if not least_fen or (monthly_income_fen is not None and monthly_income_fen >= least_fen):
        return None
    found = "not said" if monthly_income_fen is None else "lower"
    return Misfit("income", found, f">= {least_fen} fen a month after tax")
