"""How unfamiliar a step's words are to a profile that grows with every step that looks usual. Pure.

For sequences whose beginning is known to be clean: people change, and a profile frozen at the beginning
grows stale. A step joins the profile only if it is no stranger than the strangest own step so far, so that
whoever takes an account over does not teach it (the poisoning guard).
"""

from dataclasses import dataclass

import numpy as np

from ueba.windows import Floats, Ints

PROFILE_WEIGHT = 20.0
"""Words that the others' profile counts for in the own. Source: tried 2, 5, 20 on Schonlau's users 1-15."""
LEAST_SPREAD = 0.15
"""Floor of an own spread, in natural logarithms a word. Source: our choice, so that a monotonous person's
first new word is not an alarm."""
CARRY = 0.3
"""Share of the evidence that is carried to the next step. Source: tried 0.3 and 0.5 on users 1-15."""


@dataclass(frozen=True, slots=True)
class Unfamiliar:
    """By row: novelty (own against others' surprise, mean a word), the same in own spreads, and both together
    with what is carried over from the steps before."""

    novelty: Floats
    own_z: Floats
    carried: Floats


@dataclass(frozen=True, slots=True)
class Step:
    """The words of one entity's step and how often each was used."""

    row: int
    words: Ints
    counts: Floats


def compute_unfamiliar(
    steps: list[list[Step]], vocabulary: int, rows: int, training: list[int]
) -> Unfamiliar:
    """Return the figures of all rows; `steps` are by entity and in order, the first `training` steps of each
    are clean; words are numbered below `vocabulary`."""
    usage = np.zeros((len(steps), vocabulary))
    for place, mine in enumerate(steps):
        for step in mine[: training[place]]:
            np.add.at(usage[place], step.words, step.counts)
    everyone = usage.sum(axis=0)
    # One for all that nobody has used yet: how many words are still to come is not known.
    known = np.count_nonzero(everyone) + 1
    novelty, own_z = np.zeros(rows), np.zeros(rows)
    for place, mine in enumerate(steps):
        others = everyone - usage[place]
        _follow(
            mine,
            usage[place],
            np.log((others + 1.0) / (others.sum() + known)),
            training[place],
            (novelty, own_z),
        )
    clean = np.array(
        [step.row for place, mine in enumerate(steps) for step in mine[: training[place]]], dtype=np.int64
    )
    spread = float(novelty[clean].std()) or 1.0
    both = own_z + novelty / spread
    carried = np.zeros(rows)
    for place, mine in enumerate(steps):
        total, weight = 0.0, 0.0
        for step in mine[training[place] :]:
            total, weight = CARRY * total + both[step.row], CARRY * weight + 1.0
            carried[step.row] = total / weight
    return Unfamiliar(novelty, own_z, carried)


def _novelty(step: Step, profile: Floats, total: float, prior: Floats) -> float:
    """Return the mean of ln(own probability / others'), negated; roots of counts, as repeats say little."""
    own = (profile[step.words] + PROFILE_WEIGHT * np.exp(prior[step.words])) / (total + PROFILE_WEIGHT)
    weight = np.sqrt(step.counts)
    return float((weight * (prior[step.words] - np.log(own))).sum() / weight.sum())


def _follow(
    mine: list[Step], usage: Floats, prior: Floats, training: int, found: tuple[Floats, Floats]
) -> None:
    """Fill in one entity's rows; a training step is judged by the profile of the other training steps."""
    novelty, own_z = found
    profile, total = usage.copy(), float(usage.sum())
    usual: list[float] = []
    for step in mine[:training]:
        profile[step.words] -= step.counts
        novelty[step.row] = _novelty(step, profile, total - float(step.counts.sum()), prior)
        profile[step.words] += step.counts
        usual.append(novelty[step.row])
    limit = max(usual, default=-np.inf)
    for step in mine[training:]:
        novelty[step.row] = value = _novelty(step, profile, total, prior)
        mean, spread = (float(np.mean(usual)), float(np.std(usual))) if usual else (0.0, 1.0)
        own_z[step.row] = (value - mean) / max(spread, LEAST_SPREAD)
        if value <= limit:
            profile[step.words] += step.counts
            total += float(step.counts.sum())
            usual.append(value)
