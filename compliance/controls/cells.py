"""What stewards tell of cells at their API servers, as figures for the probe of replication. Pure.

The objects `Cell` are written by each site's steward from grants and from what agents say; `seenAt` is when.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from replication.settings import CellSettings, SiteSettings

TOLD_WITHIN_S = 60
"""Oldest word of a steward that counts. Source: the age of readings of replication in probes.yaml."""
_NAMED = ("primary", "mode", "syncCopies")

Told = dict[str, Mapping[str, Any]]
"""The status of each cell's object, by cell."""


def read_told(objects: Sequence[Mapping[str, Any]], cells: Sequence[CellSettings], now: dt.datetime) -> Told:
    """Return what is told of every cell; ConnectionError where nothing is, or not lately."""
    held = {one["metadata"]["name"]: one.get("status", {}) for one in objects}
    for cell in cells:
        status = held.get(cell.name, {})
        if not {"epoch", "seenAt", *_NAMED} <= status.keys():
            raise ConnectionError(f"cell {cell.name}: no steward has told of it")
        age_s = (now - dt.datetime.fromisoformat(status["seenAt"])).total_seconds()
        if not -TOLD_WITHIN_S <= age_s <= TOLD_WITHIN_S:
            raise ConnectionError(f"cell {cell.name}: the steward told of it {age_s:.0f} s ago")
    return {cell.name: held[cell.name] for cell in cells}


def compare_told(here: Told, objects: Sequence[Mapping[str, Any]], other: str) -> None:
    """ConnectionError when the other site's steward says something else of a cell in the same epoch."""
    for one in objects:
        name, theirs = one["metadata"]["name"], one.get("status", {})
        mine = here.get(name)
        if mine is None or theirs.get("epoch") != mine["epoch"] or theirs.get("primary") == mine["primary"]:
            continue
        raise ConnectionError(
            f"cell {name}: in epoch {mine['epoch']} its primary is {mine['primary']} here and "
            f"{theirs.get('primary')} at {other}: one of the two objects was written by hand"
        )


def sum_told(told: Told, settings: SiteSettings) -> dict[str, Any]:
    """Return the facts of a site; the lag is missing where a cell written here has none."""
    site = str(settings.site)
    places = {place.name: str(place.site) for place in settings.places}
    written = {name: status for name, status in told.items() if places.get(status["primary"]) == site}
    facts: dict[str, Any] = {
        "without_other_site": sorted(
            name for name, status in written.items()
            if status["mode"] != "SYNC"
            or not any(places.get(copy) not in (None, site) for copy in status["syncCopies"])
        ),
        "not_streaming": sorted(
            place.name for place in settings.places
            if str(place.site) == site and place.ordinal == 0
            and place.name not in (told[place.cell]["primary"], *told[place.cell]["syncCopies"])
        ),
        "told_at": {name: status["seenAt"] for name, status in sorted(told.items())},
    }  # fmt: skip
    lags = [lag for status in written.values() if (lag := status.get("lagBytes")) is not None]
    if len(lags) == len(written):
        facts["lag_bytes_most"] = max(lags, default=0)
    return facts
