"""For how long a move of slots has been under way, for Prometheus: one that was left behind has to be told.

Told by the payers of both sites, whose routers follow the directory. Pure.
"""

import datetime as dt
import math
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from core_app.directory import Directory, Moving
from core_app.slots import name_chunk


def read_age_seconds(moving: Moving, now: dt.datetime) -> float:
    """Return how long ago a move was begun; infinite where that cannot be read, so that it rings.

    >>> at = dt.datetime(2026, 1, 15, 8, 30, tzinfo=dt.UTC)
    >>> from core_app.directory import Phase
    >>> read_age_seconds(Moving(1, "a", "b", 1, Phase.COPYING, "me", "2026-01-15T08:00:00+00:00"), at)
    1800.0
    """
    try:
        return max(0.0, (now - dt.datetime.fromisoformat(moving.at)).total_seconds())
    except (ValueError, TypeError):
        return math.inf


def move_figures(directory: Directory, now: dt.datetime) -> Iterator[Metric]:
    """Return the age of the move under way; no sample while there is none."""
    age = GaugeMetricFamily(
        "biyi_slot_move_seconds",
        "Since the move of slots under way was begun",
        labels=["slots", "source", "target", "phase"],
    )
    if (moving := directory.moving) is not None:
        labels = [name_chunk(moving.chunk), moving.source, moving.target, str(moving.phase)]
        age.add_metric(labels, read_age_seconds(moving, now))
    yield age
