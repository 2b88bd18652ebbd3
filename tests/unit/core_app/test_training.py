"""Training: the shipped scorecards are those of their seed, and the measures measure what they say."""

import numpy as np
import pytest

from core_app.decisions.risk import read_risk
from core_app.decisions.training.fit import compute_auc, compute_ks, compute_psi, train_cards
from core_app.decisions.training.stability import measure_stability
from core_app.documents import make_canonical
from runbooks.risk import FIRST_DAY, TRAINING_ROWS, TRAINING_SEED


def test_the_shipped_scorecards_are_trained_from_their_seed() -> None:
    shipped = {model.card.id: model.card for model in read_risk().versions}
    trained = train_cards(TRAINING_SEED, TRAINING_ROWS, FIRST_DAY)
    assert {card.id for card in trained} == set(shipped)
    for card in trained:
        known = shipped[card.id]
        assert [term.input for term in card.terms] == [term.input for term in known.terms]
        # Another build of the linear algebra may differ in the last digits.
        weights = [(t.weight, t.missing_weight) for t in card.terms]
        assert np.allclose(weights, [(t.weight, t.missing_weight) for t in known.terms], atol=1e-4)
        assert card.measured.ks == pytest.approx(known.measured.ks, abs=1e-3)
        assert "synthetic" in known.trained_on


def test_each_model_has_the_hash_of_its_own_document() -> None:
    versions = read_risk().versions
    assert len({model.sm3 for model in versions}) == len(versions) == 6
    for model in versions:
        assert make_canonical(model.card.model_dump(mode="json")).sm3 == model.sm3


def test_auc_and_ks_of_small_cases_by_hand() -> None:
    scores = np.array([1.0, 2.0, 3.0, 4.0])
    worst_default = np.array([False, False, True, True])
    assert (compute_auc(scores, worst_default), compute_ks(scores, worst_default)) == (1.0, 1.0)
    mixed = np.array([True, False, True, False])
    assert (compute_auc(scores, mixed), compute_ks(scores, mixed)) == (0.25, 0.5)
    ties = np.array([1.0, 1.0, 1.0, 1.0])
    assert (compute_auc(ties, mixed), compute_ks(ties, mixed)) == (0.5, 0.0)


def test_psi_is_zero_for_the_same_people_and_grows_with_a_shift() -> None:
    people = np.random.default_rng(1).standard_normal(5000)
    assert compute_psi(people, people) == pytest.approx(0.0)
    assert compute_psi(people, people + 0.1) < 0.02 < 0.1 < compute_psi(people, people + 0.5)


def test_the_band_lowers_the_rate_of_flips() -> None:
    found = measure_stability((7, 300, 6), 15, lambda months: months)
    assert found["flip_rate"] < found["flip_rate_without"] / 2
    assert measure_stability((7, 300, 6), 0, lambda months: months)["flip_rate"] == pytest.approx(
        found["flip_rate_without"]
    )
