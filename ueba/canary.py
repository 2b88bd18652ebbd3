"""Known misuse put beside a real day, in the form in which events come in: would today's queue have had it?

Each canary is the double of a member of staff with the same past, and misuses something today. Its lines go
through ingestion, features, evidence, scores and the queue like anybody's, in a folder of their own beside
the real one: labelled, never shown to a reviewer, never part of what is usual. What was caught is kept.
"""

import datetime as dt
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ueba.casework import read_reviewed, stand_staff
from ueba.daily import Told, Wanted, choose_days, read_scores
from ueba.errors import UebaError
from ueba.evidence import Evidence, compute_evidence
from ueba.features.days import NAMES, make_days, read_days
from ueba.features.tables import DayTables
from ueba.feedback import allowed_of, begun_anew, distrusted_of
from ueba.ingest import ingest_file
from ueba.journal import read_acts
from ueba.queue import Standing, decide_queue
from ueba.scoring import Scores, fit_model, score_days
from ueba.settings import Settings, day_number
from ueba.store import EVENTS, REGISTERS, Home, write_table

PREFIX = "canary-"
"""Label of a canary's token; no real one has it."""
_LOOKS, _REPEATS, _ROWS = 300, 12, 50_000
"""How much a canary does. Source: research/ueba.md §2.3, the easy settings of L1, L12 and L5."""


@dataclass(frozen=True, slots=True)
class Canary:
    """One double: whose past it has, and what it does today."""

    token: str
    donor: str
    kind: str


Lines = list[dict[str, Any]]
Acts = Callable[["Canary", dt.datetime, Sequence[str], Sequence[str]], Lines]
"""From a canary, local midnight in UTC, customers and those it knows privately: what it does."""


def _line(canary: Canary, number: int, at: dt.datetime, action: str, **more: Any) -> dict[str, Any]:
    made = {"event_id": f"{canary.token}-{number}", "at": at.isoformat(), "staff": canary.token}
    return made | {"action": action} | more


def _bulk(canary: Canary, midnight: dt.datetime, customers: Sequence[str], known: Sequence[str]) -> Lines:
    del known
    at = midnight + dt.timedelta(hours=10)
    return [
        _line(canary, n, at + dt.timedelta(seconds=20 * n), "view", assigned=False, dwell_ms=1800,
              customer=customers[n % len(customers)])
        for n in range(_LOOKS)
    ]  # fmt: skip


def _night(canary: Canary, midnight: dt.datetime, customers: Sequence[str], known: Sequence[str]) -> Lines:
    del customers, known
    return [_line(canary, 0, midnight + dt.timedelta(hours=2), "export", rows=_ROWS)]


def _again(canary: Canary, midnight: dt.datetime, customers: Sequence[str], known: Sequence[str]) -> Lines:
    del known
    at = midnight + dt.timedelta(hours=11)
    return [
        _line(canary, n, at + dt.timedelta(minutes=n), "view", assigned=False, customer=customers[0])
        for n in range(_REPEATS)
    ]


def _relative(canary: Canary, midnight: dt.datetime, customers: Sequence[str], known: Sequence[str]) -> Lines:
    at = midnight + dt.timedelta(hours=14)
    return [_line(canary, 0, at, "view", assigned=False, customer=(known or customers)[0])]


def _dormant(canary: Canary, midnight: dt.datetime, customers: Sequence[str], known: Sequence[str]) -> Lines:
    del known
    return [_line(canary, 0, midnight + dt.timedelta(hours=15), "view", customer=customers[0])]


KINDS: Mapping[str, Acts] = {
    "bulk_view": _bulk,
    "night_export": _night,
    "again_and_again": _again,
    "relative": _relative,
    "dormant_account": _dormant,
}
"""What can be done within a day. Slow misuse needs weeks: the generator's trial measures that."""


def run_canaries(home: Home, day: dt.date, seed: int, settings: Settings, told: Told) -> dict[str, Any]:
    """Put one canary of each kind beside a scored day and keep what the queue would have done, as JSON."""
    _, kept = read_scores(home, day)
    wanted = Wanted(day, dt.date.fromisoformat(kept["fitted_until"]), kept["acts_known"])
    days = choose_days(home, wanted, settings)
    told(f"figures of {len(days)} days")
    make_days(home, days, settings)
    tables = read_days(home, days)
    canaries = choose_canaries(tables, day, seed, settings)
    with tempfile.TemporaryDirectory(prefix="biyi-canary-") as folder:
        overlay = Home(Path(folder))
        told("canaries come in")
        today = _ingest(home, overlay, canaries, day, settings)
        register = overlay.read_register("staff")
    told("evidence")
    acts = read_acts(home.root / "reviews.jsonl")[0][: wanted.acts_known]
    distrusted = distrusted_of(acts, day, settings.baseline.gap)
    with_canaries = _with_canaries(tables, today, canaries, day)
    anew = begun_anew(register, acts)
    evidence = compute_evidence(with_canaries, settings, distrusted=distrusted, anew=anew)
    theirs = np.flatnonzero([name.startswith(PREFIX) for name in evidence.staff])
    told("fitting without them, scoring with them")
    left_out = np.union1d(np.flatnonzero(np.isin(evidence.person, theirs)), evidence.rows_of(distrusted))
    model = fit_model(evidence, day_number(wanted.fit_until), settings, left_out)
    rows = evidence.rows_between(day_number(day), day_number(day))
    scores = score_days(evidence, model, rows, register, settings, allowed=allowed_of(acts))
    judged = []
    reviewed = read_reviewed(home, settings)
    others = stand_staff(home, day, reviewed, settings)
    for one in canaries:
        mine, score = _stand(one, evidence, scores)
        people = [*others, mine]
        # No draw helps a canary: it has to earn its slot.
        draw = {each.staff: 1.0 for each in people}
        queue = decide_queue(day_number(day), people, reviewed, draw, settings.queue)
        caught = any(slot.staff == one.token and slot.digits > 0 for slot in queue.slots)
        judged.append({"kind": one.kind, "donor": one.donor, "score": round(score, 1), "caught": caught})
    caught_in_all = sum(bool(one["caught"]) for one in judged)
    found = {"day": day.isoformat(), "seed": seed, "scores": kept["scores"], "caught": caught_in_all}
    found["canaries"] = judged
    file = home.root / "canaries" / f"{day}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def choose_canaries(tables: DayTables, day: dt.date, seed: int, settings: Settings) -> list[Canary]:
    """Draw a donor for each kind among those who came in that day and have a past; UebaError with too few."""
    staff = tables.staff_days["staff"].to_numpy(zero_copy_only=False)
    days = tables.staff_days["day"].to_numpy()
    names, counts = np.unique(staff[days < day_number(day)], return_counts=True)
    seasoned = set(names[counts >= settings.score.least_periods])
    ready = sorted(seasoned.intersection(staff[days == day_number(day)]))
    if len(ready) < len(KINDS):
        raise UebaError(f"{day}: {len(ready)} staff with a past came in; needs at least {len(KINDS)}")
    drawn = np.random.default_rng([seed, day_number(day)]).choice(ready, len(KINDS), replace=False)
    return [
        Canary(f"{PREFIX}{place}", str(donor), kind)
        for place, (donor, kind) in enumerate(zip(drawn, KINDS, strict=True))
    ]


