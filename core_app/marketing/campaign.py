"""A campaign: which segment is told what, when, with which coupon, and the texts that may be said. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, model_validator

from core_app.errors import DocumentInvalid
from core_app.products.parameters.shapes import Group, Name
from core_app.rules.legal import Rulebook

MARKETING, PAGE_EVENTS = "marketing", "page_events"
"""The consents of their own kind: to be told of offers, and to be counted on our pages."""
MARKS = {"zh": ("【广告】", "关闭营销授权"), "en": ("[Advertisement]", "withdraw the marketing consent")}
"""What an advertisement bears: that it is one, and how to be told no more. Source: our choice of words."""
PHRASES = "ads.phrase"


class Message(Group):
    """One text of a campaign, in Chinese and in English, used from a day on."""

    id: Name
    first_day: dt.date = Field(alias="from")
    zh: Annotated[str, Field(min_length=10, max_length=500)]
    en: Annotated[str, Field(min_length=10, max_length=500)]

    @model_validator(mode="after")
    def _check(self) -> "Message":
        for language, marks in MARKS.items():
            if missing := [mark for mark in marks if mark not in getattr(self, language)]:
                raise ValueError(f"{language}: needs {', '.join(missing)}")
        return self

    @property
    def text(self) -> str:
        """Return what is sent."""
        return f"{self.zh}\n{self.en}"


MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(tuple[Message, ...])


def make_messages(rows: Sequence[Message], rulebook: Rulebook) -> Mapping[str, Message]:
    """Return messages by id; DocumentInvalid when one stands twice, or says what may not be promised."""
    for row in rows:
        banned = [r.value for r in rulebook.rows if r.key == PHRASES and r.holds_on(row.first_day)]
        for phrase in (one for value in banned if isinstance(value, tuple) for one in value):
            if phrase.lower() in row.text.lower():
                raise DocumentInvalid(f"message {row.id}: {phrase}, which {PHRASES} forbids")
    if len({row.id for row in rows}) != len(rows):
        raise DocumentInvalid("messages: an id stands twice")
    return {row.id: row for row in rows}


@dataclass(frozen=True, slots=True)
class Campaign:
    """Who is told what, when: customers of a segment, each once, from `first_day` to `last_day`.

    `coupon` is the kind that each is given with it; `least_points` the lowest marketing score, None for all.
    """

    campaign: str
    segment: str
    message: str
    medium: str
    coupon: str | None
    least_points: int | None
    first_day: dt.date
    last_day: dt.date
