"""Rules on the state of an account and of a record: what is wrong however often it happened before. Pure.

A rule sets a floor under the score; nothing that a detector says can lower it.
"""

import enum
from dataclasses import dataclass

import numpy as np

from ueba.windows import Floats


class Rule(enum.StrEnum):
    """Why a floor stands."""

    LEAVER_ACTIVE = "leaver_active"
    DORMANT_ACTIVE = "dormant_active"
    BREAK_GLASS_BARE = "break_glass_bare"
    RELATION = "relation"
    LISTED = "listed"
    TWO_PLACES = "two_places"


FLOORS: dict[Rule, float] = {
    Rule.LEAVER_ACTIVE: 95.0,
    Rule.DORMANT_ACTIVE: 95.0,
    Rule.BREAK_GLASS_BARE: 75.0,
    Rule.RELATION: 85.0,
    Rule.LISTED: 80.0,
    Rule.TWO_PLACES: 70.0,
}
"""Floors of the score. Source: our choice: accounts that must be silent are critical, records that need a
reason and had none are high (research §5.1 a)."""
TWO_PLACES_SLOTS = 3
"""Quarters of an hour at two terminals; fewer is a change of desk. Source: our choice."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the personnel register says of each row's person on that row's day: booleans by row."""

    left: np.ndarray
    dormant: np.ndarray
    watched: np.ndarray


def compute_hits(
    standing: Standing, break_glass_bare: Floats, related_bare: Floats, listed_bare: Floats, overlap: Floats
) -> dict[Rule, np.ndarray]:
    """Return for each rule which rows it holds for."""
    return {
        Rule.LEAVER_ACTIVE: standing.left,
        Rule.DORMANT_ACTIVE: standing.dormant,
        Rule.BREAK_GLASS_BARE: break_glass_bare > 0,
        Rule.RELATION: related_bare > 0,
        Rule.LISTED: listed_bare > 0,
        Rule.TWO_PLACES: overlap >= TWO_PLACES_SLOTS,
    }


def compute_floor(hits: dict[Rule, np.ndarray]) -> Floats:
    """Return the highest floor of each row, 0 without one."""
    floors = [np.where(rows, FLOORS[rule], 0.0) for rule, rows in hits.items()]
    return np.asarray(np.maximum.reduce(floors))
