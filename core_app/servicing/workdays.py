"""Working days by the State Council's notices, one a year. Pure: the notices are read elsewhere."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, model_validator

from core_app.products.parameters.shapes import Group, Line

_SATURDAY = 5


class Span(Group):
    """Days off, the last one too."""

    first_day: dt.date = Field(alias="from")
    last_day: dt.date = Field(alias="to")


class Notice(Group):
    """What a year's notice says."""

    year: Annotated[int, Field(ge=2000, strict=True)]
    source: Line
    holidays: tuple[Span, ...]
    worked: tuple[dt.date, ...]

    @model_validator(mode="after")
    def _check(self) -> "Notice":
        days = [day for span in self.holidays for day in (span.first_day, span.last_day)] + [*self.worked]
        if any(day.year != self.year for day in days):
            raise ValueError(f"needs days of {self.year}")
        if any(span.last_day < span.first_day for span in self.holidays):
            raise ValueError("`to` lies before `from`")
        if any(day.weekday() < _SATURDAY for day in self.worked):
            raise ValueError("a day that is worked instead needs to be one of a weekend")
        return self


NOTICES: TypeAdapter[tuple[Notice, ...]] = TypeAdapter(tuple[Notice, ...])


@dataclass(frozen=True, slots=True)
class Workdays:
    """What the notices say; a year without one has its weekends off and no holiday."""

    off: frozenset[dt.date]
    worked: frozenset[dt.date]

    def is_worked(self, day: dt.date) -> bool:
        """Say whether a day is a working day."""
        return day in self.worked or (day.weekday() < _SATURDAY and day not in self.off)

    def last_until(self, day: dt.date) -> dt.date:
        """Return `day`, or the last working day before it."""
        while not self.is_worked(day):
            day -= dt.timedelta(days=1)
        return day


def make_workdays(notices: Sequence[Notice]) -> Workdays:
    """Return the working days of all notices together."""
    off = {
        span.first_day + dt.timedelta(days=n)
        for notice in notices
        for span in notice.holidays
        for n in range((span.last_day - span.first_day).days + 1)
    }
    return Workdays(frozenset(off), frozenset(day for notice in notices for day in notice.worked))
