"""Legal parameters in force on a day. Pure: the rows are read elsewhere."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LegalRow(BaseModel):
    """One value with the days it holds, where it is written, and how sure we are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(pattern=r"^[a-z0-9_.]+$")
    value: Decimal
    first_day: dt.date = Field(alias="from")
    last_day: dt.date | None = Field(alias="to", default=None)
    source: str = Field(min_length=1)
    status: Literal["law", "guidance", "to be verified"]

    def holds_on(self, day: dt.date) -> bool:
        """Say whether the row is in force on `day`."""
        return self.first_day <= day and (self.last_day is None or day <= self.last_day)


def legal_value(rows: Sequence[LegalRow], key: str, day: dt.date) -> Decimal:
    """Return the value of `key` in force on `day`; KeyError unless exactly one row holds."""
    values = [row.value for row in rows if row.key == key and row.holds_on(day)]
    if len(values) != 1:
        raise KeyError(f"legal parameter {key} on {day}: {len(values)} rows in force, needs one")
    return values[0]
