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
    subject: Literal["customer", "loan", "application"]
    subject_id: str = Field(examples=["C0123456789abcdef01234567"])
    customer_id: str | None = Field(description="Null: there was no such subject, nothing was shown.")
    fields: list[str] = Field(examples=[["name", "id_number", "phone"]])
    clear: bool
    purpose: str = Field(examples=["customer_request"])
    case_id: str | None = Field(examples=["TS-20260115"])
    site: str = Field(examples=["idc"], description="The site whose entrance answered.")
    address: str | None = Field(examples=["192.0.2.7"], description="Peer address of the request.")
    terminal: str | None = Field(examples=["branch7-12"])
    at: str = Field(examples=["2026-01-15T02:03:04.000005+00:00"])
    dwell_ms: int | None = Field(examples=[8200], description="As the page says.")
    elapsed_ms: int | None = Field(
        examples=[8310], description="From the look to its end by the cell's clock: more is no dwell."
    )


class LookList(BaseModel):
    """Records of looks, the newest first."""

    looks: list[LookRecord]
