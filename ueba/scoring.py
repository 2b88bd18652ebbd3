"""One score for each person and day: fit on gapped ordinary history, then digits, families, floors.

`fit_model` learns from days that lie before everything it will score; `score_days` gives for each row
the fresh evidence (today's), the slow evidence (accumulated) and the score that people see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ueba.calibrate import (
    CRITICALITY,
    WATCHED,
    Calibration,
    Tail,
    digits_of,
    fit_calibration,
    fit_tail,
    score_of,
    sum_diminishing,
    weigh,
)
from ueba.detectors import Detectors, fit_detectors
from ueba.errors import UebaError
from ueba.evidence import Column, Evidence
from ueba.floors import Rule
from ueba.queue import RULE_DIGITS
from ueba.rules import Standing, compute_floor, compute_hits
from ueba.settings import EPOCH_DAY, Settings
from ueba.windows import Floats, Ints, Matrix

LEAST_SUM = 0.05
"""Below this a sum of evidence says nothing. Source: our choice, a twentieth of a digit."""
LEAST_KIND = 2.0
"""Digits from which a review has seen a kind of behaviour. Source: our choice, 1 staff-day in 100."""
DETECTOR = Column("combination", "detectors", "plain")


@dataclass(frozen=True, slots=True)
class Model:
    """What was learnt from the staff-days of days `first` to `last`."""

    first: int
    last: int
    rows: int
    detectors: Detectors
    calibration: Calibration
    fresh: Tail
    slow: Tail


@dataclass(frozen=True, slots=True)
class Scores:
    """By row of `rows` (rows of the evidence). `digits` is rows x columns, `families` rows x families."""

    rows: Ints
    columns: list[Column]
    families: list[str]
    digits: Matrix
    fresh: Floats
    slow: Floats
    hits: Mapping[Rule, np.ndarray]
    watched: np.ndarray
    score: Floats
    detector: Floats


def _inputs(evidence: Evidence, rows: Ints) -> Matrix:
    today = [index for index, column in enumerate(evidence.columns) if column.over in ("today", "detail")]
    return evidence.values[rows][:, today]


def fit_model(evidence: Evidence, last: int, settings: Settings, left_out: Ints | None = None) -> Model:
    """Learn from the fit window that ends with day `last`; `left_out` are rows found malicious in review.

    UebaError when there is too little to learn from.
    """
    first = last - settings.score.fit_days + 1
    rows = evidence.rows_between(first, last)
    # A newcomer's strangeness is that of an unknown past; learn from it only when there is nothing else.
    seasoned = evidence.periods[rows] >= settings.score.least_periods
    rows = (
        rows[seasoned] if seasoned.sum() >= settings.score.least_rows else rows[evidence.periods[rows] >= 3]
    )
    if left_out is not None:
        rows = np.setdiff1d(rows, left_out)
    if len(rows) < settings.score.least_rows:
        raise UebaError(
            f"fit: {len(rows)} staff-days with a past between day {first} and {last}; needs at least "
            f"{settings.score.least_rows}: more days (the first {settings.baseline.gap + 3} give only a past)"
        )
    # Rarity is learnt from the earlier part and sums from the later: what was learnt from looks too usual.
    middle = int(np.quantile(evidence.day[rows], 1.0 - settings.score.sum_share))
    late = evidence.day[rows] > middle
    early, late_rows = rows[~late], rows[late]
    detectors = fit_detectors(_inputs(evidence, early), settings.score)
    columns = [*evidence.columns, DETECTOR]
    least = [column.least for column in columns]
    values = _values(evidence, early, detectors)
    calibration = fit_calibration(values, least, evidence.role[early], evidence.roles, settings.score)
    values = _values(evidence, late_rows, detectors)
    digits = calibration.digits(values, evidence.role[late_rows], evidence.roles, settings.score)
    fresh, slow = (
        fit_tail(_sum(digits, columns, slow=part, settings=settings).astype(np.float32), LEAST_SUM)
        for part in (False, True)
    )
    return Model(first, last, len(rows), detectors, calibration, fresh, slow)


def _values(evidence: Evidence, rows: Ints, detectors: Detectors) -> Matrix:
    combined = detectors.score(_inputs(evidence, rows)).astype(np.float32)
    return np.column_stack([evidence.values[rows], combined])


def family_digits(digits: Matrix, columns: list[Column], *, slow: bool) -> tuple[list[str], Floats]:
    """Return the families and the greatest digits of each family's columns: one kind of behaviour, once."""
    families = sorted({column.family for column in columns if column.over != "detail"})
    made = np.zeros((len(digits), len(families)))
    for place, family in enumerate(families):
        of = [
            i
            for i, column in enumerate(columns)
            if (column.family, column.slow) == (family, slow) and column.over != "detail"
        ]
        if of:
            made[:, place] = digits[:, of].max(axis=1)
    return families, made


def _sum(digits: Matrix, columns: list[Column], *, slow: bool, settings: Settings) -> Floats:
    return sum_diminishing(family_digits(digits, columns, slow=slow)[1], settings.score)


