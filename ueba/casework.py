"""What the console and the command line do with scores and reviews: the queue, an act, a case."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from core_app.staff.reviews import Act, find_case, plain
from ueba.daily import read_scores
from ueba.errors import UebaError
from ueba.feedback import reviewed_of
from ueba.journal import append_act, read_acts
from ueba.queue import Queue, Standing, decide_queue
from ueba.settings import Settings, day_number
from ueba.store import Home


def make_queue(home: Home, day: dt.date, seed: int, settings: Settings) -> Queue:
    """Return a day's queue from the kept scores; the random slots depend on the day and the seed only."""
    rows = read_scores(home, day)[0].to_pylist()
    acts, _ = read_acts(home.root / "reviews.jsonl")
    people = [Standing(row["staff"], row["fresh"], row["slow"]) for row in rows]
    drawn = np.random.default_rng([seed, day_number(day)]).random(len(people))
    draw = {one.staff: float(value) for one, value in zip(people, drawn, strict=True)}
    return decide_queue(day_number(day), people, reviewed_of(acts), draw, settings.queue)


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
