"""Request bodies and answers of collections. Pure."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core_app.api.bodies import REQUEST, Purpose, Text
from core_app.api.risk_bodies import Day
from core_app.money import MAX_FEN

_LOAN = "L1f3-0123456789abcdef0123456789abcdef"
_CONTACT = "U1f3-0123456789abcdef0123456789abcdef"


class WorklistRequest(BaseModel):
    """How many rows are wanted."""

    model_config = REQUEST | ConfigDict(json_schema_extra={"examples": [{"limit": 20}]})
    limit: int = Field(default=20, ge=1, le=100, description="At most so many rows.")


class TaskRow(BaseModel):
    """A call to be made, the look that shows it, and the loan's facts."""

    look_id: str
    task_id: str
    loan_id: str
    customer_id: str
    script: str = Field(examples=["person_opening"])
    days_past_due: int = Field(examples=[4], description="On the day that the task is for.")
    for_day: str = Field(examples=["2026-02-19"])
    facts: dict[str, Any] = Field(
        description="Contract, product, day of the draw, principal and balance.", examples=[{}]
    )


class WorklistAnswer(BaseModel):
    """One's open calls, the oldest first."""

    page_id: str = Field(examples=["S000-0123456789abcdef0123456789abcdef"])
    rows: list[TaskRow]


class ContactRequest(BaseModel):
    """A call that a collector wants to make."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"loan_id": _LOAN, "script": "person_opening"}]}
    )
    loan_id: Text = Field(description="The overdue loan.")
    script: Purpose = Field(description="Which script is wanted; see core_app/servicing/scripts.yaml.")
    whom: Purpose = Field(default="debtor", description="Who is called: debtor or contact_person.")
    task_id: Text | None = Field(default=None, description="The row of the work list, if it is one.")


class RefusedBy(BaseModel):
    """A limit that forbids the call."""

    rule: str = Field(examples=["collect.hours"])
    found: str = Field(examples=["31"])
    limit: str = Field(examples=["<= 0 minutes inside the quiet hours"])
    source: str = Field(examples=["GB/T 45251-2025"])


class ContactAnswer(BaseModel):
    """Whether the call may be made; either way it is on record. With `allowed`, what may be said."""

    contact_id: str
    loan_id: str
    whom: str = Field(examples=["debtor"])
    at: str = Field(examples=["2026-02-19T02:03:04.000005+00:00"])
    allowed: bool
    refused_by: list[RefusedBy]
    script: str = Field(examples=["person_opening"])
    script_version: int = Field(examples=[2])
    words: str | None = Field(examples=["..."], description="Null where the call may not be made.")


class OutcomeRequest(BaseModel):
    """What came of a call."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"contact_id": _CONTACT, "outcome": "no_answer"}]}
    )
    contact_id: Text = Field(description="As answered by POST /v1/staff/collection/contacts.")
    outcome: Literal[
        "answered", "promised", "disputed", "hardship", "no_answer", "third_party", "wrong_number",
        "wants_no_contact",
    ]  # fmt: skip
    promised_on: Day | None = Field(default=None, description="With promised: the day.")
    promised_fen: Annotated[int, Field(gt=0, le=MAX_FEN)] | None = Field(
        default=None, description="With promised: the amount in fen."
    )


class OutcomeAnswer(BaseModel):
    """What was written down."""

    contact_id: str
    outcome: str = Field(examples=["promised"])
    promised_on: str | None
    promised_fen: int | None


class HardshipRequest(BaseModel):
    """A debtor in difficulty asks for a rest."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"loan_id": _LOAN, "reason": "income"}]}
    )
    loan_id: Text = Field(description="The loan that shall rest.")
    reason: Literal["income", "illness", "disaster", "other"]


class HardshipAnswer(BaseModel):
    """Until when nobody contacts the debtor about this loan."""

    loan_id: str
    rest_until: str = Field(examples=["2026-03-21"])
    reason: str = Field(examples=["income"])
