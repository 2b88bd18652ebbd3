"""Request bodies and answers about decisions, limits and windows. Pure."""

import datetime as dt
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from core_app.api.bodies import REQUEST, DeviceEvidence, Purpose, ReasonAnswer, Text
from core_app.money import MAX_FEN


def _need_written_day(value: object) -> object:
    """Refuse what pydantic would take for a day beside a written one: seconds of an epoch, an instant."""
    if not isinstance(value, str) or not _WRITTEN_DAY.fullmatch(value):
        raise ValueError("needs a text such as 2026-12-31")
    return value


_WRITTEN_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
Day = Annotated[dt.date, Field(strict=False), BeforeValidator(_need_written_day)]
Staff = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{1,39}$")]


class WindowsRequest(BaseModel):
    """Device evidence to be looked up."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"evidence": {"ip": "203.0.113.7"}, "minutes": 60}]}
    )
    evidence: DeviceEvidence
    minutes: int = Field(default=60, gt=0, le=1440, description="How far back to count.")


class LimitRequest(BaseModel):
    """A limit that staff sets at one level of a customer's tree; with days it is a temporary increase."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "C0123456789abcdef01234567",
                    "level": "product",
                    "product": "instalment-12",
                    "amount_fen": 3000000,
                    "reason": "income fell",
                    "staff": "li.wei",
                }
            ]
        }
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    level: Literal["customer", "group", "product", "scene"]
    product: Text | None = Field(default=None, description="The product whose path has the node.")
    amount_fen: Annotated[int, Field(ge=0, le=MAX_FEN)] | None = Field(
        default=None, description="In fen; absent: what was set is taken away."
    )
    temporary_from: Day | None = Field(default=None, description="First business date of an increase.")
    temporary_to: Day | None = Field(default=None, description="Last business date of an increase.")
    reason: Text = Field(description="Why, without personal data.")
    staff: Staff = Field(description="Who sets it.")


class SegmentRequest(BaseModel):
    """The segment that a customer is in for some days."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "C0123456789abcdef01234567",
                    "segment": "returning",
                    "first_day": "2026-12-01",
                    "last_day": "2027-11-30",
                    "reason": "settled two loans, never past due",
                    "staff": "li.wei",
                }
            ]
        }
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    segment: Purpose | None = Field(description="A segment that exists on its first day; null: none.")
    first_day: Day | None = Field(default=None, description="First business date; absent: today.")
    last_day: Day | None = Field(default=None, description="Last business date; absent: no end.")
    reason: Text = Field(description="Why, without personal data.")
    staff: Staff = Field(description="Who sets it; another person has to approve.")


class CouponRequest(BaseModel):
    """A coupon to be issued to a customer."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "C0123456789abcdef01234567",
                    "kind": "fifty_off",
                    "valid_from": "2026-12-01",
                    "valid_to": "2026-12-31",
                    "reason": "first loan",
                    "staff": "li.wei",
                }
            ]
        }
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    kind: Purpose = Field(description="A kind of coupon that may be issued today.")
    valid_from: Day | None = Field(default=None, description="First business date of use; absent: today.")
    valid_to: Day = Field(description="Last business date of use.")
    reason: Text = Field(description="Why, without personal data.")
    staff: Staff = Field(description="Who issues it; another person has to approve.")


class PreScreenRequest(BaseModel):
    """A customer that staff puts on the list of a product, or takes off it."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "C0123456789abcdef01234567",
                    "product": "instalment-12",
                    "listed": True,
                    "valid_to": "2026-12-31",
                    "reason": "invited: twelve months on time",
                    "staff": "li.wei",
                }
            ]
        }
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    product: Text = Field(
        description="A product on sale; its list counts where its first step is pre_screen."
    )
    listed: bool = Field(description="On the list from today on, or off it.")
    valid_to: Day | None = Field(default=None, description="Last business date on the list; absent: no end.")
    reason: Text = Field(description="Why, without personal data.")
    staff: Staff = Field(description="Who sets it.")


class StrategyRequest(BaseModel):
    """The model that is to decide, and from which business date on."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "credit-challenger",
                    "valid_from": "2026-12-01",
                    "reason": "fewer late loans among those let in",
                    "staff": "li.wei",
                }
            ]
        }
    )
    model: Text = Field(description="The champion or the challenger of the policy (`biyi risk models`).")
    valid_from: Day = Field(description="First business date, two days on or later, the same in every cell.")
    reason: Text = Field(description="Why, without personal data.")
    staff: Staff = Field(description="Who asks; another person has to approve.")


