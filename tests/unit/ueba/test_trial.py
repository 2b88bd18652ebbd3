"""Several trials read as one, and the bench's lines say which promises do not hold."""

import numpy as np

from bench.staff_behaviour import summary
from tests.unit.ueba.made import make_tables
from ueba.evidence import Distrust, compute_evidence
from ueba.judge import Injected
from ueba.queue import Kind
from ueba.settings import Baseline, QueueSettings, Settings
from ueba.store import REGISTERS
from ueba.trial import REFIT_DAYS, Course, Ranking, Review, judge_trial, pool_trials, run_trial

FIRST = 100


def trial(found_on):
    """Ten cases of one slow scenario, each found that many days after its first act, or never."""
    cases = [Injected(n, "L4", "hard", (f"e{n}",), (FIRST, FIRST + 50)) for n in range(len(found_on))]
    reviews = [
        Review(FIRST + day, f"e{n}", Kind.SLOW, n) for n, day in enumerate(found_on) if day is not None
    ]
    reviews.append(Review(FIRST, "e999", Kind.FRESH, None))
    return judge_trial(Course(reviews, len(reviews)), cases, lambda _: True, FIRST)


def test_pooled_cases_are_those_of_all_trials():
    one, other = trial([1, 2, None]), trial([30, None])
    pooled = pool_trials([one, other])
    (row,) = pooled["scenarios"]
    assert (row["cases"], row["found"], row["median_days"]) == (5, 3, np.median([1, 2, 30]))
    assert row["recall"][0] == 0.6
    assert row["recall"][1] < 0.6 < row["recall"][2]
    assert (pooled["reviews"], pooled["precision"][0]) == (5, 0.6)
    assert pool_trials([one])["scenarios"] == one["scenarios"]


def test_what_stays_under_its_line_is_said():
    def lines(found_on):
        pooled = pool_trials([trial(found_on)])
        return summary(
            {"trial": {"plan": {}, "seeds": [7], "layers": pooled, "control": pooled}}
        ).splitlines()

    assert lines([1, 2, None])[1].startswith("holds")
    assert lines([1, None, None])[1].startswith("UNDER"), "recall under a half"
    assert lines([11, 12, 13])[1].startswith("UNDER"), "found too late"


def test_what_is_too_slow_or_lost_is_said():
    fast = {"stream": {"p99_ms": 40.0, "lost_or_doubled": 0}, "daily": {"seconds": 45.4}}
    assert [line.split()[0] for line in summary(fast).splitlines()] == ["holds", "holds"]
    short = {"million": {"scored_rows": 999_999, "staff_days": 1_100_000}}
    assert summary(short).startswith("UNDER"), "it is scored that counts, not what is there"
    lossy = fast | {"stream": {"p99_ms": 40.0, "lost_or_doubled": 1}, "daily": {"seconds": 121}}
    assert [line.split()[0] for line in summary(lossy).splitlines()] == ["UNDER", "UNDER"]


def test_a_trial_ranks_every_month_anew_with_what_reviews_have_found():
    """One of two misuses from the first day on; the next month's ranking is told of it, not of the other."""
    tables = make_tables(6, 24, 4)
    evidence = compute_evidence(tables, Settings(baseline=Baseline(window=10, gap=3)))
    told = []

    def rank(first, last, found):
        told.append((first, last, list(found)))
        rows = evidence.rows_between(first, last)
        theirs = evidence.person[rows] == 0
        fresh = np.where(theirs, 5.0, 0.0)
        return Ranking(rows, fresh, np.zeros(len(rows)), [{}] * len(rows))

    first = 110
    injected = [Injected(n, "L4", "hard", (f"p0000{n}",), (first, first + 13)) for n in (0, 1)]
    settings = Settings(baseline=Baseline(window=10, gap=3), queue=QueueSettings(budget_share=0.2))
    register = REGISTERS["staff"].empty_table()
    course = run_trial(
        evidence, rank, injected, settings, register=register, seed=1, first=first - REFIT_DAYS + 5
    )
    assert [one.staff for one in course.reviews if one.case is not None][:1] == ["p00000"]
    opened = min(one.day for one in course.reviews if one.case is not None)
    assert [(one[0], one[1]) for one in told] == [(85, 114), (115, 123)]
    assert told[0][2] == []
    assert told[1][2] == [Distrust("p00000", opened - 3, 114)]
