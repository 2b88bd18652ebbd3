"""What is used of a bureau's report, and why there may be none. Pure."""

import enum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Count = Annotated[int, Field(ge=0, le=10_000)]


class NoAnswer(enum.StrEnum):
    """Why there is no answer; the names are those of the policy's `bureau.without_answer`."""

    NOT_AUTHORISED = "not_authorised"
    NO_BUREAU = "no_bureau"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    UNREADABLE = "unreadable"


class BureauReport(BaseModel):
    """What is used of a report."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

    score: Annotated[int, Field(ge=0, le=1000)]
    open_accounts: _Count
    overdue_12m: _Count
    inquiries_90d: _Count
