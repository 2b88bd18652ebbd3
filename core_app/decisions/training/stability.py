"""How steady scores and tiers are over synthetic months: flip rates with and without hysteresis, PSI."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from core_app.decisions.risk import Risk, read_risk
from core_app.decisions.scorecard import Models, compute_score, sub_input
from core_app.decisions.tiers import decide_tier, plain_tier
from core_app.decisions.training.fit import compute_psi
from core_app.decisions.training.synthetic import Floats, make_months


def measure_stability(
    world: tuple[int, int, int],
    band: int,
    follow: Callable[[Sequence[dict[str, Floats]]], Iterable[dict[str, Floats]]],
) -> dict[str, Any]:
    """Return flip rates (share of people and months whose tier changed) and the highest monthly PSI.

    `world` is seed, people, months; scores come from the production scorer. `follow` shows the progress.
    """
    seed, people, months = world
    risk = read_risk()
    models = risk.models_on(max(model.card.valid_from for model in risk.versions))
    held: list[str | None] = [None] * people
    plain: list[str | None] = [None] * people
    scores: list[Floats] = []
    flips, flips_without = 0, 0
    for month, seen in enumerate(follow(make_months(seed, people, months))):
        points = [_score(models, seen, person) for person in range(people)]
        scores.append(np.array(points, dtype=float))
        for person, score in enumerate(points):
            now, now_plain = (
                decide_tier(risk.policy, score, held[person], band),
                plain_tier(risk.policy, score),
            )
            if month:
                flips += now != held[person]
                flips_without += now_plain != plain[person]
            held[person], plain[person] = now, now_plain
    steps = people * (months - 1)
    psi = [compute_psi(before, after) for before, after in pairwise(scores)]
    return {
        "flip_rate": flips / steps,
        "flip_rate_without": flips_without / steps,
        "psi_most": max(psi),
        "tiers": {tier: held.count(tier) for tier in _names(risk)},
    }


def _names(risk: Risk) -> tuple[str, ...]:
    return tuple(tier.tier for tier in risk.policy.tiers)


def _score(models: Models, seen: dict[str, Floats], person: int) -> int:
    inputs: dict[str, float | None] = {
        name: None if np.isnan(values[person]) else float(values[person]) for name, values in seen.items()
    }
    over = dict(inputs)
    for sub in models.subs:
        over[sub_input(sub.card.id)] = compute_score(sub.card, inputs).log_odds
    return compute_score(models.main.card, over).points
