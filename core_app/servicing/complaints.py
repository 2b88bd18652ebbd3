"""A complaint's clocks and what may be done with it next. Pure.

Two clocks run: the first answer, in hours, day and night, and the decision, in days from receipt (15; 30 for
a complex case; 60 with the approval of headquarters). Where the last day is no working day, the working day
before it counts: whoever reads the law's days one way or the other, it is kept.
"""

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass

from core_app.business_calendar import business_date_at
from core_app.products.model import Product
from core_app.rules.legal import Rulebook
from core_app.servicing.workdays import Workdays


class Source(enum.StrEnum):
    """How a complaint came in."""

    HOTLINE = "hotline"
    WEB = "web"
    OPINION = "opinion"


class Act(enum.StrEnum):
    """What is done with a complaint; the last two are a machine's, too."""

    FIRST_ANSWER = "first_answer"
    EXTEND_COMPLEX = "extend_complex"
    EXTEND_SPECIAL = "extend_special"
    DRAFT = "draft"
    RELEASE = "release"
    REOPEN = "reopen"
    ESCALATE = "escalate"
    CLOSE = "close"


class State(enum.StrEnum):
    """Where a complaint stands: to be decided, decided and told, closed."""

    OPEN = "open"
    REPLIED = "replied"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Clocks:
    """When a complaint has to be answered (aware), and the last days of its decision."""

    first_answer_by: dt.datetime
    simple_by: dt.date
    complex_by: dt.date
    special_by: dt.date


@dataclass(frozen=True, slots=True)
class Done:
    """An act that is on record: what, by whom (`machine` or one of the staff)."""

    act: Act
    by: str


def compute_clocks(
    rulebook: Rulebook, workdays: Workdays, received_at: dt.datetime, product: Product | None
) -> Clocks:
    """Return the clocks of a complaint that came in at an instant, about a product's loan or none."""
    day = business_date_at(received_at)
    hours = int(rulebook.value("complaint.first_answer", day))
    days = int(rulebook.value("complaint.days", day))
    if product is not None:
        hours = min(hours, product.servicing.complaint_hours)
        days = min(days, product.servicing.complaint_days)

    def last_day(count: int) -> dt.date:
        return max(day, workdays.last_until(day + dt.timedelta(days=count)))

    return Clocks(
        received_at + dt.timedelta(hours=hours),
        last_day(days),
        last_day(int(rulebook.value("complaint.days.complex", day))),
        last_day(int(rulebook.value("complaint.days.special", day))),
    )


def find_act_fault(state: State, done: Sequence[Done], wanted: Done) -> str | None:
    """Return why an act is not possible now, or None. A reply is drafted by one and released by another."""
    acts = [one.act for one in done]
    since_reopened = done[acts_after_reopening(acts) :]
    drafts = [one.by for one in since_reopened if one.act is Act.DRAFT]
    if state is State.CLOSED:
        return "it is closed: a new complaint is needed"
    match wanted.act:
        case Act.FIRST_ANSWER if Act.FIRST_ANSWER in acts:
            return "it was answered first before"
        case Act.EXTEND_COMPLEX if Act.EXTEND_COMPLEX in acts:
            return "it was extended as complex before"
        case Act.EXTEND_SPECIAL if Act.EXTEND_COMPLEX not in acts or Act.EXTEND_SPECIAL in acts:
            return "needs one extension as complex before, and no other as special"
        case Act.DRAFT | Act.RELEASE | Act.EXTEND_COMPLEX | Act.EXTEND_SPECIAL if state is not State.OPEN:
            return "it is decided: reopen it first"
        case Act.RELEASE if not drafts:
            return "there is no draft to release"
        case Act.RELEASE if drafts[-1] == wanted.by:
            return "whoever drafted a reply does not release it: it takes another person"
        case Act.REOPEN | Act.CLOSE if state is not State.REPLIED:
            return "it is not decided yet"
    return None


def acts_after_reopening(acts: Sequence[Act]) -> int:
    """Return the place after the newest reopening, 0 when it was never reopened."""
    places = [place for place, act in enumerate(acts) if act is Act.REOPEN]
    return places[-1] + 1 if places else 0


def next_state(state: State, act: Act) -> State:
    """Return where a complaint stands after an act."""
    return {Act.RELEASE: State.REPLIED, Act.REOPEN: State.OPEN, Act.CLOSE: State.CLOSED}.get(act, state)