class VoidRequest(BaseModel):
    """The contract to give up; it was signed and not drawn."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"contract_id": "K1f3-0123456789abcdef0123456789abcdef"}]}
    )
    contract_id: Text = Field(description="As answered by POST /v1/contracts.")


class StepAnswer(BaseModel):
    """One step of a decision; `facts` are what it rested on, with model and variable versions."""

    step: str = Field(examples=["pre_screen", "identity", "fraud", "score"])
    outcome: str = Field(examples=["passed", "refused", "over_budget", "skipped"])
    elapsed_us: int
    budget_ms: int
    reasons: list[ReasonAnswer]
    facts: dict[str, Any]


class DecidedAnswer(BaseModel):
    """An application as it was decided, step by step."""

    application_id: str
    customer_id: str
    product: str
    product_version: int
    amount_fen: int
    periods: int
    decision: str
    reasons: list[ReasonAnswer]
    limit_fen: int
    decided_on: str
    segment: str | None = Field(description="The segment that it was priced by.")
    steps: list[StepAnswer]


class WindowsAnswer(BaseModel):
    """Applications seen lately, by kind of evidence and cell; null where a cell could not be asked."""

    minutes: int
    counts: dict[str, dict[str, int | None]]
    source: dict[str, str | None] = Field(examples=[{"a": "cache", "b": "primary"}])
    age_ms: dict[str, int | None]


class LimitSetAnswer(BaseModel):
    """A limit as it was set."""

    customer_id: str
    node: str = Field(examples=["product:instalment-12"])
    temporary: bool
    amount_fen: int | None
    valid_from: str
    valid_to: str | None


class PreScreenAnswer(BaseModel):
    """A customer's place on a product's list, or that it has none."""

    customer_id: str
    product: str = Field(examples=["instalment-12"])
    listed: bool
    valid_from: str
    valid_to: str | None


class SegmentAnswer(BaseModel):
    """A customer's segment; of two rows for one day the later one counts."""

    customer_id: str
    segment: str | None = Field(examples=["returning"])
    first_day: str
    last_day: str | None


class CouponAnswer(BaseModel):
    """A coupon; `used_by` is the repayment that it was used in."""

    coupon_id: str = Field(examples=["V1f3-0123456789abcdef0123456789abcdef"])
    customer_id: str
    kind: str = Field(examples=["fifty_off"])
    benefit: dict[str, Any] = Field(examples=[{"gives": "amount_off_interest", "amount_fen": 5000}])
    valid_from: str
    valid_to: str
    used_by: str | None


class CouponsAnswer(BaseModel):
    """Every coupon of a customer, the first to end first."""

    customer_id: str
    coupons: list[CouponAnswer]


class RfmAnswer(BaseModel):
    """A customer's tier by recency, frequency and amount of draws, with what it rests on.

    Frequency and amount are those of `since`, the evening on which the tier or a fifth last changed.
    """

    customer_id: str
    on: str
    since: str | None
    tier: str = Field(examples=["core", "active", "ordinary", "dormant", "none"])
    recency_days: int | None = Field(description="Days from the last draw to `on`.")
    frequency: int
    amount_fen: int
    fifths: dict[str, int | None] = Field(examples=[{"recency": 5, "frequency": 3, "amount": 4}])
    version: int | None = Field(description="Version of the rule.")


class BackTestCounts(BaseModel):
    """What two models made of the same applications, and what became of the loans, in all cells."""

    decided: int
    passed_by_both: int
    passed_by_model_only: int
    passed_by_other_only: int
    loans_let_in: int = Field(description="Loans drawn of applications that the model lets in.")
    late_let_in: int = Field(description="Of these, ever past due or written off.")
    loans_kept_out: int = Field(description="Loans drawn of applications that the model refuses.")
    late_kept_out: int = Field(description="Of these, ever past due or written off.")


class BackTestAnswer(BackTestCounts):
    """A back-test of a model beside the other one, over the applications of so many days."""

    model: str = Field(examples=["credit-challenger"])
    other: str = Field(examples=["credit-main"])
    days: int


class StrategyAnswer(BaseModel):
    """The model that decides from a day on, what it was compared with, and the back-test."""

    number: int = Field(description="The highest of a date counts, in every cell.", examples=[1])
    model: str
    other: str
    valid_from: str
    back_test: BackTestCounts


class LimitNodeAnswer(BaseModel):
    """A node of the tree: the limit of law or document, what was set, what contracts hold, what is left."""

    node: str
    level: str
    document_fen: int | None
    set_fen: int | None
    temporary_fen: int
    limit_fen: int | None
    reserved_fen: int
    used_fen: int
    room_fen: int | None


class LimitsAnswer(BaseModel):
    """A customer's tree of limits on a business date, from the top."""

    customer_id: str
    on: str
    nodes: list[LimitNodeAnswer]


class VoidAnswer(BaseModel):
    """A contract that was given up, and what it no longer reserves."""

    contract_id: str
    customer_id: str
    released_fen: int
