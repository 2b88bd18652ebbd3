"""How surprising a person's words are: under the own past, the peers' and the organisation's. Pure.

A word is anything that is used: a terminal, an hour, a customer's branch, a command. Each profile is
smoothed by the one above it, so that a newcomer is judged as the peers are.
"""

from dataclasses import dataclass

import numpy as np

from ueba.windows import Floats, Ints, Past, Window, number_keys


@dataclass(frozen=True, slots=True)
class Surprise:
    """Negative natural logarithms of the probability of each row's word."""

    own: Floats
    peers: Floats
    everyone: Floats

    @property
    def novelty(self) -> Floats:
        """Return how much more surprising the word is for the person than for the organisation."""
        return self.own - self.everyone


@dataclass(frozen=True, slots=True)
class Words:
    """Rows of person, peer group, day, word, count: one row for each combination."""

    person: Ints
    peers: Ints
    day: Ints
    word: Ints
    count: Floats
    trusted: Floats
    """0 where a row is judged but no part of what is usual."""


def compute_surprise(words: Words, window: Window, weight: float) -> Surprise:
    """Return the surprise of each row; `weight` is what the profile above counts for, in words' counts.

    The profile of everyone is smoothed by one count for every word known by then and one for all unknown.
    """
    nobody = np.zeros(len(words.word), dtype=np.int64)
    learnt = words.count * words.trusted
    vocabulary = _count_known(words, learnt, window) + 1.0

    itself = learnt * window.sees_itself(words.day)
    places = number_keys(words.person, words.day)
    own_day = np.bincount(places, itself)[places]

    def share(group: Ints, prior: Floats, prior_weight: Floats | float) -> Floats:
        seen = Past(number_keys(group, words.word), words.day, learnt)
        all_seen = Past(group, words.day, learnt)
        n = seen.sums(number_keys(group, words.word), words.day, window) - itself
        total = all_seen.sums(group, words.day, window) - own_day
        return (n + prior_weight * prior) / (total + prior_weight)

    everyone = share(nobody, 1.0 / vocabulary, vocabulary)
    peers = share(words.peers, everyone, weight)
    own = share(words.person, peers, weight)
    return Surprise(-np.log(own), -np.log(peers), -np.log(everyone))


def _count_known(words: Words, learnt: Floats, window: Window) -> Floats:
    """Return by row how many words anybody had used before the row's window ended."""
    names, place = np.unique(words.word, return_inverse=True)
    first = np.full(len(names), np.iinfo(np.int64).max)
    kept = learnt > 0
    np.minimum.at(first, place[kept], words.day[kept])
    return np.searchsorted(np.sort(first), window.edges(words.day)[1]).astype(np.float64)


def by_row(rows: Ints, size: int, counts: Floats, surprise: Surprise) -> Floats:
    """Return four columns for `size` person-days; `rows` says to which each word belongs.

    Mean novelty over what was done; sum of novelty by log1p count; greatest own surprise by log1p count;
    mean own surprise against the peers'.
    """
    made = np.zeros((size, 4))
    heavy = np.log1p(counts)
    total = np.bincount(rows, counts, size)
    novelty = surprise.novelty
    made[:, 0] = np.bincount(rows, counts * novelty, size) / np.maximum(total, 1e-9)
    made[:, 1] = np.bincount(rows, heavy * np.maximum(novelty, 0.0), size)
    np.maximum.at(made[:, 2], rows, heavy * surprise.own)
    made[:, 3] = np.bincount(rows, counts * (surprise.own - surprise.peers), size) / np.maximum(total, 1e-9)
    return made


COLUMNS = ("novelty", "novelty_sum", "surprise_peak", "against_peers")
"""Names of the columns of `by_row`."""
