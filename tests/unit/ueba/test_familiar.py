"""A profile grows with what looks usual, and a stranger at the keyboard does not teach it."""

import numpy as np

from ueba.familiar import Step, compute_unfamiliar

WORDS, TRAINING, STEPS = 40, 20, 60


def steps(person, first_row, rng, words):
    made = []
    for place in range(STEPS):
        used = rng.choice(words[place] if isinstance(words, list) else words, 30)
        found, counts = np.unique(used, return_counts=True)
        made.append(Step(first_row + place, found, counts.astype(float)))
    return made


def compute(change):
    rng = np.random.default_rng(5)
    mine, theirs = np.arange(0, 15), np.arange(15, 30)
    entities = [steps(0, 0, rng, change(mine, theirs)), steps(1, STEPS, rng, theirs)]
    return compute_unfamiliar(entities, WORDS, 2 * STEPS, [TRAINING, TRAINING])


def test_a_stranger_stays_strange_however_long_he_stays():
    found = compute(lambda mine, theirs: [mine if step < 30 else theirs for step in range(STEPS)])
    taken_over = found.own_z[30:STEPS]
    assert taken_over.min() > 10 > found.own_z[TRAINING:30].max()
    assert taken_over[-1] > 0.9 * taken_over[0]


def test_slow_change_becomes_usual():
    def drift(mine, theirs):
        return [
            np.concatenate([mine, np.arange(30, 30 + max(0, min(10, (step - 20) // 4)))])
            for step in range(STEPS)
        ]

    found = compute(drift)
    frozen = compute(lambda mine, theirs: [mine if step < 59 else np.arange(30, 40) for step in range(STEPS)])
    assert found.own_z[STEPS - 1] < 0.5 * frozen.own_z[STEPS - 1]
