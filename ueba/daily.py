"""The daily path: figures of the days, a model with its card, a day's scores, and any old score again.

A score depends on the events, the registers, the settings, the reviewers' acts, the code and the versions
of the libraries. The card of a scored day names the digest of each, so `replay` can tell which one differs.
"""

import datetime as dt
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ueba.calibrate import level_of
from ueba.detectors import names_of
from ueba.errors import UebaError
from ueba.evidence import Evidence, compute_evidence
from ueba.features.days import make_days, read_days
from ueba.feedback import allowed_of, begun_anew, distrusted_of
from ueba.journal import read_acts
from ueba.scoring import Model, Scores, fit_model, list_kinds, score_days
from ueba.settings import Settings, day_number
from ueba.store import Home, sm3_hex, write_table

LIBRARIES = ("duckdb", "ibis-framework", "numpy", "pyarrow", "pyod", "scikit-learn", "scipy")
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scored:
    """One scored day with what is needed to explain it."""

    day: dt.date
    evidence: Evidence
    model: Model
    scores: Scores
    """Of all days since the model was fitted, so that a reason can say since when."""
    rows: np.ndarray
    card: dict[str, Any]


def code_digest() -> str:
    """Return the SM3 digest of this package's sources."""
    folder = Path(__file__).parent
    return sm3_hex(file.read_bytes() for file in sorted(folder.rglob("*.py")))


def settings_digest(settings: Settings) -> str:
    """Return the SM3 digest of the settings."""
    return sm3_hex(json.dumps(settings.plain(), sort_keys=True).encode())


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which day to score, with a model fitted until `fit_until` (that day too); `acts_known` is how
    many of the reviewers' acts were known (None: all there are)."""

    day: dt.date
    fit_until: dt.date
    acts_known: int | None = None


def choose_days(home: Home, wanted: Wanted, settings: Settings) -> list[dt.date]:
    """Return the days that a score depends on; UebaError when they do not reach."""
    known = [one for one in home.require_events() if one <= wanted.day]
    reach = settings.score.fit_days + settings.baseline.window + settings.baseline.gap
    days = [one for one in known if (wanted.fit_until - one).days <= reach]
    if wanted.day not in days or wanted.fit_until >= wanted.day:
        raise UebaError(
            f"{wanted.day}: needs events of that day, and a model fitted before it (until {wanted.fit_until})"
        )
    return days


def score_home(home: Home, wanted: Wanted, settings: Settings, told: Told) -> Scored:
    """Score a day; nothing is written but the figures of the days."""
    day, fit_until = wanted.day, wanted.fit_until
    days = choose_days(home, wanted, settings)
    told(f"figures of {len(days)} days")
    make_days(home, days, settings)
    acts = read_acts(home.root / "reviews.jsonl")[0][: wanted.acts_known]
    told("evidence")
    distrusted = distrusted_of(acts, day, settings.baseline.gap)
    register = home.read_register("staff")
    evidence = compute_evidence(
        read_days(home, days), settings, distrusted=distrusted, anew=begun_anew(register, acts)
    )
    told("fitting")
    model = fit_model(evidence, day_number(fit_until), settings, evidence.rows_of(distrusted))
    told("scoring")
    since = evidence.rows_between(model.last + 1, day_number(day))
    scores = score_days(evidence, model, since, register, settings, allowed=allowed_of(acts))
    rows = np.flatnonzero(evidence.day[scores.rows] == day_number(day))
    card = {
        "day": day.isoformat(),
        "fitted_until": fit_until.isoformat(),
        "fitted_on_staff_days": model.rows,
        "detectors": list(names_of(settings.score)),
        "settings": settings.plain(),
        "digests": {
            "data": _data_digest(home, days),
            "settings": settings_digest(settings),
            "code": code_digest(),
            "acts": sm3_hex(json.dumps([act.model_dump(mode="json") for act in acts]).encode()),
        },
        "acts_known": len(acts),
        "versions": {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()},
    }
    card["scores"] = scores_digest(evidence, scores, rows)
    return Scored(day, evidence, model, scores, rows, card)


