"""Request bodies and answers of the staff portal. Pure."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core_app.staff.looks import CLEAR_PURPOSES, PERSONAL, Purpose

_REQUEST = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

PersonalField = Literal["name", "id_number", "phone"]
LookPurpose = Annotated[
    Purpose, Field(strict=False, description="What the look is for.", examples=["customer_request"])
]
CaseId = Annotated[
    str,
    Field(
        pattern=r"^[A-Z]{2,8}-[0-9]{1,10}$",
        description="The case it belongs to. Of a form that no personal value fits.",
        examples=["TS-20260115"],
    ),
]
_FIELDS = Field(min_length=1, max_length=len(PERSONAL), description="Personal fields to show.")


class LookRequest(BaseModel):
    """Why somebody looks, and at which personal fields; they come masked."""

    model_config = _REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"purpose": "customer_request", "case_id": "TS-20260115"}]}
    )
    purpose: LookPurpose
    fields: Annotated[list[PersonalField], _FIELDS] = ["name", "id_number", "phone"]
    case_id: CaseId | None = None


class UnmaskRequest(BaseModel):
    """Why clear values are needed, and which."""

    model_config = _REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"purpose": "collection", "fields": ["phone"]}]}
    )
    purpose: Annotated[LookPurpose, Field(description="One of: " + ", ".join(sorted(CLEAR_PURPOSES)) + ".")]
    fields: Annotated[list[PersonalField], _FIELDS]
    case_id: CaseId | None = None


class EndRequest(BaseModel):
    """How long the values were on the screen, as the page measured it."""

    model_config = _REQUEST | ConfigDict(json_schema_extra={"examples": [{"dwell_ms": 8200}]})
    dwell_ms: int = Field(ge=0, le=86_400_000)


class PersonAnswer(BaseModel):
    """The personal fields that were asked for; masked unless the look is a clear one."""

    name: str | None = Field(default=None, examples=["张*"])
    id_number: str | None = Field(default=None, examples=["110***********002X"])
    phone: str | None = Field(default=None, examples=["138****8000"])


class LookAnswer(BaseModel):
    """What a look shows, and the id of its record: the page ends the look by it."""

    look_id: str
    subject: Literal["customer", "loan", "application"]
    subject_id: str = Field(examples=["C0123456789abcdef01234567"])
    customer_id: str
    clear: bool
    person: PersonAnswer
    facts: dict[str, Any] = Field(
        description="Of a loan: contract, product, day, principal, balance. Of an application: product, "
        "amount, periods, decision, limit, day. Of a customer: nothing.",
        examples=[{}],
    )


class LookRecord(BaseModel):
    """A look as recorded; without `dwell_ms` its page never said that it ended."""

    look_id: str
    staff: str = Field(examples=["li.wei"])
    role: str | None = Field(examples=["service"])
    branch: str | None = Field(examples=["branch-7"])
    kind: Literal["view", "unmask", "search_hit", "list_row", "export_row"]
    assigned: bool | None = Field(description="Whether the customer was theirs.")
    subject: Literal["customer", "loan", "application"]
    subject_id: str = Field(examples=["C0123456789abcdef01234567"])
    customer_id: str | None = Field(description="Null: there was no such subject, nothing was shown.")
    fields: list[str] = Field(examples=[["name", "id_number", "phone"]])
    clear: bool
    purpose: str = Field(examples=["customer_request"])
    case_id: str | None = Field(examples=["TS-20260115"])
    site: str = Field(examples=["idc"], description="The site whose entrance answered.")
    address: str | None = Field(examples=["192.0.2.7"], description="Peer address of the request.")
    terminal: str | None = Field(examples=["branch-7-12"])
    at: str = Field(examples=["2026-01-15T02:03:04.000005+00:00"])
    dwell_ms: int | None = Field(examples=[8200], description="As the page says.")
    elapsed_ms: int | None = Field(
        examples=[8310], description="From the look to its end by the cell's clock: more is no dwell."
    )
    last_beat_ms: int | None = Field(
        examples=[8000], description="The dwell that the page reported last while it was open."
    )


class LookList(BaseModel):
    """Records of looks, the newest first."""

    looks: list[LookRecord]


LookIds = Annotated[
    list[Annotated[str, Field(max_length=64, examples=["S1f3-0123456789abcdef0123456789abcdef"])]],
    Field(min_length=1, max_length=200),
]
CustomerIds = Annotated[
    list[Annotated[str, Field(pattern="^C[0-9a-f]{24}$", examples=["C0123456789abcdef01234567"])]],
    Field(min_length=1, max_length=200),
]


class BeatRequest(BaseModel):
    """Looks that are still on the screen, and since when."""

    model_config = _REQUEST
    look_ids: LookIds
    dwell_ms: int = Field(ge=0, le=86_400_000, examples=[30_000])


class BeatAnswer(BaseModel):
    """How many of them are one's own and open."""

    noted: int = Field(ge=0)


class SearchRequest(BaseModel):
    """A whole number of a person that is looked for, and why."""

    model_config = _REQUEST
    by: Literal["phone", "id_number"]
    value: Annotated[str, Field(min_length=8, max_length=40, examples=["13800138000"])]
    purpose: LookPurpose
    case_id: CaseId | None = None


class AssignedRequest(BaseModel):
    """Why one looks at one's own list."""

    model_config = _REQUEST
    purpose: LookPurpose
    case_id: CaseId | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class RowAnswer(BaseModel):
    """One customer of a page; strictly masked."""

    look_id: str
    customer_id: str
    person: PersonAnswer


class PageAnswer(BaseModel):
    """A page of customers, as recorded."""

    page_id: str = Field(examples=["S000-0123456789abcdef0123456789abcdef"])
    rows: list[RowAnswer]


class ExportRequest(BaseModel):
    """Which customers are taken out, and why; without ids one's own list."""

    model_config = _REQUEST
    purpose: LookPurpose
    case_id: CaseId
    customer_ids: CustomerIds | None = None


class ExportAnswer(BaseModel):
    """The export. `csv` holds customer_id, name, id_number and phone, strictly masked."""

    page_id: str = Field(examples=["S000-0123456789abcdef0123456789abcdef"])
    csv: str = Field(examples=["# Biyi export, masked."])


class AssignmentRequest(BaseModel):
    """Whose customers these are, and for how long."""

    model_config = _REQUEST
    staff: Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{1,39}$", examples=["li.wei"])]
    customer_ids: CustomerIds
    days: Annotated[int, Field(ge=0, le=90, description="0 ends it.")] = 30


class AssignmentAnswer(BaseModel):
    """The customers that exist and were assigned."""

    assigned: list[str] = Field(examples=[["C0123456789abcdef01234567"]])
