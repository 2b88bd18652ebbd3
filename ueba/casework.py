"""What the console and the command line do with scores and reviews: the queue, an act, a case."""

import datetime as dt
import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from core_app.staff.reviews import Act, find_case, plain
from ueba.daily import read_scores
from ueba.errors import UebaError
from ueba.feedback import reviewed_of
from ueba.journal import append_act, read_acts
from ueba.queue import (
    WEEK_DAYS,
    Queue,
    Reviewed,
    Scored,
    Slot,
    Standing,
    compute_standing,
    decide_queue,
    join_kinds,
)
from ueba.scoring import read_watched
from ueba.settings import Settings, day_number, day_of
from ueba.store import Home


def make_queue(home: Home, day: dt.date, seed: int, settings: Settings) -> Queue:
    """Return a day's queue from the kept scores; the random slots depend on the day and the seed only."""
    reviewed = read_reviewed(home, settings)
    people = stand_staff(home, day, reviewed, settings)
    drawn = np.random.default_rng([seed, day_number(day)]).random(len(people))
    draw = {one.staff: float(value) for one, value in zip(people, drawn, strict=True)}
    return decide_queue(day_number(day), people, reviewed, draw, settings.queue)


def stand_staff(
    home: Home, day: dt.date, reviewed: Mapping[str, Reviewed], settings: Settings
) -> list[Standing]:
    """Return how everybody stands who was scored in the week that ends with `day`, in the names' order.

    Days that the day's own model was fitted on do not count: it cannot say what was strange on them.
    """
    fitted = dt.date.fromisoformat(read_scores(home, day)[1]["fitted_until"])
    lately: dict[str, list[Scored]] = {}
    since = max(day - dt.timedelta(days=WEEK_DAYS), fitted + dt.timedelta(days=1))
    for one in _kept_days(home, since, day):
        for name, scored in _read_scored(home, one).items():
            lately.setdefault(name, []).append(scored)
    watched = read_watched(home.read_register("staff"), day_number(day))
    return [
        compute_standing(
            name, day_number(day), days, reviewed.get(name), settings.queue, watched_since=watched.get(name)
        )
        for name, days in sorted(lately.items())
    ]


def find_row(home: Home, day: dt.date, slot: Slot) -> tuple[dt.date, dict[str, Any]]:
    """Return the day that a slot is about, and the person's scores of it.

    It is the day whose evidence earned the slot, or else the last of the week on which there are scores.
    """
    latest = day if slot.on is None else day_of(slot.on)
    for on in reversed(_kept_days(home, latest - dt.timedelta(days=WEEK_DAYS), latest)):
        for row in read_scores(home, on)[0].to_pylist():
            if row["staff"] == slot.staff:
                return on, row
    raise UebaError(
        f"{slot.staff}: in the queue of {day} without scores in the week before; a defect of ours"
    )


def read_history(home: Home, staff: Collection[str], first: dt.date, last: dt.date) -> dict[str, list[Any]]:
    """Return the kept scores of some people over a span of days, oldest first; other days are left out.

    Each is `{"day": ISO date, "score": 0 to 100}`.
    """
    found: dict[str, list[Any]] = {name: [] for name in staff}
    for day in _kept_days(home, first, last):
        table = read_scores(home, day)[0].select(["staff", "score"])
        for row in table.filter(pc.is_in(table["staff"], pa.array(list(staff), pa.string()))).to_pylist():
            found[row["staff"]].append({"day": day.isoformat(), "score": round(float(row["score"]), 1)})
    return found


def read_reviewed(home: Home, settings: Settings) -> dict[str, Reviewed]:
    """Return the last review of each person with the kinds of behaviour that it was shown."""
    acts, _ = read_acts(home.root / "reviews.jsonl")
    made = reviewed_of(acts)
    known: dict[dt.date, dict[str, Scored]] = {}
    for name, last in made.items():
        on = day_of(last.day)
        for one in _kept_days(home, on - dt.timedelta(days=settings.queue.carry_days), on):
            if one not in known:
                known[one] = _read_scored(home, one)
            if name in known[one]:
                last = replace(last, kinds=join_kinds(last.kinds, known[one][name].kinds))
        made[name] = last
    return made


def _kept_days(home: Home, first: dt.date, last: dt.date) -> list[dt.date]:
    """Return the days of a span whose scores are kept."""
    span = (first + dt.timedelta(days=n) for n in range((last - first).days + 1))
    return [day for day in span if (home.root / "scores" / f"{day.isoformat()}.parquet").exists()]


def _read_scored(home: Home, day: dt.date) -> dict[str, Scored]:
    rows = read_scores(home, day)[0].to_pylist()
    # Scores kept by an older version name no kinds.
    return {
        row["staff"]: Scored(day_number(day), row["fresh"], row["slow"], json.loads(row.get("kinds") or "{}"))
        for row in rows
    }


def add_act(home: Home, values: Mapping[str, Any]) -> dict[str, Any]:
    """Add a reviewer's act and return the case; the digits of the day's scores are noted with it."""
    try:
        act = Act.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise UebaError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    rows, _ = read_scores(home, act.on)
    found = next((row for row in rows.to_pylist() if row["staff"] == act.staff), None)
    if found is None:
        raise UebaError(f"staff: {act.staff} has no score of {act.on}; needs a person of the day's scores")
    act = act.model_copy(update={"fresh": float(found["fresh"]), "slow": float(found["slow"])})
    case = find_case(append_act(home.root / "reviews.jsonl", act), act.staff, act.on)
    if case is None:
        raise UebaError(f"{act.staff} {act.on}: the act was written and is not there")
    return plain(case)
