"""How good a queue or a ranking is: recall by scenario, days to the queue, precision, intervals. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from ueba.windows import Floats, Ints


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def plain(self) -> list[float]:
        """Return value, low, high, rounded for people."""
        return [round(self.value, 3), round(self.low, 3), round(self.high, 3)]


def share(found: int, of: int) -> Interval:
    """Return a share with its Wilson interval."""
    if of == 0:
        return Interval(float("nan"), 0.0, 1.0)
    interval = binomtest(found, of).proportion_ci(method="wilson")
    return Interval(found / of, float(interval.low), float(interval.high))


@dataclass(frozen=True, slots=True)
class Injected:
    """One known misuse: who, when, and of which kind."""

    case: int
    scenario: str
    intensity: str
    staff: tuple[str, ...]
    days: tuple[int, ...]

    def found_on(self, reviews: Mapping[str, Sequence[int]], grace: int) -> int | None:
        """Return the first day on which a review of a member could see acts of the case: from its first act
        to `grace` days after its last."""
        found = [
            day
            for name in self.staff
            for day in reviews.get(name, ())
            if self.days[0] <= day <= self.days[-1] + grace
        ]
        return min(found, default=None)


def bootstrap_by_entity(
    entity: Ints, label: Ints, score: Floats, seed: int, rounds: int = 500
) -> dict[str, Interval]:
    """Return AUC and average precision with 95 % intervals from drawing entities with replacement."""
    rng = np.random.default_rng(seed)
    names = np.unique(entity)
    places = {int(name): np.flatnonzero(entity == name) for name in names}
    figures: list[tuple[float, float]] = []
    for _ in range(rounds):
        rows = np.concatenate([places[int(one)] for one in rng.choice(names, len(names))])
        if 0 < label[rows].sum() < len(rows):
            figures.append(_auc_ap(label[rows], score[rows]))
    low, high = np.quantile(np.array(figures), [0.025, 0.975], axis=0)
    auc, ap = _auc_ap(label, score)
    return {
        "auc": Interval(auc, float(low[0]), float(high[0])),
        "ap": Interval(ap, float(low[1]), float(high[1])),
    }


def _auc_ap(label: Ints, score: Floats) -> tuple[float, float]:
    return float(roc_auc_score(label, score)), float(average_precision_score(label, score))


def at_budget(entity: Ints, step: Ints, label: Ints, score: Floats, k: int) -> tuple[float, int, int]:
    """Return the precision of k reviews a step, the attacked entities found, and how many there are."""
    hits = reviews = 0
    found: set[int] = set()
    for one in np.unique(step):
        rows = np.flatnonzero(step == one)
        top = rows[np.lexsort((entity[rows], -score[rows]))][:k]
        hits += int(label[top].sum())
        reviews += len(top)
        found.update(int(name) for name in entity[top][label[top] == 1])
    return hits / max(reviews, 1), len(found), len(np.unique(entity[label == 1]))
