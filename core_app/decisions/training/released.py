"""What one house gives out of its rows: sums over all of them, or a reason to give none. Pure.

A sum over one row is that row, so a house refuses while any sum it would give rests on few. Three ways lead
to few rows: the house has few; a mark (something is missing, somebody defaulted) is borne, or lacked, by few,
alone or together with another mark; the weights asked about leave few rows with any weight in the curvature.
"""

import struct
from itertools import combinations

import numpy as np

from core_app.decisions.training.synthetic import Floats

LEAST_ROWS = 500
"""Fewest rows whose sums a house gives out. Source: our choice, some twenty rows a weight."""
LEAST_ALIKE = 10
"""Fewest rows that bear, or lack, a mark. Source: the usual least cell of statistical disclosure control."""
LEAST_EFFECTIVE = 50.0
"""Fewest rows that the curvature rests on, as (sum of weights)^2 / sum of squares. Source: our choice."""
LEAST_CURVE = 1.0
"""Least sum of those weights: far-off weights leave all of them next to nothing. Source: our choice."""


def compute_sums(design: Floats, outcome: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return slope and curvature of the log likelihood, summed over the rows."""
    share = compute_share(design, weights)
    return design.T @ (outcome - share), (design * (share * (1 - share))[:, None]).T @ design


def compute_share(design: Floats, weights: Floats) -> Floats:
    """Return each row's chance of a default at `weights`; extreme ones are cut, not overflowed."""
    share: Floats = 1 / (1 + np.exp(-np.clip(design @ weights, -500.0, 500.0)))
    return share


def find_why_not(design: Floats, outcome: Floats, weights: Floats) -> str | None:
    """Return why the sums at `weights` would show single rows, None when they may go out.

    The reason names no count: it crosses to the other house as well.
    """
    if len(outcome) < LEAST_ROWS:
        return f"fewer than {LEAST_ROWS} rows: sums over few rows show single ones"
    if _has_few_alike(design, outcome):
        return f"fewer than {LEAST_ALIKE} rows bear or lack a mark: their sums would show them"
    share = compute_share(design, weights)
    curve = share * (1 - share)
    total = float(curve.sum())
    if total < LEAST_CURVE or total**2 / float((curve**2).sum()) < LEAST_EFFECTIVE:
        return "the weights asked about single out a few rows"
    return None


def _has_few_alike(design: Floats, outcome: Floats) -> bool:
    """Say whether a mark, alone or crossed with another, is borne by some but few, or lacked so."""
    marks = [column for column in (*design.T, outcome) if np.isin(column, (0.0, 1.0)).all()]
    # A column that is 1 (or 0) for everybody marks nobody.
    marks = [column for column in marks if 0 < column.sum() < len(column)]
    if not 0 < outcome.sum() < len(outcome):
        return True
    counts = [count for column in marks for count in (column.sum(), len(column) - column.sum())]
    for one, other in combinations(marks, 2):
        both = float(one @ other)
        only, also = float(one.sum()) - both, float(other.sum()) - both
        counts += [both, only, also, len(one) - both - only - also]
    return any(0 < count < LEAST_ALIKE for count in counts)


def pack_weights(weights: Floats) -> bytes:
    """Return what is asked: the weights, eight bytes each."""
    return struct.pack(f"<{len(weights)}d", *weights)


def unpack_weights(message: bytes, size: int) -> Floats:
    """Return the weights of a question; ValueError unless it is `size` finite numbers."""
    return _read_floats(message, size)


def pack_sums(slope: Floats, curve: Floats) -> bytes:
    """Return an answer: slope, then the curvature's upper triangle; as long for many rows as for few."""
    upper = curve[np.triu_indices(len(slope))]
    return struct.pack(f"<{len(slope) + len(upper)}d", *slope, *upper)


def unpack_sums(message: bytes, size: int) -> tuple[Floats, Floats]:
    """Return slope and curvature of an answer; ValueError unless it is one for `size` weights."""
    values = _read_floats(message, size + size * (size + 1) // 2)
    curve = np.zeros((size, size))
    curve[np.triu_indices(size)] = values[size:]
    return values[:size], curve + np.triu(curve, 1).T


def _read_floats(message: bytes, size: int) -> Floats:
    if len(message) != 8 * size:
        raise ValueError(f"{len(message)} bytes, needs {8 * size}: {size} numbers of eight bytes")
    values = np.array(struct.unpack(f"<{size}d", message))
    if not np.isfinite(values).all():
        raise ValueError("a number that is not finite")
    return values
