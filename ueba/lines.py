"""Which log lines a reason stands on: the ids of a person's events of a day, by kind of behaviour."""

import datetime as dt
from collections.abc import Sequence

import ibis

from ueba.features.engine import open_duckdb, read_frame
from ueba.features.tables import LONG_MS, NIGHT_BEFORE, NIGHT_FROM, QUICK_MS
from ueba.settings import Settings
from ueba.store import Home


def find_lines(
    home: Home, staff: str, day: dt.date, families: Sequence[str], settings: Settings
) -> dict[str, list[str]]:
    """Return ids by family, in time order; a family that is about no single events (a combination, a usual
    that changed) names all of the day's."""
    with open_duckdb() as backend:
        f = read_frame(backend, home, [day], settings.utc_offset_minutes, keep=("event_id",))
        f = f.filter(f.staff == staff)
        bare = {
            "unassigned": f.bare,
            "region": f.foreign,
            "record": f.bare & (f.listed | (f.state != "active")),
            "relation": f.bare & f.relation.notnull(),
            "repeat": f.bare,
            "pair": f.bare | f.action.isin(("approve", "pay")),
            "money": f.action.isin(("approve", "pay")),
            "export": f.rows > 0,
            "search": f.action == "search",
            "hours": (f.hour < NIGHT_BEFORE) | (f.hour >= NIGHT_FROM),
            "dwell": f.look & ((f.dwell_ms < QUICK_MS) | (f.dwell_ms > LONG_MS)),
            "failure": (f.result != "ok") | (f.action == "break_glass"),
        }
        found = {}
        for family in dict.fromkeys(families):
            of = f.filter(ibis.coalesce(bare[family], ibis.literal(False))) if family in bare else f
            ids = of.order_by("local_s", "event_id").select("event_id").to_pyarrow()["event_id"].to_pylist()
            if not ids:
                ids = (
                    f.order_by("local_s", "event_id").select("event_id").to_pyarrow()["event_id"].to_pylist()
                )
            found[family] = ids
    return found
