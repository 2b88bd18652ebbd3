"""The contact limits: whether a debtor may be contacted now, in this way, with these words. Pure.

Every limit is a rule of stage `contact` in `core_app/rules/parameters.yaml`, with its source and its days;
here is only what they measure. A contact that a rule refuses is recorded with the rule's id and not made.
"""

import datetime as dt
import enum
from dataclasses import dataclass

from core_app.business_calendar import SHANGHAI
from core_app.products.parameters.conduct import Collection
from core_app.rules.engine import Found, Measures, Refusal, judge
from core_app.rules.legal import Rulebook, Stage

_MINUTES_A_DAY = 24 * 60


class Channel(enum.StrEnum):
    """How somebody is contacted. The first two are calls; the last is on paper."""

    VOICE_ROBOT = "voice_robot"
    PERSON = "person"
    SMS = "sms"
    LETTER = "letter"


VOICE = frozenset({Channel.VOICE_ROBOT, Channel.PERSON})
"""Each of these is a voice contact, effective when it is answered."""
DEBTOR, CONTACT_PERSON = "debtor", "contact_person"


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact that somebody wants to make: how, with whom, when (aware), in which words."""

    channel: Channel
    whom: str
    at: dt.datetime
    text: str


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the debtor, over all loans, and of this loan, when a contact is asked for.

    Counts are of the Shanghai day of the contact and leave the contact itself out. A call that was let
    through and has no outcome yet counts as effective: it may be.
    """

    overdue_fen: int
    voice_today: int
    messages_today: int
    """Let through today by the wanted channel; of calls nothing is asked."""
    unanswered: int
    """Calls to the debtor since one was last answered."""
    person_refused: bool
    """A contact person said that they want no further contact."""
    rest_until: dt.date | None
    """Last day of the rest after a request for hardship."""


def count_quiet_minutes(at: dt.datetime, hours: tuple[int, int]) -> int:
    """Return how many minutes `at` lies inside quiet hours that begin and end at these o'clock; 0 outside.

    ValueError when `at` is not aware. The hour of the end is outside, that of the beginning inside.

    >>> count_quiet_minutes(dt.datetime(2026, 1, 15, 14, 0, tzinfo=dt.UTC), (22, 8))
    1
    """
    if at.tzinfo is None:
        raise ValueError("instant without time zone: needs an aware datetime")
    local = at.astimezone(SHANGHAI)
    minute = local.hour * 60 + local.minute
    begins, ends = hours[0] * 60, hours[1] * 60
    if begins <= minute:
        return minute - begins + 1
    return minute + _MINUTES_A_DAY - begins + 1 if minute < ends else 0


def measure_contact(rulebook: Rulebook, limits: Collection, contact: Contact, history: History) -> Measures:
    """Return what a contact measures, for the rules of its day."""
    day = contact.at.astimezone(SHANGHAI).date()
    law = (int(rulebook.value("collect.quiet_from", day)), int(rulebook.value("collect.quiet_until", day)))
    own = (limits.quiet_from_hour, limits.quiet_until_hour)
    quiet = (min(law[0], own[0]), max(law[1], own[1]))
    voice = history.voice_today + 1
    by_voice = contact.channel in VOICE and contact.whom == DEBTOR
    rest_days = (history.rest_until - day).days + 1 if history.rest_until else 0
    return {
        "contact.minutes_in_quiet_hours": (Found("contact.at", count_quiet_minutes(contact.at, quiet)),),
        "collection.voice_per_day": (Found("contact.channel", voice),) if by_voice else (),
        "contact.voice_over_product": (
            (Found("contact.channel", max(0, voice - limits.voice_per_day)),) if by_voice else ()
        ),
        "contact.whom": (Found("contact.whom", contact.whom),),
        "contact.person_grounds_missing": (
            (Found("contact.whom", _count_missing_grounds(rulebook, limits, contact, history)),)
            if contact.whom != DEBTOR
            else ()
        ),
        "contact.messages_today": (
            () if contact.channel in VOICE else (Found("contact.channel", history.messages_today + 1),)
        ),
        "contact.overdue_fen": (Found("contact.loan_id", history.overdue_fen),),
        "contact.rest_days_left": (Found("contact.loan_id", max(0, rest_days)),),
        "contact.text": (Found("contact.text", contact.text.lower()),),
    }


def _count_missing_grounds(rulebook: Rulebook, limits: Collection, contact: Contact, history: History) -> int:
    day = contact.at.astimezone(SHANGHAI).date()
    grounds = (
        limits.contact_person == "if_unreachable",
        history.unanswered >= rulebook.value("collect.unreachable_after", day),
        not history.person_refused,
        contact.channel is Channel.PERSON,
    )
    return grounds.count(False)


def judge_contact(
    rulebook: Rulebook, limits: Collection, contact: Contact, history: History
) -> tuple[Refusal, ...]:
    """Return what the rules refuse of a contact, in the order of their ids; nothing: it may be made."""
    measures = measure_contact(rulebook, limits, contact, history)
    refusals = judge(rulebook, Stage.CONTACT, measures, contact.at.astimezone(SHANGHAI).date())
    # The words themselves stay out of records: what a script says is known by its version.
    return tuple(
        Refusal(one.rule, one.path, "a phrase of the list", one.limit, one.on, one.source, one.status)
        if one.path == "contact.text"
        else one
        for one in refusals
    )
