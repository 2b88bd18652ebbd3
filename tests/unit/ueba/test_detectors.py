"""A row's detector score never depends on the rows it is scored with, nor on the order of training."""

import numpy as np
import pytest

from ueba.detectors import fit_detectors
from ueba.settings import ScoreSettings

FEW = ScoreSettings(trees=20, seeds=(1, 2), neighbours_rows=200)


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(3).normal(size=(400, 6)).astype(np.float32)


def test_a_row_scores_the_same_alone_and_beside_others(data):
    model = fit_detectors(data, FEW)
    strange = np.vstack([data[:5], np.full((5, 6), 40, dtype=np.float32)])
    np.testing.assert_array_equal(model.score(strange)[:5], [model.score(row[None])[0] for row in data[:5]])
    assert model.score(strange)[5:].min() > model.score(data).max()


def test_the_order_of_training_rows_changes_nothing(data):
    shuffled = np.random.default_rng(1).permutation(data)
    np.testing.assert_array_equal(
        fit_detectors(data, FEW).score(data), fit_detectors(shuffled, FEW).score(data)
    )
