"""A trial of the whole: an organisation with known misuse is scored and reviewed day by day. Pure.

The reviewer of a trial knows the truth: a misuser's case is opened and stays open, everybody else's
review is closed. Models are fitted anew every month on what lies before, less the days that reviews so far
have found to be misuse, as on the daily path; misuse that nobody has found is learnt from.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ueba.detectors import fit_raw_control
from ueba.evidence import LENDING, Distrust, Evidence
from ueba.judge import Injected, share
from ueba.queue import WEEK_DAYS, Kind, Reviewed, Scored, compute_standing, decide_queue
from ueba.scoring import fit_model, list_kinds, read_watched, score_days
from ueba.settings import Settings, day_number

REFIT_DAYS = 30
"""Source: our choice, monthly, as long as half the own window."""
GRACE_DAYS = 5
"""How long after the last act a review still sees the case. Source: our choice, a working week."""


@dataclass(frozen=True, slots=True)
class Review:
    """One review of a trial and what it found."""

    day: int
    staff: str
    kind: Kind
    case: int | None


@dataclass(slots=True)
class Course:
    """What happened in a trial."""

    reviews: list[Review] = field(default_factory=list)
    slots: int = 0


def read_injected(labels: Mapping[str, Any]) -> list[Injected]:
    """Return the known misuse of a generator's `labels.json`."""
    return [
        Injected(
            one["case"],
            one["scenario"],
            one["intensity"],
            tuple(one["staff"]),
            tuple(day_number(dt.date.fromisoformat(day)) for day in one["days"]),
        )
        for one in labels["cases"]
    ]


@dataclass(frozen=True, slots=True)
class Ranking:
    """By row: what the queue ranks by."""

    rows: np.ndarray
    fresh: np.ndarray
    slow: np.ndarray
    kinds: Sequence[Mapping[str, float]]


Rank = Callable[[int, int, Sequence[Distrust]], Ranking]
"""Ranks the rows of the days from one to another; told of whose days reviews so far found to be misuse."""


def rank_by_layers(
    evidence: Evidence, register: pa.Table, settings: Settings, told: Callable[[str], None]
) -> Rank:
    """Return a ranking by a model that is fitted on what lies before."""

    def rank(first: int, last: int, found: Sequence[Distrust]) -> Ranking:
        told(f"fitting before day {first}")
        model = fit_model(evidence, first - 1, settings, evidence.rows_of(found))
        scores = score_days(evidence, model, evidence.rows_between(first, last), register, settings)
        return Ranking(scores.rows, scores.fresh, scores.slow, list_kinds(scores))

    return rank


def rank_by_control(evidence: Evidence, first: int, settings: Settings) -> Rank:
    """Return the ranking of the control: an isolation forest on raw counts of everyone before day `first`."""
    names = [evidence.measures.index(name) for name in LENDING.counted]
    past = evidence.rows_between(first - settings.score.fit_days, first - 1)
    model = fit_raw_control(evidence.raw[past][:, names], settings.score)

    def rank(first: int, last: int, found: Sequence[Distrust]) -> Ranking:
        rows = evidence.rows_between(first, last)
        # Shifted above 0, because the queue leaves out whoever has no evidence.
        score = np.asarray(model.decision_function(evidence.raw[rows][:, names])) + 10.0
        return Ranking(rows, score, np.zeros(len(rows)), [{}] * len(rows))

    return rank


@dataclass(slots=True)
class _Desk:
    """What the reviewers of a trial know so far."""

    course: Course
    rng: np.random.Generator
    lately: dict[str, list[Scored]]
    reviewed: dict[str, Reviewed] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    """Day of the review that opened each person's case."""

    def distrusted(self, today: int, settings: Settings) -> list[Distrust]:
        """Return what `feedback.distrusted_of` says of the same reviews."""
        before = settings.baseline.gap
        return [Distrust(name, day - before, today) for name, day in sorted(self.found.items())]


def run_trial(
    evidence: Evidence,
    rank: Rank,
    injected: Sequence[Injected],
    settings: Settings,
    *,
    register: pa.Table,
    seed: int,
    first: int,
) -> Course:
    """Review day by day from day `first` on, ranked anew every month with what reviews have found.

    Staff who did not come in on a day stand with what they had last.
    """
    desk = _Desk(Course(), np.random.default_rng([seed, 7]), {name: [] for name in evidence.staff})
    last = int(evidence.day.max())
    for start in range(first, last + 1, REFIT_DAYS):
        until = min(last, start + REFIT_DAYS - 1)
        ranking = rank(start, until, desk.distrusted(start - 1, settings))
        days = evidence.day[ranking.rows]
        for day in range(start, until + 1):
            for place in np.flatnonzero(days == day):
                name = evidence.staff[int(evidence.person[ranking.rows[place]])]
                scored = Scored(
                    day, float(ranking.fresh[place]), float(ranking.slow[place]), ranking.kinds[int(place)]
                )
                recent = [one for one in desk.lately[name] if day - one.day <= WEEK_DAYS]
                desk.lately[name] = [*recent, scored]
            _review(day, desk, injected, settings, read_watched(register, day))
    return desk.course