def _data_digest(home: Home, days: list[dt.date]) -> str:
    sources = [(home.root / "features" / f"day={day.isoformat()}" / "source").read_text() for day in days]
    return sm3_hex(one.encode() for one in sources)


def to_table(scored: Scored) -> pa.Table:
    """Return the day's scores as they are kept: one row a person, by pseudonym."""
    evidence, scores, rows = scored.evidence, scored.scores, scored.rows
    kinds = list_kinds(scores)
    score = np.round(scores.score[rows], 4)
    return pa.table(
        {
            "staff": [evidence.staff[int(evidence.person[row])] for row in scores.rows[rows]],
            "role": [evidence.roles[int(evidence.role[row])] for row in scores.rows[rows]],
            "score": score,
            "level": [str(level_of(float(one))) for one in score],
            "fresh": scores.fresh[rows],
            "slow": scores.slow[rows],
            "detector": scores.detector[rows],
            "rules": [[str(rule) for rule, hit in scores.hits.items() if hit[row]] for row in rows],
            "kinds": [json.dumps(kinds[row], sort_keys=True) for row in rows],
        }
    )


def scores_digest(evidence: Evidence, scores: Scores, rows: np.ndarray) -> str:
    """Return the digest of every bit of a day's scores and of the evidence behind them."""
    names = [evidence.staff[int(evidence.person[row])] for row in scores.rows[rows]]
    parts = [scores.digits[rows], scores.fresh[rows], scores.slow[rows], scores.score[rows]]
    return sm3_hex([json.dumps(names).encode(), *(np.ascontiguousarray(part).tobytes() for part in parts)])


def keep(home: Home, scored: Scored) -> Path:
    """Write a day's scores and card; return the scores' file."""
    file = home.root / "scores" / f"{scored.day.isoformat()}.parquet"
    write_table(to_table(scored), file)
    body = json.dumps(scored.card, ensure_ascii=False, indent=2, sort_keys=True)
    file.with_suffix(".json").write_text(body, encoding="utf-8")
    return file


def read_scores(home: Home, day: dt.date) -> tuple[pa.Table, dict[str, Any]]:
    """Return the kept scores of a day and their card; UebaError when there are none."""
    file = home.root / "scores" / f"{day.isoformat()}.parquet"
    if not file.exists():
        raise UebaError(f"{day}: no scores; needs `biyi ueba score --date {day}` first")
    return pq.read_table(file), json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))


def replay(home: Home, day: dt.date, settings: Settings, told: Told) -> dict[str, Any]:
    """Score an old day anew and compare bit for bit; what differs is named."""
    _, kept = read_scores(home, day)
    wanted = Wanted(day, dt.date.fromisoformat(kept["fitted_until"]), kept["acts_known"])
    again = score_home(home, wanted, settings, told).card
    differs = [name for name in kept["digests"] if kept["digests"][name] != again["digests"][name]]
    differs += [name for name in kept["versions"] if kept["versions"][name] != again["versions"].get(name)]
    return {
        "day": day.isoformat(),
        "same": kept["scores"] == again["scores"],
        "kept": kept["scores"],
        "again": again["scores"],
        "differs": differs,
    }


def find_silent(home: Home, systems: list[str], day: dt.date) -> dict[str, int]:
    """Return the events of a day by registered system; a silent one has 0, and coverage is red."""
    files = [str(file) for file in home.event_files([day])]
    counts = dict.fromkeys(systems, 0)
    if files:
        found = (
            pq.ParquetDataset(files)
            .read(columns=["system"])
            .group_by("system")
            .aggregate([([], "count_all")])
        )
        for row in found.to_pylist():
            counts[row["system"]] = row["count_all"]
    return counts