def read_standing(evidence: Evidence, rows: Ints, register: pa.Table) -> tuple[Standing, Floats]:
    """Return what the personnel register said of each row's person by that day, and the factors on the odds.

    A date after the row's day is not known yet and is not used.
    """
    size = len(evidence.staff)
    dates = {
        name: np.full(size, np.iinfo(np.int64).max) for name in ("notice_on", "left_on", "dormant_since")
    }
    factor = np.ones(size)
    place = {name: index for index, name in enumerate(evidence.staff)}
    for entry in register.to_pylist():
        index = place.get(entry["staff"])
        if index is None:
            continue
        factor[index] = CRITICALITY[entry["criticality"] or "medium"]
        for name, column in dates.items():
            if entry[name] is not None:
                column[index] = (entry[name] - EPOCH_DAY).days
    person, day = evidence.person[rows], evidence.day[rows]
    known = {name: column[person] <= day for name, column in dates.items()}
    standing = Standing(known["left_on"], known["dormant_since"], known["notice_on"])
    return standing, factor[person] * np.where(standing.watched, WATCHED, 1.0)


def read_watched(register: pa.Table, day: int) -> dict[str, int]:
    """Return since when each one on a watch list is on it: leavers, from their notice to their last day."""
    watched = {}
    for entry in register.select(["staff", "notice_on", "left_on"]).to_pylist():
        dates = (entry["notice_on"], entry["left_on"])
        since, left = (None if one is None else (one - EPOCH_DAY).days for one in dates)
        if since is not None and since <= day and (left is None or day <= left):
            watched[entry["staff"]] = since
    return watched


def list_kinds(scores: Scores) -> list[dict[str, float]]:
    """Return by row the kinds of behaviour that are rare today (LEAST_KIND) and the rules that hold."""
    families, digits = family_digits(scores.digits, scores.columns, slow=False)
    made = [
        {families[place]: round(float(row[place]), 4) for place in np.flatnonzero(row >= LEAST_KIND)}
        for row in digits
    ]
    for rule, rows in scores.hits.items():
        for place in np.flatnonzero(rows):
            made[place][str(rule)] = RULE_DIGITS
    return made


@dataclass(frozen=True, slots=True)
class Allowance:
    """A kind of behaviour that review explained: silent until a day, unless it grows beyond `digits`."""

    staff: str
    family: str
    first: int
    until: int
    digits: float


def _take_allowed(
    evidence: Evidence,
    rows: Ints,
    digits: Matrix,
    columns: list[Column],
    allowed: Sequence[Allowance],
) -> Matrix:
    for one in allowed:
        if one.staff not in evidence.staff:
            continue
        person, day = evidence.person[rows], evidence.day[rows]
        during = (person == evidence.staff.index(one.staff)) & (day >= one.first) & (day <= one.until)
        for index, column in enumerate(columns):
            if column.family == one.family:
                quiet = during & (digits[:, index] <= one.digits)
                digits[quiet, index] = 0.0
    return digits


RULE_MEASURES = ("break_glass_bare", "related_bare", "listed_bare", "overlap")


def _raw(evidence: Evidence, rows: Ints, name: str) -> Floats:
    """Return a measure as counted; zeros in a domain that does not have it."""
    if name not in evidence.measures:
        return np.zeros(len(rows))
    return np.asarray(evidence.raw[rows, evidence.measures.index(name)], dtype=np.float64)


def score_days(
    evidence: Evidence,
    model: Model,
    rows: Ints,
    register: pa.Table,
    settings: Settings,
    *,
    allowed: Sequence[Allowance] = (),
) -> Scores:
    """Score rows of the evidence; UebaError when a row lies in the window that the model learnt from."""
    if len(rows) and int(evidence.day[rows].min()) <= model.last:
        raise UebaError(
            f"score: day {int(evidence.day[rows].min())} lies in what the model was fitted on "
            f"(until {model.last}); needs a model fitted before"
        )
    values = _values(evidence, rows, model.detectors)
    digits = model.calibration.digits(values, evidence.role[rows], evidence.roles, settings.score)
    columns = [*evidence.columns, DETECTOR]
    digits = _take_allowed(evidence, rows, digits, columns, allowed)
    most = settings.score.most_digits
    fresh = model.fresh.digits(_sum(digits, columns, slow=False, settings=settings).astype(np.float32), most)
    slow = model.slow.digits(_sum(digits, columns, slow=True, settings=settings).astype(np.float32), most)
    standing, factor = read_standing(evidence, rows, register)
    hits = compute_hits(standing, *(_raw(evidence, rows, name) for name in RULE_MEASURES))
    floor = compute_floor(hits)
    # Factors and floors work on scores; the queue ranks by digits, so they are taken back.
    fresh_score = np.maximum(weigh(score_of(fresh), factor), floor)
    slow_score = weigh(score_of(slow), factor)
    fresh_digits = np.maximum(digits_of(fresh_score), np.where(factor == 1.0, fresh, 0.0))
    slow_digits = np.where(factor == 1.0, slow, digits_of(slow_score))
    families, _ = family_digits(digits[:1], columns, slow=False)
    return Scores(
        rows,
        columns,
        families,
        digits,
        fresh_digits,
        slow_digits,
        hits,
        standing.watched,
        np.maximum(fresh_score, slow_score),
        values[:, -1].astype(np.float64),
    )
