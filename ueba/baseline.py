"""How far a day's figures lie from the person's own usual, in standard deviations. Pure."""

from dataclasses import dataclass

import numpy as np

from ueba.rows import Rows
from ueba.windows import Floats, Ints, Past, number_keys, to_steps


@dataclass(frozen=True, slots=True)
class Usual:
    """What was usual before each row: `own_*` shrunk to the peers; `periods` are own days in the window."""

    own: Floats
    sd: Floats
    peers: Floats
    peers_sd: Floats
    periods: Floats


def compute_usual(rows: Rows, values: Floats) -> Usual:
    """Return the usual of each row and column (`values`: rows x columns, on a scale where means make sense).

    Rows whose `trusted` is 0 are judged but are no part of what is usual.

    A person without a past gets the peers' mean and spread; without peers' past everyone's of that window.
    """
    day, window, settings = rows.day, rows.window, rows.settings.baseline
    stacked = np.concatenate([np.ones((len(day), 1)), values, values**2], axis=1) * rows.trusted[:, None]
    columns = values.shape[1]
    everyone = np.zeros(len(day), dtype=np.int64)
    itself = stacked * window.sees_itself(day)[:, None] if window.frozen_before is not None else 0.0

    def moments(group: Ints) -> tuple[Floats, Floats, Floats]:
        found = Past(group, day, stacked).sums(group, day, window) - itself
        n = np.maximum(np.rint(found[:, :1]), 0.0)
        mean = found[:, 1 : columns + 1] / np.maximum(n, 1.0)
        variance = np.maximum(found[:, columns + 1 :] / np.maximum(n, 1.0) - mean**2, 0.0)
        return n, mean, variance

    n_all, mean_all, var_all = moments(everyone)
    n_peers, mean_peers, var_peers = moments(rows.role)
    few = 20.0
    share = n_peers / (n_peers + few)
    mean_p = share * mean_peers + (1 - share) * mean_all
    var_p = share * var_peers + (1 - share) * var_all
    n, mean, variance = moments(rows.own_key)
    k = settings.shrink_weight
    own = (n * mean + k * mean_p) / (n + k)
    spread = (n * variance + k * var_p) / (n + k)
    floor = np.maximum(settings.least_sd_share * np.sqrt(var_p), 1e-3)
    sd = np.maximum(np.sqrt(spread * (1.0 + 1.0 / (n + k))), floor)
    # Before anything is known nothing is unusual.
    sd = np.where(n_all < few, np.inf, sd)
    return Usual(own, sd, mean_p, np.sqrt(var_p), n[:, 0])


_LIMIT = 3.0
"""Most that one person adds to what peers share. Source: our choice, three standard deviations."""


def subtract_peers_day(z: Floats, rows: Rows) -> Floats:
    """Return z-scores less what the peers, then the branch's peers, share that day (month-ends, campaigns).

    Each person's part of the mean is limited, and small groups count little, so that one misuser among few
    does not explain himself away.
    """
    left = z
    weight = rows.settings.baseline.shrink_weight
    for group in (number_keys(rows.role, rows.day), number_keys(rows.role, rows.branch, rows.day)):
        size = np.bincount(group).astype(float)
        limited = to_steps(np.clip(left, -_LIMIT, _LIMIT))
        shared = np.stack(
            [
                np.bincount(group, limited[:, column], len(size)) / (size + weight)
                for column in range(z.shape[1])
            ],
            axis=1,
        )
        left = left - shared[group]
    return left
