"""Several trials read as one, and the bench's lines say which promises do not hold."""

import numpy as np

from bench.staff_behaviour import summary
from ueba.judge import Injected
from ueba.queue import Kind
from ueba.trial import Course, Review, judge_trial, pool_trials

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
