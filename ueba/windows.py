"""Sums over a gapped window of days, for millions of rows at once. Pure.

The one place where the past is looked up: a row of day D sees days D - gap - window to D - gap - 1 and
nothing else, so no score can see its own day or the future.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
"""Large tables of evidence: half the memory."""

STEP = 1.0 / 1024
"""Values are multiples of this, so that their sums and the sums of their squares are exact and cannot depend
on the order of rows. Source: 52 bits hold squares up to 2^12 over a million rows."""
LIMIT = 64.0

SPAN = np.int64(1 << 20)
"""Room for day numbers beside a key: a million days."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window of `length` days that ends `gap` days before the day; `frozen_before` ends it there at the
    latest and begins it at the first day (data whose clean part is known)."""

    length: int
    gap: int
    frozen_before: int | None = None

    def sees_itself(self, days: Ints) -> Floats:
        """Return 1 for days inside their own window (only a frozen one has such), else 0."""
        first, end = self.edges(days)
        return ((days >= first) & (days < end)).astype(np.float64)

    def edges(self, days: Ints) -> tuple[Ints, Ints]:
        """Return the first day seen and the first day not seen any more."""
        if self.frozen_before is not None:
            return np.zeros_like(days), np.full_like(days, self.frozen_before)
        end = days - self.gap
        return np.maximum(end - self.length, 0), np.maximum(end, 0)


def to_steps(values: Floats) -> Floats:
    """Return values limited and rounded to STEP."""
    return np.asarray(np.rint(np.clip(values, -LIMIT, LIMIT) / STEP) * STEP)


class Past:
    """Values by key and day, ready to be summed over windows."""

    def __init__(self, keys: Ints, days: Ints, values: Floats) -> None:
        """Take rows in any order; `values` may have one or several columns."""
        self._place = keys.astype(np.int64) * SPAN + days
        order = np.argsort(self._place, kind="stable")
        self._place = self._place[order]
        ordered = values[order]
        zero = np.zeros((1, *ordered.shape[1:]))
        self._sums = np.concatenate([zero, np.cumsum(ordered, axis=0)])

    def sums(self, keys: Ints, days: Ints, window: Window) -> Floats:
        """Return the sums that rows with these keys and days see."""
        first, end = window.edges(days)
        base = keys.astype(np.int64) * SPAN
        low = np.searchsorted(self._place, base + first)
        high = np.searchsorted(self._place, base + end)
        return np.asarray(self._sums[high] - self._sums[low])


def number_keys(*columns: npt.NDArray[np.generic]) -> Ints:
    """Return one number for each distinct combination of the columns, in sorted order."""
    total = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        _, codes = np.unique(column, return_inverse=True)
        total = total * (int(codes.max(initial=0)) + 1) + codes
    _, numbers = np.unique(total, return_inverse=True)
    return numbers.astype(np.int64)


def accumulate(keys: Ints, days: Ints, values: Floats, half_life: float) -> Floats:
    """Return the decayed sum of each row's key up to and with its day, divided by its own spread.

    `values` (rows x columns) are independent with variance 1 when nothing happens; so is then the result.
    A key may have one row a day.
    """
    order = np.lexsort((days, keys))
    sorted_keys, sorted_days, sorted_values = keys[order], days[order], values[order]
    starts = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
    lengths = np.diff(np.r_[starts, len(order)])
    total = np.zeros((len(starts), values.shape[1]))
    spread = np.zeros(len(starts))
    last = sorted_days[starts].copy()
    made = np.zeros_like(values)
    for step in range(int(lengths.max(initial=0))):
        alive = np.flatnonzero(lengths > step)
        rows = starts[alive] + step
        decay = 0.5 ** ((sorted_days[rows] - last[alive]) / half_life)
        total[alive] = total[alive] * decay[:, None] + sorted_values[rows]
        spread[alive] = spread[alive] * decay**2 + 1.0
        last[alive] = sorted_days[rows]
        made[order[rows]] = total[alive] / np.sqrt(spread[alive])[:, None]
    return made
