"""A provisional score within the day: what an event and the day so far say, before the daily path does. Pure.

It knows less than the daily score (no peers of the day, no detectors) and is replaced by it; it may rise
during the day and never falls.
"""

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ueba.floors import FLOORS, Rule
from ueba.scale import DIMINISHING, SCORE_AT, SCORE_DIGITS

MOST_DIGITS = 8.0
_LEAST_SD = 0.3
"""Floor of the spread of log1p counts. Source: our choice: a third more or less is nobody's alarm."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What the daily path says is usual for a person's whole day: means and spreads of log1p counts, how many
    days it stands on, and the words that were used."""

    mean: Mapping[str, float] = field(default_factory=dict)
    sd: Mapping[str, float] = field(default_factory=dict)
    days: float = 0.0


@dataclass(frozen=True, slots=True)
class Sofar:
    """One person's day up to and with an event: counts, words that the person never used before, rules."""

    counts: Mapping[str, int]
    new_words: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Provisional:
    """The score so far and what it stands on: kinds with their digits, and rules."""

    score: float
    digits: Mapping[str, float]
    rules: tuple[Rule, ...]


def _interpolate(digits: float) -> float:
    """Return the score at given digits; for single figures numpy takes ten times as long."""
    place = min(bisect.bisect_right(SCORE_DIGITS, digits), len(SCORE_DIGITS) - 1)
    low, high = SCORE_DIGITS[place - 1], SCORE_DIGITS[place]
    share = min(1.0, (digits - low) / (high - low))
    return SCORE_AT[place - 1] + share * (SCORE_AT[place] - SCORE_AT[place - 1])


def compute_provisional(profile: Profile, sofar: Sofar) -> Provisional:
    """Return the score of the day so far. Without a profile only rules speak: a newcomer is not yet known."""
    digits: dict[str, float] = {}
    if profile.days >= 5:
        for name, count in sofar.counts.items():
            if name in profile.mean and count > 0:
                z = (math.log1p(count) - profile.mean[name]) / max(profile.sd[name], _LEAST_SD)
                digits[name] = min(MOST_DIGITS, -math.log10(max(0.5 * math.erfc(z / math.sqrt(2)), 1e-9)))
        if sofar.new_words:
            digits["new_words"] = math.log10(1.0 + profile.days) * min(3.0, math.sqrt(sofar.new_words))
    ordered = sorted((value - 1.0 for value in digits.values() if value > 1.0), reverse=True)
    total = sum(value / (place + 1) ** DIMINISHING for place, value in enumerate(ordered))
    score = _interpolate(total)
    floor = max((FLOORS[rule] for rule in sofar.rules), default=0.0)
    return Provisional(max(score, floor), {k: round(v, 2) for k, v in digits.items() if v > 1.0}, sofar.rules)
