"""A scored day for the portal: the queue's cases with their reasons and log lines, and everybody's usual.

Published once, in the first cell, as biyi_staff; the portal's reviews and both sites' streams read it there.
"""

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg.types.json import Jsonb

from core_app.core import Connection
from core_app.staff.portal import Portal
from ueba.calibrate import level_of
from ueba.casework import find_row, make_queue, read_history
from ueba.daily import Told, Wanted, read_scores, score_home
from ueba.errors import UebaError
from ueba.lines import find_lines
from ueba.profiles import listed, make_profiles
from ueba.queue import Slot
from ueba.reasons import explain
from ueba.scoring import read_watched
from ueba.settings import Settings, day_number, day_of
from ueba.store import EVENTS, Home, sm3_hex

MOST_EVENTS = 500
"""Events of a day that are shown with a case. Source: our choice; a collector has some hundred a day."""
HISTORY_DAYS = 60
"""Days before a case's of which the scores are shown with it. Source: our choice, two months at a look."""
_CHUNK = 2000
"""Profiles written at once. Source: our choice, a megabyte: a transaction may be open for three seconds."""
_SHOWN = ("event_id", "at", "action", "customer", "terminal", "site", "system", "purpose", "assigned", "rows",
          "dwell_ms", "result", "case_id")  # fmt: skip
_PROFILES = """
insert into watch.profiles (staff, document)
select p.staff, p.document from jsonb_to_recordset(%s) as p(staff text, document jsonb)
on conflict (staff) do update set document = excluded.document, at = now()
"""
_DAY = """
insert into watch.publications (day, scores, card) values (%s, %s, %s) on conflict (day) do nothing
returning day
"""
_EARLIER = "select scores from watch.publications where day = %s"
_CASES = """
insert into watch.cases (case_id, day, subject, place, why, score, level, fresh, slow, document)
select c.case_id, c.day, c.subject, c.place, c.why, c.score, c.level, c.fresh, c.slow, c.document
from jsonb_to_recordset(%s) as c(case_id text, day date, subject text, place int, why text, score numeric,
    level text, fresh double precision, slow double precision, document jsonb)
"""


@dataclass(frozen=True, slots=True)
class Publication:
    """What is published of a day."""

    day: dt.date
    scores: str
    card: dict[str, Any]
    cases: list[dict[str, Any]]
    profiles: dict[str, dict[str, Any]]


def make_publication(home: Home, day: dt.date, seed: int, settings: Settings, told: Told) -> Publication:
    """Return what is to be published; UebaError when the kept scores do not come again."""
    _, kept = read_scores(home, day)
    wanted = Wanted(day, dt.date.fromisoformat(kept["fitted_until"]), kept["acts_known"])
    scored = score_home(home, wanted, settings, told)
    if scored.card["scores"] != kept["scores"]:
        raise UebaError(f"{day}: the kept scores do not come again; see `biyi ueba replay --date {day}`")
    told("reasons")
    branches = dict(
        zip(*(home.read_register("staff")[one].to_pylist() for one in ("staff", "branch")), strict=True)
    )
    cases = []
    slots = make_queue(home, day, seed, settings).slots
    before = dt.timedelta(days=HISTORY_DAYS)
    history = read_history(home, [slot.staff for slot in slots], day - before, day)
    for place, slot in enumerate(slots, 1):
        on, row = find_row(home, day, slot)
        at = scored.evidence.find(slot.staff, day_number(on))
        if at is None:
            raise UebaError(f"{slot.staff}: scored on {on} without evidence of that day")
        found = explain(scored.evidence, scored.scores, at, settings)
        families = [reason.family for reason in (*found.today, *found.accumulated)]
        document = found.plain() | {
            "branch": branches.get(slot.staff, "unknown"),
            "lines": find_lines(home, slot.staff, on, families, settings),
            "detector": round(float(row["detector"]), 4),
            "scores": history[slot.staff],
        }
        document["events"], document["events_left_out"] = read_events(home, on, slot.staff)
        case_id = "W-" + sm3_hex(f"{day} {slot.staff} {kept['scores']}".encode())[:32]
        named = {"case_id": case_id, "day": day.isoformat(), "place": place}
        cases.append(named | _case(row, slot, document))
    told("profiles")
    watched = read_watched(home.read_register("staff"), day_number(day))
    card = kept | {
        "seed": seed,
        "listed": listed(home),
        "watched": {name: day_of(since).isoformat() for name, since in sorted(watched.items())},
    }
    return Publication(day, kept["scores"], card, cases, make_profiles(home, day, settings))


def _case(row: dict[str, Any], slot: Slot, document: dict[str, Any]) -> dict[str, Any]:
    return {
        "subject": slot.staff,
        "why": str(slot.kind),
        "score": round(float(row["score"]), 2),
        "level": str(level_of(float(row["score"]))),
        "fresh": max(0.0, float(row["fresh"])),
        "slow": max(0.0, float(row["slow"])),
        "document": document,
    }


def read_events(home: Home, day: dt.date, staff: str) -> tuple[list[dict[str, Any]], int]:
    """Return a person's events of a day in order, and how many more there were than are shown."""
    files = [str(file) for file in home.event_files([day])]
    table = pq.ParquetDataset(files, schema=EVENTS).read(columns=["staff", *_SHOWN])
    table = table.filter(pc.equal(table["staff"], pa.scalar(staff))).sort_by([("at", "ascending")])
    rows = table.slice(0, MOST_EVENTS).to_pylist()
    shown = [{name: one[name] for name in _SHOWN if one[name] is not None} for one in rows]
    return [one | {"at": one["at"].isoformat()} for one in shown], max(0, len(table) - MOST_EVENTS)


async def publish(portal: Portal, made: Publication) -> bool:
    """Write a publication; False when this very day is published already. UebaError when another one is.

    Profiles come first: the streams look at them when they see a newer publication.
    """
    directory = portal.desk.directory
    profiles = [{"staff": name, "document": one} for name, one in sorted(made.profiles.items())]
    for start in range(0, len(profiles), _CHUNK):
        chunk = json.dumps(profiles[start : start + _CHUNK])

        async def write_some(connection: Connection, chunk: str = chunk) -> None:
            await connection.execute(_PROFILES, [chunk])

        await directory.write(write_some)

    async def write_day(connection: Connection) -> bool:
        new = await connection.execute(_DAY, [made.day, made.scores, Jsonb(made.card)])
        if await new.fetchone() is None:
            earlier = await (await connection.execute(_EARLIER, [made.day])).fetchone()
            if earlier is not None and earlier[0] != made.scores:
                raise UebaError(f"{made.day}: other scores are published already; a day is published once")
            return False
        await connection.execute(_CASES, [json.dumps(made.cases)])
        return True

    return await directory.write(write_day)
