"""Request bodies and answers of reviews of staff behaviour. Pure."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from core_app.api import risk_bodies
from core_app.api.access_bodies import Instant, StaffName
from core_app.api.bodies import REQUEST
from core_app.staff.reviews import ALLOWED_DAYS

CaseId = Annotated[str, Field(pattern=r"^W-[0-9a-f]{32}$", examples=["W-0123456789abcdef0123456789abcdef"])]
Subject = Annotated[
    str, Field(description="Keyed token of a member of staff.", examples=["e0123456789abcdef0123"])
]
Day = Annotated[str, Field(examples=["2026-04-30"])]
Why = Annotated[
    Literal["fresh", "slow", "watched", "random"],
    Field(description="Fresh evidence, accumulated evidence, a watch list, or drawn at random."),
]
Disposition = Annotated[
    Literal["malicious", "policy_breach", "explained", "data_fault", "role_change"],
    Field(description="What the review found."),
]
Level = Literal["unknown", "low", "moderate", "high", "critical"]


def _check_comment(text: str | None) -> str | None:
    """Keep numbers of persons out of the audit chain: a phone has 11 digits, an ID 18.

    >>> _check_comment("call 138 0013 8000")
    Traceback (most recent call last):
    ValueError: needs a text without numbers of persons
    """
    if text is not None and re.search(r"\d{8}", re.sub(r"[\s-]", "", text)):
        raise ValueError("needs a text without numbers of persons")
    return text


Comment = Annotated[
    str,
    Field(
        min_length=1,
        max_length=500,
        description="What the reviewer says beside the step; no personal data.",
        examples=["A campaign of the branch; the manager showed its plan."],
    ),
]
Kind = Literal["open", "propose", "confirm", "reject", "ask_unmask", "approve_unmask"]


class ActRequest(BaseModel):
    """One step of a review. Who proposes a disposition cannot confirm or reject it."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "propose", "disposition": "explained", "family": "volume",
                          "until": "2026-05-31"}]
        }
    )  # fmt: skip
    kind: Literal["open", "propose", "confirm", "reject"]
    disposition: Disposition | None = Field(default=None, description="Of a proposal only.")
    family: Annotated[str, Field(pattern=r"^[a-z_]{2,40}$")] | None = Field(
        default=None, description="The kind of behaviour that is explained, as its reason names it."
    )
    until: risk_bodies.Day | None = Field(
        default=None,
        description=f"Last day on which the explanation holds, at most {ALLOWED_DAYS} days after the case's.",
    )
    comment: Annotated[Comment | None, AfterValidator(_check_comment)] = None


class ActAnswer(BaseModel):
    """One step that was taken."""

    number: int = Field(examples=[1])
    kind: Kind
    done_by: StaffName
    disposition: Disposition | None = None
    family: str | None = Field(default=None, examples=["volume"])
    until: Day | None = None
    comment: Comment | None = None
    at: Instant


class CaseAnswer(BaseModel):
    """A case as the list shows it. `state`: nobody began, somebody did, two people decided."""

    case_id: CaseId
    day: Day
    subject: Subject
    place: int = Field(description="Place in the day's queue.", examples=[1])
    why: Why
    score: float = Field(examples=[91.4])
    level: Level
    state: Literal["waiting", "open", "closed"]
    disposition: Disposition | None = None
    proposed_by: StaffName | None = None
    confirmed_by: StaffName | None = None


class CaseList(BaseModel):
    """Cases, the newest day first, in the order of the queue."""

    cases: list[CaseAnswer]


class CaseDetail(CaseAnswer):
    """A case with its reasons, rules, what was done about it, and who learnt the name."""

    unmasked_by: list[StaffName]
    acts: list[ActAnswer]
    document: dict[str, Any] = Field(
        description="Role, branch, rules, ordered reasons (value, own usual, peers' usual, since when, log "
        "lines), the day's events.",
        examples=[{"role": "clerk", "branch": "b001", "rules": [], "today": [], "accumulated": []}],
    )


class TimelineAnswer(BaseModel):
    """A subject over time: earlier cases with their reviews, and the day's events in order."""

    subject: Subject
    cases: list[CaseAnswer]
    events: list[dict[str, Any]] = Field(examples=[[{"at": "2026-04-30T01:02:03Z", "action": "view"}]])
    events_left_out: int = Field(examples=[0])


class UnmaskingAnswer(BaseModel):
    """Whose token the subject is, told to two people."""

    subject: Subject
    staff: StaffName
    asked_by: StaffName
    approved_by: StaffName


class BurdenRow(BaseModel):
    """How reviews fall on a role and branch: who bears those that find nothing."""

    role: str = Field(examples=["clerk"])
    branch: str = Field(examples=["b001"])
    cases: int = Field(examples=[12])
    subjects: int = Field(examples=[9])
    closed: int = Field(examples=[10])
    without_finding: int = Field(description="Closed as explained, data fault or role change.", examples=[8])


class BurdenList(BaseModel):
    """The burden of the last days, by role and branch."""

    burden: list[BurdenRow]


class WatchedAnswer(BaseModel):
    """Somebody on a watch list, since when."""

    subject: Subject
    since: Day


class WatchList(BaseModel):
    """The watch list as of the newest published day; without a day nothing was published."""

    day: Day | None
    watched: list[WatchedAnswer]
