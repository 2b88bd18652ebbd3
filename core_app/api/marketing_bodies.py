"""Bodies and answers of campaigns and of events of our own pages. Pure."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from core_app.api.bodies import REQUEST, Purpose, Text
from core_app.api.risk_bodies import Day, Staff


def _need_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("needs a text such as 2026-12-31T08:00:00+08:00")
    return value


def _need_zone(instant: dt.datetime) -> dt.datetime:
    if instant.tzinfo is None:
        raise ValueError("needs its distance from UTC, such as +08:00")
    return instant


Instant = Annotated[dt.datetime, Field(strict=False), BeforeValidator(_need_text), AfterValidator(_need_zone)]


class PageEventRequest(BaseModel):
    """One step on our own pages: nothing that was typed or shown."""

    model_config = REQUEST
    name: Purpose = Field(description="A name of core_app/marketing/tracking.yaml.")
    at: Instant = Field(description="When, of the last seven days.")
    dwell_ms: int | None = Field(
        default=None, ge=0, le=86_400_000, description="How long the customer stayed."
    )


class PageEventsRequest(BaseModel):
    """A batch of what a customer did on our own pages, who agreed to be counted (source `page_events`)."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "C0123456789abcdef01234567",
                    "events": [
                        {"name": "offers_seen", "at": "2026-11-30T08:00:00+08:00", "dwell_ms": 5200},
                        {"name": "quote_seen", "at": "2026-11-30T08:00:06+08:00"},
                    ],
                }
            ]
        }
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    events: list[PageEventRequest] = Field(min_length=1, max_length=100)


class PageEventsAnswer(BaseModel):
    """How many events were kept, and the last day on which they are."""

    customer_id: str
    kept: int
    keep_until: str


class CampaignRequest(BaseModel):
    """A campaign: which customers are told what, once each."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "campaign": "winter-2026",
                    "segment": "returning",
                    "message": "coupon_waiting",
                    "medium": "app",
                    "coupon": "fifty_off",
                    "least_points": 400,
                    "first_day": "2026-12-01",
                    "last_day": "2026-12-31",
                    "reason": "winter offer",
                    "staff": "li.wei",
                }
            ]
        }
    )
    campaign: str = Field(pattern=r"^[a-z][a-z0-9-]{2,29}$", description="A name that was not used.")
    segment: Purpose = Field(description="Whose customers are told: a segment that exists on the first day.")
    message: Purpose = Field(description="What they are told: a text of core_app/marketing/messages.yaml.")
    medium: Literal["app", "sms"]
    coupon: Purpose | None = Field(default=None, description="The kind of coupon that each is given.")
    least_points: int | None = Field(
        default=None, ge=300, le=900, description="Lowest marketing score of who is told; absent: all."
    )
    first_day: Day = Field(description="First business date on which somebody is told.")
    last_day: Day = Field(description="Last one, and the last on which its coupons may be used.")
    reason: Text = Field(description="Why, without personal data.")
    staff: Staff = Field(description="Who asks; another person has to approve.")


class CampaignAnswer(BaseModel):
    """A campaign as it is kept in every cell."""

    campaign: str
    segment: str
    message: str
    medium: str
    coupon: str | None
    least_points: int | None
    first_day: str
    last_day: str
