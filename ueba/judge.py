"""How good a queue or a ranking is: recall by scenario, days to the queue, precision, intervals. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from ueba.windows import Floats, Ints

DRAWS = 500
"""Draws of a bootstrap. Source: our choice: bounds of a 95 % interval stand on a dozen draws each."""


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


def _draw(entity: Ints, label: Ints, seed: int, draws: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield rows of entities drawn with replacement, and which of the draw each is; both labels are there."""
    rng = np.random.default_rng(seed)
    names = np.unique(entity)
    places = {int(name): np.flatnonzero(entity == name) for name in names}
    for _ in range(draws):
        drawn = [places[int(one)] for one in rng.choice(names, len(names))]
        rows = np.concatenate(drawn)
        if 0 < label[rows].sum() < len(rows):
            yield rows, np.repeat(np.arange(len(drawn)), [len(one) for one in drawn])


def bootstrap_by_entity(
    entity: Ints, label: Ints, score: Floats, *, seed: int, draws: int = DRAWS
) -> dict[str, Interval]:
    """Return AUC and average precision with 95 % intervals from drawing entities with replacement."""
    figures = [_auc_ap(label[rows], score[rows]) for rows, _ in _draw(entity, label, seed, draws)]
    low, high = np.quantile(np.array(figures), [0.025, 0.975], axis=0)
    auc, ap = _auc_ap(label, score)
    return {
        "auc": Interval(auc, float(low[0]), float(high[0])),
        "ap": Interval(ap, float(low[1]), float(high[1])),
    }


def _auc_ap(label: Ints, score: Floats) -> tuple[float, float]:
    return float(roc_auc_score(label, score)), float(average_precision_score(label, score))


@dataclass(frozen=True, slots=True)
class AtBudget:
    """What k reviews a step find: precision, and attacked entities found, of how many."""

    precision: Interval
    found_share: Interval
    found: int
    of: int

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        shares = {"precision": self.precision.plain(), "found_share": self.found_share.plain()}
        return shares | {"found": self.found, "of": self.of}


def at_budgets(
    entity: Ints,
    step: Ints,
    label: Ints,
    score: Floats,
    *,
    budgets: Sequence[int],
    seed: int,
    draws: int = DRAWS,
) -> dict[int, AtBudget]:
    """Return by k what k reviews a step find, with 95 % intervals from drawing entities with replacement."""
    drawn = [
        _find(who, step[rows], label[rows], score[rows], budgets)
        for rows, who in _draw(entity, label, seed, draws)
    ]
    low, high = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
    made = {}
    of = len(np.unique(entity[label == 1]))
    for place, (precision, share_found) in enumerate(_find(entity, step, label, score, budgets)):
        made[budgets[place]] = AtBudget(
            Interval(precision, float(low[place, 0]), float(high[place, 0])),
            Interval(share_found, float(low[place, 1]), float(high[place, 1])),
            round(share_found * of),
            of,
        )
    return made


def _find(
    entity: Ints, step: Ints, label: Ints, score: Floats, budgets: Sequence[int]
) -> list[tuple[float, float]]:
    """Return precision and the share of attacked entities found for each number of reviews a step."""
    order = np.lexsort((entity, -score, step))
    _, first, size = np.unique(step[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, size)
    attacked = len(np.unique(entity[label == 1]))
    made = []
    for k in budgets:
        top = order[rank < k]
        found = len(np.unique(entity[top][label[top] == 1]))
        made.append((float(label[top].mean()), found / attacked))
    return made
