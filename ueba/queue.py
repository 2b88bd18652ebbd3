"""Who is looked at today: a fixed number of slots, ranked by what is new since the last review. Pure.

Some slots are for fresh evidence (today's, and what found no slot yesterday), some for accumulated evidence,
one a day at most for a watch list, a few for people drawn at random: only those tell how many misusers a
review would find anyway. A score itself is never lowered by a review.
"""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ueba.settings import QueueSettings


class Kind(enum.StrEnum):
    """Why somebody got a slot."""

    FRESH = "fresh"
    SLOW = "slow"
    WATCHED = "watched"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scored day says of a person, in digits of rarity."""

    day: int
    fresh: float
    slow: float
    kinds: Mapping[str, float] = field(default_factory=dict)
    """Today's digits of each kind of behaviour, and RULE_DIGITS for each rule that holds."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One person's evidence on the day, in digits of rarity."""

    staff: str
    fresh: float
    slow: float
    kinds: Mapping[str, float] = field(default_factory=dict)
    watched_since: int | None = None
    """Day on which the person came on a watch list (a leaver's notice); None: on none."""
    on: int | None = None
    """The day that `fresh` is of, when it is an earlier one."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The last review of a person: when, what was seen then, and how many there were lately."""

    day: int
    fresh: float
    slow: float
    days: tuple[int, ...] = ()
    open: bool = False
    """A case is open: it has its reviewer and needs no slot."""
    kinds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slot:
    """One review to be made; `digits` is the evidence that is new since the last review."""

    staff: str
    kind: Kind
    digits: float
    on: int | None = None
    """The day whose evidence earned a fresh slot, when it is an earlier one; None: the queue's day."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A day's slots in order, and who was passed over though ranked high enough, with the reason."""

    slots: tuple[Slot, ...]
    passed: Mapping[str, str] = field(default_factory=dict)


_FORGET_FRESH_DAYS, _FORGET_SLOW_DAYS = 14.0, 30.0
"""Half-lives in which reviewed evidence counts as new again. Source: our choice: a rest after a review, and
the month in which slow evidence has mostly faded by itself."""


RULE_DIGITS = 8.0
"""What a rule that holds counts for as a kind of behaviour. Source: settings, most_digits."""
WEEK_DAYS = 7
"""How long accumulated evidence stands while a person does not come in. Source: our choice, a week off."""


def compute_standing(
    staff: str,
    day: int,
    lately: Sequence[Scored],
    last: Reviewed | None,
    settings: QueueSettings,
    *,
    watched_since: int | None = None,
) -> Standing:
    """Return how a person stands on `day`; `lately` are the scored days of the last week, today's included.

    Fresh evidence that found no slot waits: it stands for `carry_days`, losing `carry_loss` digits a day,
    until a review has seen it.
    """
    since = day - settings.carry_days if last is None else max(day - settings.carry_days, last.day + 1)
    waiting = [one for one in lately if since <= one.day <= day]
    fresh, on = max(
        ((one.fresh - settings.carry_loss * (day - one.day), one.day) for one in waiting), default=(0.0, day)
    )
    newest = max(lately, key=lambda one: one.day, default=None)
    slow = newest.slow if newest is not None and day - newest.day <= WEEK_DAYS else 0.0
    kinds: Mapping[str, float] = {}
    for one in waiting:
        kinds = join_kinds(kinds, one.kinds)
    return Standing(staff, max(fresh, 0.0), slow, kinds, watched_since, None if on == day else on)


def join_kinds(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Return the greater digits of each kind of behaviour."""
    return {kind: max(one.get(kind, 0.0), other.get(kind, 0.0)) for kind in {*one, *other}}


def count_slots(staff: int, settings: QueueSettings) -> tuple[int, int, int]:
    """Return how many fresh, slow and random slots a day has; at least one slot in all.

    From five slots on at least one is drawn at random.
    """
    total = max(1, math.floor(staff * settings.budget_share + 1e-9))
    random = min(total - 1, math.ceil(total * settings.random_share)) if total >= 5 else 0
    slow = min(total - random - 1, round(total * settings.slow_share)) if total > 1 else 0
    return total - random - slow, slow, random


def decide_queue(
    day: int,
    people: Sequence[Standing],
    reviewed: Mapping[str, Reviewed],
    draw: Mapping[str, float],
    settings: QueueSettings,
) -> Queue:
    """Return the day's queue. `draw` is a random figure for each person, made from day and a seed.

    Equal evidence is ordered by the draw, so that no name is favoured.
    """
    fresh_slots, slow_slots, random_slots = count_slots(len(people), settings)
    passed: dict[str, str] = {}
    ready: list[tuple[Standing, float, float]] = []
    for one in people:
        last = reviewed.get(one.staff)
        reason = "" if last is None else _rests(day, one, last, settings)
        if reason:
            passed[one.staff] = reason
        else:
            ready.append((one, *_new(day, one, last, settings)))
    slots: list[Slot] = []
    taken: set[str] = set()

    def take(slot: Slot) -> None:
        slots.append(slot)
        taken.add(slot.staff)

    def fill(kind: Kind, count: int) -> None:
        # Without evidence nobody is looked at: a slot is left empty rather than spent on noise.
        found = [(fresh if kind is Kind.FRESH else slow, one) for one, fresh, slow in ready]
        ranked = sorted(found, key=lambda row: (-row[0], draw[row[1].staff]))
        for digits, one in [row for row in ranked if row[1].staff not in taken and row[0] > 0.0][:count]:
            take(Slot(one.staff, kind, digits, one.on if kind is Kind.FRESH else None))

    fill(Kind.FRESH, fresh_slots)
    due = [one.staff for one in people if _is_due(day, one, reviewed.get(one.staff), settings)]
    waiting = sorted((name for name in due if name not in taken), key=lambda name: draw[name])
    for name in waiting[: min(settings.watch_slots, max(slow_slots - 1, 0))]:
        take(Slot(name, Kind.WATCHED, 0.0))
    # Slots that one kind leaves empty (a weekend has little that is fresh) go to the other.
    fill(Kind.SLOW, fresh_slots + slow_slots - len(slots))
    fill(Kind.FRESH, fresh_slots + slow_slots - len(slots))
    drawn = sorted((draw[one.staff], one.staff) for one, _, _ in ready if one.staff not in taken)
    slots.extend(Slot(staff, Kind.RANDOM, 0.0) for _, staff in drawn[:random_slots])
    kept = {slot.staff for slot in slots}
    return Queue(tuple(slots), {name: why for name, why in sorted(passed.items()) if name not in kept})


def _new(day: int, one: Standing, last: Reviewed | None, settings: QueueSettings) -> tuple[float, float]:
    """Return the fresh and slow evidence that no review has seen."""
    if last is None:
        return one.fresh, one.slow
    age = day - last.day
    seen = 0.0 if _shows_new_kind(one, last, settings) else last.fresh
    return (
        one.fresh - seen * 0.5 ** (age / _FORGET_FRESH_DAYS),
        one.slow - last.slow * 0.5 ** (age / _FORGET_SLOW_DAYS),
    )


def _rests(day: int, one: Standing, last: Reviewed, settings: QueueSettings) -> str:
    """Return why a person is left in peace today; empty when not."""
    if last.open:
        return "a case is open"
    if _shows_new_kind(one, last, settings):
        return ""
    lately = sum(1 for other in last.days if day - other < 30)
    if lately >= settings.cap_in_30_days:
        return f"{lately} reviews in 30 days"
    grew = max(one.fresh - last.fresh, one.slow - last.slow) > settings.regrow_digits
    if day - last.day < settings.pause_days and not grew:
        return f"reviewed {day - last.day} days ago"
    return ""


def _shows_new_kind(one: Standing, last: Reviewed, settings: QueueSettings) -> bool:
    """Return whether a kind of behaviour is rare now that the last review did not see, or saw far weaker."""
    return any(
        digits >= settings.kind_digits and digits - last.kinds.get(kind, 0.0) > settings.kind_growth
        for kind, digits in one.kinds.items()
    )


def _is_due(day: int, one: Standing, last: Reviewed | None, settings: QueueSettings) -> bool:
    """Return whether somebody on a watch list is to be looked at, whatever the evidence.

    Once: a look before the list, or in its first days, has seen nothing of what the list is about.
    """
    if one.watched_since is None or day < one.watched_since + settings.watch_days:
        return False
    return last is None or (not last.open and last.day < one.watched_since + settings.watch_days)
