"""What staff did, one event a line, and the registers it is read against. Pure.

The published schema is `json_schema()`; `read_line` gives an event or every fault of the line. No clear
data come in: a customer is a keyed pseudonym; what looks like a phone or identity number is refused.
"""

import datetime as dt
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ueba.settings import IngestSettings

Record = Literal["event", "staff", "customer", "relation"]
_PHONE_OR_ID = re.compile(r"(?<!\d)(1[3-9]\d{9}|\d{17}[\dXx])(?!\d)")
# Digits at the end of a hexadecimal pseudonym are none: a number stands alone.


def _no_clear_number(value: str) -> str:
    if _PHONE_OR_ID.fullmatch(value):
        raise ValueError("looks like a phone or identity number; needs a keyed pseudonym")
    return value


Token = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,63}$"),
    AfterValidator(_no_clear_number),
]
"""A pseudonym, a name of a place or of a thing; never a person's data."""
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/+-]{0,79}$")]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class Action(enum.StrEnum):
    """Actions that the lending features know by name; others are allowed and count as events."""

    VIEW = "view"
    SEARCH = "search"
    LIST = "list"
    EXPORT = "export"
    UNMASK = "unmask"
    BREAK_GLASS = "break_glass"
    APPROVE = "approve"
    PAY = "pay"
    LOGIN = "login"


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(_Line):
    """One act of one member of staff."""

    event_id: Token = Field(description="Unique for ever; the same id again is the same event.")
    at: AwareDatetime = Field(description="When it happened, with its offset; kept as UTC.")
    staff: Token = Field(description="Pseudonym of who acted.")
    action: Word = Field(description="What was done: view, search, list, export, unmask, approve, …")
    role: Word | None = Field(default=None, description="Role at that time; without it the register's.")
    branch: Word | None = Field(default=None, description="Branch at that time; without it the register's.")
    terminal: Token | None = Field(default=None, description="Terminal or device.")
    site: Word | None = Field(default=None, description="Site whose entrance took it.")
    system: Word = Field(default="portal", description="Which registered system reports it.")
    customer: Token | None = Field(default=None, description="Keyed pseudonym of the customer.")
    fields: tuple[Word, ...] = Field(default=(), max_length=64, description="Personal fields shown.")
    purpose: Word | None = Field(default=None, description="Purpose that was stated.")
    assigned: bool | None = Field(default=None, description="Whether the customer was assigned to them.")
    rows: Count = Field(default=0, description="Rows exported.")
    dwell_ms: Annotated[int, Field(ge=0, le=86_400_000)] | None = Field(
        default=None, description="Milliseconds that the page was in front."
    )
    result: Literal["ok", "denied", "not_found", "failed"] = "ok"
    case_id: Token | None = Field(default=None, description="Case, application or ticket worked on.")


class StaffEntry(_Line):
    """One member of staff as the personnel register has them."""

    staff: Token
    role: Word
    branch: Word
    joined_on: dt.date | None = None
    role_since: dt.date | None = Field(default=None, description="Own baseline starts anew from here.")
    notice_on: dt.date | None = Field(default=None, description="Has given or got notice: watch list.")
    left_on: dt.date | None = Field(default=None, description="First day on which nothing may happen.")
    dormant_since: dt.date | None = Field(default=None, description="Account unused since; not to be used.")
    criticality: Literal["low", "medium", "high", "extreme"] = "medium"


class CustomerEntry(_Line):
    """What the features need to know of a customer: nothing personal."""

    customer: Token
    branch: Word
    segment: Word
    state: Literal["active", "closed", "declined", "dormant"] = "active"
    listed: bool = Field(default=False, description="A public figure, or otherwise on the guarded list.")


class RelationEntry(_Line):
    """A member of staff and a customer who know each other in private life (or are the same person)."""

    staff: Token
    customer: Token
    relation: Literal["self", "family", "colleague", "neighbour", "former_partner"]


MODELS: dict[Record, type[_Line]] = {
    "event": Event,
    "staff": StaffEntry,
    "customer": CustomerEntry,
    "relation": RelationEntry,
}
KEYS: Mapping[str, tuple[str, ...]] = {
    "staff": ("staff",),
    "customer": ("customer",),
    "relation": ("staff", "customer"),
}
"""What names an entry of a register."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a line was not taken; `field` is empty when the line as a whole is wrong. No value is repeated."""

    field: str
    reason: str


def json_schema(record: Record = "event") -> dict[str, Any]:
    """Return the published JSON Schema (2020-12) of one kind of line."""
    return MODELS[record].model_json_schema()


def read_line(record: Record, line: str) -> _Line | tuple[Fault, ...]:
    """Return what one JSON line says, or every fault of it."""
    try:
        return MODELS[record].model_validate_json(line)
    except ValidationError as error:
        return faults_of(error)


def read_cells(record: Record, cells: Mapping[str, str]) -> _Line | tuple[Fault, ...]:
    """Return what one CSV row says (empty cells are left out, lists are separated by `;`), or its faults."""
    values: dict[str, Any] = {name: value for name, value in cells.items() if value}
    if "fields" in values:
        values["fields"] = tuple(values["fields"].split(";"))
    try:
        return MODELS[record].model_validate(values)
    except ValidationError as error:
        return faults_of(error)


def find_skew(event: Event, received_at: dt.datetime, ingest: IngestSettings) -> tuple[Fault, ...]:
    """Return a fault when no clock that is right within bounds can have written the event's time.

    A clock that is slow by less cannot be told from an event that comes late: it is taken as that.
    """
    early_s = round((event.at - received_at).total_seconds())
    if early_s > ingest.ahead_s:
        return (Fault("at", f"lies {early_s} s in the future; clocks may differ by {ingest.ahead_s} s"),)
    if -early_s > ingest.behind_days * 86_400:
        return (Fault("at", f"lies {-early_s // 86_400} days back; at most {ingest.behind_days} are taken"),)
    return ()


def faults_of(error: ValidationError) -> tuple[Fault, ...]:
    """Return what is wrong by field; no value is repeated."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return tuple(Fault(".".join(str(step) for step in one["loc"]), one["msg"]) for one in found)
