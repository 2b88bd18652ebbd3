"""Request bodies and answers of complaints. Pure."""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from core_app.api.bodies import REQUEST, Text
from core_app.api.staff_bodies import PersonAnswer
from core_app.customers.identity import names_a_person

_CUSTOMER, _LOAN = "C0123456789abcdef01234567", "L1f3-0123456789abcdef0123456789abcdef"
_AT = "2026-01-15T02:03:04.000005+00:00"


def _refuse_people(text: str) -> str:
    if any(unicodedata.category(one) in {"Cc", "Cs"} and one != "\n" for one in text):
        raise ValueError("needs a text without control characters")
    if names_a_person(text):
        raise ValueError("needs a text without ID or mobile numbers")
    return text


Words = Annotated[str, Field(min_length=2, max_length=2000), AfterValidator(_refuse_people)]
About = Literal["fees", "collection", "service", "privacy", "fraud", "other"]


class ComplaintRequest(BaseModel):
    """A customer complains."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [{"customer_id": _CUSTOMER, "about": "fees", "words": "The fee was not shown to me."}]
        }
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    loan_id: Text | None = Field(default=None, description="The loan it is about, if it is about one.")
    about: About
    words: Words = Field(description="What happened, without names or numbers of people.")


class ComplaintAnswer(BaseModel):
    """The complaint's number and its clocks."""

    complaint_id: str
    first_answer_by: str = Field(examples=["2026-01-15T06:03:04.000005+00:00"])
    decide_by: str = Field(examples=["2026-01-30"])


class ActRequest(BaseModel):
    """What is done with a complaint."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"act": "first_answer", "words": "We called and heard the case."}]}
    )
    act: Literal["first_answer", "extend_complex", "draft", "release", "reopen", "close"]
    words: Words | None = Field(
        default=None,
        description="What is said, or why; a draft is the reply to this case. None to release or close.",
    )


class ExtensionRequest(BaseModel):
    """Why 30 days more are needed; takes the approval of headquarters."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"words": "Waiting for the court's finding."}]}
    )
    words: Words


class ActAnswer(BaseModel):
    """Where the complaint stands after it."""

    complaint_id: str
    act: str = Field(examples=["first_answer"])
    state: str = Field(examples=["open"])
    decide_by: str = Field(examples=["2026-01-30"])


class ComplaintRow(BaseModel):
    """A complaint as the list shows it: no words, nobody's."""

    complaint_id: str
    source: str = Field(examples=["hotline"])
    about: str = Field(examples=["fees"])
    received_at: str = Field(examples=[_AT])
    first_answer_by: str = Field(examples=[_AT])
    decide_by: str = Field(examples=["2026-01-30"])
    state: str = Field(examples=["open"])
    level: int = Field(examples=[0], description="0 in time, 1 first answer late, 2 near its end, 3 over it.")
    first_answered_at: str | None = Field(examples=[_AT])
    replied_at: str | None = Field(examples=[_AT])


class ComplaintList(BaseModel):
    """Complaints of all cells, the most urgent first."""

    complaints: list[ComplaintRow]


class ComplaintShown(ComplaintRow):
    """A complaint with its words and all that was done with it."""

    customer_id: str | None = Field(description="Null: a public post, nobody knows whose.")
    loan_id: str | None = Field(examples=[_LOAN])
    words: str | None = Field(examples=["The fee was not shown to me."])
    reference: str | None = Field(examples=["heimao/17000000001"])
    staff: str | None = Field(examples=["li.wei"])
    acts: list[dict[str, Any]] = Field(
        examples=[[{"number": 1, "act": "first_answer", "staff": "li.wei", "words": "...", "level": None,
                    "at": _AT}]]
    )  # fmt: skip


class ComplaintLook(BaseModel):
    """A complaint, who complains (masked), and the look that shows it; a public post is nobody's."""

    look_id: str | None
    customer_id: str | None
    person: PersonAnswer
    complaint: ComplaintShown