def _review(
    day: int, desk: _Desk, injected: Sequence[Injected], settings: Settings, watched: Mapping[str, int]
) -> None:
    """Make a day's queue of how everybody stands, and review all of it."""
    people = [
        compute_standing(
            name, day, recent, desk.reviewed.get(name), settings.queue, watched_since=watched.get(name)
        )
        for name, recent in desk.lately.items()
    ]
    draw = dict(zip(desk.lately, desk.rng.random(len(people)), strict=True))
    queue = decide_queue(day, people, desk.reviewed, draw, settings.queue)
    desk.course.slots += len(queue.slots)
    standing = {one.staff: one for one in people}
    for slot in queue.slots:
        case = find_case(slot.staff, day, injected)
        before, seen = desk.reviewed.get(slot.staff), standing[slot.staff]
        days = (*(before.days if before else ()), day)
        desk.reviewed[slot.staff] = Reviewed(day, seen.fresh, seen.slow, days, case is not None, seen.kinds)
        if case is not None:
            desk.found.setdefault(slot.staff, day)
        desk.course.reviews.append(Review(day, slot.staff, slot.kind, case))


def find_case(staff: str, day: int, injected: Sequence[Injected]) -> int | None:
    """Return the case that a review of a person on a day would find."""
    for one in injected:
        if staff in one.staff and one.days[0] <= day <= one.days[-1] + GRACE_DAYS:
            return one.case
    return None


def judge_trial(
    course: Course, injected: Sequence[Injected], slow: Callable[[Injected], bool], first: int
) -> dict[str, Any]:
    """Return recall, days to the queue and precision by scenario and intensity, as JSON has them.

    A misuse that began while a case of all its people was open for another one is left out: they get no slot
    because they have their reviewer already. How many there were is said (`left_out`).
    """
    reviews: dict[str, list[int]] = {}
    opened: dict[str, int] = {}
    for one in course.reviews:
        reviews.setdefault(one.staff, []).append(one.day)
        if one.case is not None:
            opened.setdefault(one.staff, one.day)
    rows: list[dict[str, Any]] = []
    begun = [one for one in injected if one.days[0] >= first]
    judged = [
        one for one in begun if not all(opened.get(name, one.days[0]) < one.days[0] for name in one.staff)
    ]
    for key in sorted({(one.scenario, one.intensity) for one in judged}, key=lambda k: (int(k[0][1:]), k[1])):
        cases = [one for one in judged if (one.scenario, one.intensity) == key]
        found = [(one, day) for one in cases if (day := one.found_on(reviews, GRACE_DAYS)) is not None]
        delays = [day - one.days[0] for one, day in found]
        rows.append(
            {
                "scenario": key[0],
                "intensity": key[1],
                "slow": slow(cases[0]),
                "cases": len(cases),
                "found": len(found),
                "recall": share(len(found), len(cases)).plain(),
                "median_days": float(np.median(delays)) if delays else None,
                "days": delays,
            }
        )
    hits = sum(1 for one in course.reviews if one.case is not None)
    drawn = [one for one in course.reviews if one.kind is Kind.RANDOM]
    return {
        "scenarios": rows,
        "recall": _recall(rows),
        "left_out": len(begun) - len(judged),
        "reviews": course.slots,
        "hits": hits,
        "precision": share(hits, course.slots).plain(),
        "precision_of_random": share(sum(1 for one in drawn if one.case is not None), len(drawn)).plain(),
    }


def pool_trials(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of several trials as of one with all their cases and reviews."""
    cells: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in (row for one in trials for row in one["scenarios"]):
        cells.setdefault((row["scenario"], row["intensity"]), []).append(row)
    rows = []
    for (scenario, intensity), found in sorted(
        cells.items(), key=lambda cell: (int(cell[0][0][1:]), cell[0][1])
    ):
        days = [day for row in found for day in row["days"]]
        cases = sum(int(row["cases"]) for row in found)
        rows.append(
            {
                "scenario": scenario, "intensity": intensity, "slow": found[0]["slow"], "cases": cases,
                "found": len(days), "recall": share(len(days), cases).plain(),
                "median_days": float(np.median(days)) if days else None, "days": days,
            }
        )  # fmt: skip
    reviews = sum(int(one["reviews"]) for one in trials)
    return {
        "scenarios": rows,
        "recall": _recall(rows),
        "left_out": sum(int(one["left_out"]) for one in trials),
        "reviews": reviews,
        "precision": share(sum(int(one["hits"]) for one in trials), reviews).plain(),
    }


def _recall(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    return {
        name: share(
            sum(int(row["found"]) for row in rows if row["intensity"] == name),
            sum(int(row["cases"]) for row in rows if row["intensity"] == name),
        ).plain()
        for name in ("easy", "hard")
    }


def burden(course: Course, group: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the reviews without a finding by group (a role, a branch): who bears the false alarms."""
    sizes: dict[str, int] = {}
    for name in group.values():
        sizes[name] = sizes.get(name, 0) + 1
    for name in sorted(sizes):
        of = [one for one in course.reviews if group.get(one.staff) == name and one.case is None]
        people = len({one.staff for one in of})
        yield {
            "group": name,
            "staff": sizes[name],
            "reviews": len(of),
            "reviewed_staff": people,
            "per_100_staff": round(100 * len(of) / sizes[name], 1),
        }
