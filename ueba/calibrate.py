"""From evidence to decimal digits of rarity, and from digits to a score between 0 and 100. Pure.

Two digits mean: one staff-day in a hundred of ordinary history is as strange. Digits of different
kinds of behaviour are summed with diminishing weight, so that fifty small things are not one large.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ueba.scale import DIMINISHING, SCORE_AT, SCORE_DIGITS
from ueba.settings import ScoreSettings
from ueba.windows import Floats, Ints

TAIL_SHARE = 0.1
"""Only the upper tenth of each column's history is kept: the rest says nothing (settings: noticed)."""
_TAIL_ROWS = 50
"""Rows that the slope beyond the greatest value is taken from. Source: our choice; below 30 it swings."""

_LEAST_SLOPE = 0.1
"""Source: our choice: doubling the greatest value ever seen adds at most three digits."""

CRITICALITY: Mapping[str, float] = {"low": 0.5, "medium": 1.0, "high": 1.5, "extreme": 2.0}
"""Factors on the odds. Source: research §1.1, Elastic's asset criticality."""
WATCHED = 2.0
"""Factor on the odds of who is on a watch list. Source: our choice, that of extreme criticality."""


class Level(enum.StrEnum):
    """Levels of a score. Source: research §1.1, Elastic's."""

    UNKNOWN = "unknown"
    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"
    CRITICAL = "critical"


def level_of(score: float) -> Level:
    """Return the level: 20, 40, 70 and 90 begin the next."""
    return list(Level)[int(np.searchsorted((20.0, 40.0, 70.0, 90.0), score, side="right"))]


@dataclass(frozen=True, slots=True)
class Tail:
    """The upper tail of one column in ordinary history: sorted, and out of how many rows."""

    rows: int
    values: npt.NDArray[np.float32]
    slope: float
    """Mean of ln(value / start of the tail), Hill's estimate: beyond the greatest value rarity follows a
    power law, as counts of people's acts do; an exponential one would cry wolf."""
    least: float
    """Below this nothing is strange, however rare."""

    def digits(self, values: npt.NDArray[np.float32], most: float) -> Floats:
        """Return decimal digits of rarity; 0 below the kept tail and below `least`."""
        reached = len(self.values) - np.searchsorted(self.values, values, side="left")
        digits = -np.log10((reached + 1.0) / (self.rows + 1.0))
        greatest = max(float(self.values[-1]), self.least)
        beyond = np.log10(np.maximum(values / greatest, 1.0)) / self.slope
        digits = np.where((values < self.values[0]) | (values < self.least), 0.0, digits + beyond)
        return np.asarray(np.clip(digits, 0.0, most), dtype=np.float64)


def fit_tail(values: npt.NDArray[np.float32], least: float) -> Tail:
    """Return the tail of a column; `values` in any order, at least one; `least` above 0."""
    ordered = np.sort(values)
    kept = ordered[-max(1, int(len(ordered) * TAIL_SHARE)) :]
    top = np.maximum(kept[-_TAIL_ROWS:].astype(np.float64), least)
    return Tail(len(ordered), kept, max(float(np.mean(np.log(top / top[0]))), _LEAST_SLOPE), least)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Tails by role (key: its name) and over everyone (key: empty), a list of columns each."""

    tails: Mapping[str, tuple[Tail, ...]]

    def digits(
        self, values: npt.NDArray[np.float32], role: Ints, roles: list[str], settings: ScoreSettings
    ) -> npt.NDArray[np.float32]:
        """Return the digits of every row and column."""
        made = np.zeros(values.shape, dtype=np.float32)
        for code, name in enumerate(roles):
            rows = np.flatnonzero(role == code)
            tails = self.tails.get(name, self.tails[""])
            for column, tail in enumerate(tails):
                made[rows, column] = tail.digits(values[rows, column], settings.most_digits)
        return made


def fit_calibration(
    values: npt.NDArray[np.float32],
    least: Sequence[float],
    role: Ints,
    roles: list[str],
    settings: ScoreSettings,
) -> Calibration:
    """Return the tails of ordinary history; a role with few rows has none of its own."""
    tails = {"": tuple(map(fit_tail, values.T, least))}
    for code, name in enumerate(roles):
        rows = np.flatnonzero(role == code)
        if len(rows) >= settings.least_rows:
            tails[name] = tuple(map(fit_tail, values[rows].T, least))
    return Calibration(tails)


def sum_diminishing(digits: Floats, settings: ScoreSettings) -> Floats:
    """Return one figure for each row of digits by family: what is noticed, the greatest first, by 1/i^1.5."""
    noticed = np.maximum(digits - settings.noticed, 0.0)
    ordered = -np.sort(-noticed, axis=1)
    weights = 1.0 / np.arange(1, digits.shape[1] + 1) ** DIMINISHING
    return np.asarray((ordered * weights).sum(axis=1))


def score_of(digits: Floats) -> Floats:
    """Return scores between 0 and 100 for digits."""
    return np.interp(digits, SCORE_DIGITS, SCORE_AT)


def digits_of(score: Floats) -> Floats:
    """Return the digits that a score stands for."""
    return np.interp(score, SCORE_AT, SCORE_DIGITS)


def weigh(score: Floats, factor: Floats) -> Floats:
    """Return scores with their odds multiplied by `factor`."""
    odds = score / np.maximum(100.0 - score, 1e-6) * factor
    return np.asarray(100.0 * odds / (1.0 + odds))
