"""Two houses fit one card together: as well as with all rows in one place, and no row leaves its house."""

import json
from typing import Any

import numpy as np
import pytest

from core_app.decisions.risk import read_risk
from core_app.decisions.training.federated import (
    LEAST_ROWS,
    House,
    HouseRefused,
    average,
    make_design,
    open_houses,
)
from core_app.decisions.training.fit import compute_auc, regress
from core_app.decisions.training.synthetic import make_population

SEED, ROWS = 11, 4_000
HOUSES = (House(SEED, ROWS, 0), House(SEED, ROWS, 1))
CARD = next(model.card for model in read_risk().versions if model.card.id == "credit-challenger")
CONTINUOUS = ("request.amount_share", "var.arrears_share", "bureau.score")


def numbers_of(plain: Any) -> set[float]:
    if isinstance(plain, dict):
        return set().union(*map(numbers_of, plain.values()))
    if isinstance(plain, list):
        return set().union(*map(numbers_of, plain))
    return {plain}


def test_two_processes_find_the_weights_of_all_rows_together_and_no_row_crosses() -> None:
    with open_houses(HOUSES, CARD.terms) as wires:
        weights = average(CARD, wires)
    people = make_population(SEED, ROWS)
    design = make_design(CARD.terms, people)
    # A second way: the regression that the shipped cards are trained by, on all rows in one place.
    assert np.allclose(weights, regress(design, people.defaulted), atol=1e-8)
    alone = HOUSES[0].read_rows()
    first = regress(make_design(CARD.terms, alone), alone.defaulted)
    assert not np.allclose(weights, first, atol=1e-3), "one house alone finds others"
    unseen = make_population(SEED + 1, ROWS)
    assert compute_auc(make_design(CARD.terms, unseen) @ weights, unseen.defaulted) > 0.7
    size = len(weights)
    for wire, house in zip(wires, HOUSES, strict=True):
        rows = house.read_rows()
        own = make_design(CARD.terms, rows)
        secret = {float(value) for name in CONTINUOUS for value in rows.inputs[name] if not np.isnan(value)}
        standardised = {term.input: 1 + 2 * n for n, term in enumerate(CARD.terms)}
        secret |= {float(value) for name in CONTINUOUS for value in own[:, standardised[name]] if value}
        assert len(secret) > ROWS
        for message in wire.received:
            sums = json.loads(message)
            assert (set(sums), sums["rows"]) == ({"rows", "slope", "curve"}, len(rows.defaulted))
            assert (len(sums["slope"]), np.shape(sums["curve"])) == (size, (size, size))
            assert not secret & numbers_of(sums)
        for message in wire.sent:
            assert set(json.loads(message)) == {"weights"}


def test_a_house_of_few_rows_gives_nothing_away() -> None:
    few = House(SEED, 2 * (LEAST_ROWS - 1), 0)
    with open_houses((few,), CARD.terms) as wires, pytest.raises(HouseRefused, match="499 rows, needs 500"):
        average(CARD, wires)
    assert [set(json.loads(message)) for message in wires[0].received] == [{"refused"}]
