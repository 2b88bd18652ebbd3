"""Windows of device evidence: which row of the outbox makes which value, and what a value counts. Pure."""

from collections.abc import Mapping
from typing import Any

from core_app.decisions.evidence import Evidence
from core_app.read_models import loan_summary
from replication.projection.position import Change, Row

_TOPIC = "window.seen"


def window_key(evidence: Evidence) -> str:
    """Return the key of one value's window: its kind and its keyed index, nothing personal."""
    return f"window:{evidence.kind}:{evidence.index.hex()}"


def map_row(row: Row) -> Change | None:
    """Return what a row does to the read models: to a window, or to a loan's summary."""
    if row.topic != _TOPIC:
        return loan_summary.map_row(row)
    return Change(row.key, row.payload.get("window"))


def count_window(value: Mapping[str, Any] | None, now_seconds: float, minutes: int) -> int:
    """Return how many applications of a value lie within the last minutes; None counts none."""
    if value is None:
        return 0
    return sum(1 for at in value["ats"] if float(at) > now_seconds - 60 * minutes)
