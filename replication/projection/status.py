"""A projector as people and the command line see it."""

import datetime as dt
import statistics
from typing import Any

from replication.projection.projector import CellProjector


def show_status(projector: CellProjector, now_seconds: float) -> dict[str, Any]:
    """Return what is known of a cell's cache at this site; `now_seconds` is the wall clock."""
    position = projector.position
    as_of = position.as_of if position else ""
    lags = sorted(projector.lags_ms)
    return {
        "state": str(projector.state),
        "why": projector.why,
        "copy": projector.place,
        "in_recovery": position.in_recovery if position else None,
        "epoch": position.epoch if position else None,
        "applied": position.applied if position else None,
        "total": position.total if position else None,
        "age_ms": round(1000 * (now_seconds - _seconds(as_of))) if as_of else None,
        "lag_p50_ms": round(statistics.median(lags), 1) if lags else None,
        "lag_p99_ms": round(lags[min(len(lags) - 1, int(0.99 * len(lags)))], 1) if lags else None,
        "lag_samples": len(lags),
        "read_anew": projector.read_anew,
        "rolled_back": projector.rolled_back,
    }


def _seconds(at: str) -> float:
    return dt.datetime.fromisoformat(at).timestamp()