def _ingest(
    home: Home, overlay: Home, canaries: Sequence[Canary], day: dt.date, settings: Settings
) -> DayTables:
    """Take the canaries' lines in beside the day's real events; return the figures of that day."""
    doubles = {one.donor: one for one in canaries}
    registers = {name: home.read_register(name).to_pylist() for name in REGISTERS}
    for entry in [row for row in registers["staff"] if row["staff"] in doubles]:
        double = doubles[entry["staff"]]
        silent = {"dormant_since": day} if double.kind == "dormant_account" else {}
        registers["staff"].append(entry | {"staff": double.token} | silent)
    known: dict[str, list[str]] = {}
    for entry in [row for row in registers["relation"] if row["staff"] in doubles]:
        known.setdefault(entry["staff"], []).append(entry["customer"])
        registers["relation"].append(entry | {"staff": doubles[entry["staff"]].token})
    for name, rows in registers.items():
        write_table(pa.Table.from_pylist(rows, schema=REGISTERS[name]), overlay.register(name), durable=False)
    own = pq.ParquetDataset([str(one) for one in home.event_files([day])], schema=EVENTS).read()
    customers = sorted(set(own["customer"].drop_null().to_pylist()))
    midnight = dt.datetime.combine(day, dt.time(), dt.UTC) - dt.timedelta(minutes=settings.utc_offset_minutes)
    file = overlay.root / "canaries.jsonl"
    with file.open("w", encoding="utf-8") as opened:
        for place, one in enumerate(canaries):
            lines = KINDS[one.kind](one, midnight, customers[place:] or customers, known.get(one.donor, ()))
            opened.writelines(json.dumps(line) + "\n" for line in lines)
    taken = ingest_file(overlay, file, "event", midnight + dt.timedelta(days=1), settings)
    if taken.rejected:
        raise UebaError(f"{day}: {taken.rejected} lines of canaries were rejected; a defect of ours")
    # What the donor did that day, the canary did too; what else happened that day stands beside it.
    mine = own.filter(pc.is_in(own["staff"], pa.array(list(doubles))))
    tokens = pa.array([doubles[name].token for name in mine["staff"].to_pylist()], pa.string())
    ids = pa.array([f"{PREFIX}of-{one}" for one in mine["event_id"].to_pylist()], pa.string())
    for name, column in (("staff", tokens), ("event_id", ids)):
        mine = mine.set_column(mine.schema.get_field_index(name), name, column)
    write_table(pa.concat_tables([own, mine]), overlay.day_folder(day) / "day.parquet", durable=False)
    make_days(overlay, [day], settings)
    return read_days(overlay, [day])


def _with_canaries(
    tables: DayTables, today: DayTables, canaries: Sequence[Canary], day: dt.date
) -> DayTables:
    """Return the real figures with the doubles' past and the canaries' day added; the real ones stay."""
    tokens = {one.donor: one.token for one in canaries}

    def joined(name: str) -> pa.Table:
        real, mine = getattr(tables, name), getattr(today, name)
        past = real.filter(
            pc.and_(pc.is_in(real["staff"], pa.array(list(tokens))), pc.less(real["day"], day_number(day)))
        )
        doubled = pa.array([tokens[one] for one in past["staff"].to_pylist()], pa.string())
        past = past.set_column(past.schema.get_field_index("staff"), "staff", doubled)
        mine = mine.filter(pc.starts_with(mine["staff"], PREFIX))
        return pa.concat_tables([real, past.cast(real.schema), mine.cast(real.schema)])

    return DayTables(*(joined(name) for name in NAMES))


def _stand(canary: Canary, evidence: Evidence, scores: Scores) -> tuple[Standing, float]:
    """Return one canary as the queue sees it, and its score."""
    for place, row in enumerate(scores.rows):
        if evidence.staff[int(evidence.person[row])] == canary.token:
            fresh, slow = float(scores.fresh[place]), float(scores.slow[place])
            return Standing(canary.token, fresh, slow), float(scores.score[place])
    raise UebaError(f"{canary.token}: was not scored; a defect of ours")
