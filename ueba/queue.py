"""Who is looked at today: a fixed number of slots, ranked by what is new since the last review. Pure.

Some slots are for today's evidence, some for accumulated evidence, a few for people drawn at random: only
those tell how many misusers a review would find anyway. A score itself is never lowered by a review.
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
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Standing:
    """One person's evidence on the day, in digits of rarity."""

    staff: str
    fresh: float
    slow: float


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The last review of a person: when, what was seen then, and how many there were lately."""

    day: int
    fresh: float
    slow: float
    days: tuple[int, ...] = ()
    open: bool = False
    """A case is open: it has its reviewer and needs no slot."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One review to be made; `digits` is the evidence that is new since the last review."""

    staff: str
    kind: Kind
    digits: float


@dataclass(frozen=True, slots=True)
class Queue:
    """A day's slots in order, and who was passed over though ranked high enough, with the reason."""

    slots: tuple[Slot, ...]
    passed: Mapping[str, str] = field(default_factory=dict)


_FORGET_FRESH_DAYS, _FORGET_SLOW_DAYS = 14.0, 30.0
"""Half-lives in which reviewed evidence counts as new again. Source: our choice: a rest after a review, and
the month in which slow evidence has mostly faded by itself."""


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
    ready: list[tuple[str, float, float]] = []
    for one in people:
        last = reviewed.get(one.staff)
        reason = "" if last is None else _rests(day, one, last, settings)
        if reason:
            passed[one.staff] = reason
        else:
            ready.append((one.staff, *_new(day, one, last)))
    slots: list[Slot] = []
    taken: set[str] = set()

    def fill(kind: Kind, count: int) -> None:
        # Without evidence nobody is looked at: a slot is left empty rather than spent on noise.
        found = [(fresh if kind is Kind.FRESH else slow, staff) for staff, fresh, slow in ready]
        ranked = sorted(found, key=lambda row: (-row[0], draw[row[1]]))
        chosen = [row for row in ranked if row[1] not in taken and row[0] > 0.0][:count]
        slots.extend(Slot(staff, kind, digits) for digits, staff in chosen)
        taken.update(staff for _, staff in chosen)

    fill(Kind.FRESH, fresh_slots)
    # Slots that one kind leaves empty (a weekend has little that is fresh) go to the other.
    fill(Kind.SLOW, fresh_slots + slow_slots - len(slots))
    fill(Kind.FRESH, fresh_slots + slow_slots - len(slots))
    drawn = sorted((draw[staff], staff) for staff, _, _ in ready if staff not in taken)
    slots.extend(Slot(staff, Kind.RANDOM, 0.0) for _, staff in drawn[:random_slots])
    kept = {slot.staff for slot in slots}
    return Queue(tuple(slots), {name: why for name, why in sorted(passed.items()) if name not in kept})


def _new(day: int, one: Standing, last: Reviewed | None) -> tuple[float, float]:
    """Return the fresh and slow evidence that no review has seen."""
    if last is None:
        return one.fresh, one.slow
    age = day - last.day
    return (
        one.fresh - last.fresh * 0.5 ** (age / _FORGET_FRESH_DAYS),
        one.slow - last.slow * 0.5 ** (age / _FORGET_SLOW_DAYS),
    )


def _rests(day: int, one: Standing, last: Reviewed, settings: QueueSettings) -> str:
    """Return why a person is left in peace today; empty when not."""
    if last.open:
        return "a case is open"
    lately = sum(1 for other in last.days if day - other < 30)
    if lately >= settings.cap_in_30_days:
        return f"{lately} reviews in 30 days"
    grew = max(one.fresh - last.fresh, one.slow - last.slow) > settings.regrow_digits
    if day - last.day < settings.pause_days and not grew:
        return f"reviewed {day - last.day} days ago"
    return ""
