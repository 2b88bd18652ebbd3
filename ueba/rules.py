"""Rules on the state of an account and of a record: what is wrong however often it happened before. Pure.

A rule sets a floor under the score; nothing that a detector says can lower it.
"""

from dataclasses import dataclass

import numpy as np

from ueba.floors import FLOORS, Rule
from ueba.windows import Floats

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
