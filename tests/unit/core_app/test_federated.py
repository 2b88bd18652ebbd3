"""What a house gives out: sums as good as all rows in one place, and none that show a single row."""

import numpy as np
import pytest

from core_app.decisions.training.federated import HouseRefused, asking_own_rows, average
from core_app.decisions.training.fit import compute_auc, regress
from core_app.decisions.training.house import House, make_design, read_terms
from core_app.decisions.training.released import (
    LEAST_ALIKE,
    LEAST_ROWS,
    compute_sums,
    find_why_not,
    pack_sums,
    unpack_sums,
    unpack_weights,
)
from core_app.decisions.training.synthetic import make_population

SEED, ROWS = 11, 4_000
HOUSES = (House(SEED, ROWS, 0), House(SEED, ROWS, 1))
TERMS = read_terms()
SIZE = 1 + 2 * len(TERMS)


def rows_of(house: House) -> tuple[np.ndarray, np.ndarray]:
    people = house.read_rows()
    return make_design(TERMS, people), people.defaulted.astype(float)


async def test_sums_of_two_houses_give_the_weights_of_all_rows_in_one_place() -> None:
    weights = await average(SIZE, tuple(map(asking_own_rows, HOUSES)))
    people = make_population(SEED, ROWS)
    # A second way: the regression that the shipped cards are trained by, on all rows in one place.
    assert np.allclose(weights, regress(make_design(TERMS, people), people.defaulted), atol=1e-8)
    alone = HOUSES[0].read_rows()
    first = regress(make_design(TERMS, alone), alone.defaulted)
    assert not np.allclose(weights, first, atol=1e-3), "one house alone finds others"
    unseen = make_population(SEED + 1, ROWS)
    assert compute_auc(make_design(TERMS, unseen) @ weights, unseen.defaulted) > 0.7


@pytest.mark.parametrize("rows", [1, 2, LEAST_ROWS - 1])
def test_a_house_of_few_rows_gives_nothing_and_says_nothing_of_how_few(rows: int) -> None:
    design, outcome = rows_of(HOUSES[0])
    why = find_why_not(design[:rows], outcome[:rows], np.zeros(SIZE))
    assert why is not None
    assert why.startswith(f"fewer than {LEAST_ROWS} rows")


async def test_the_platform_itself_is_held_to_the_same_rule() -> None:
    with pytest.raises(HouseRefused, match="platform: fewer than 500 rows"):
        await average(SIZE, (asking_own_rows(House(SEED, 2 * (LEAST_ROWS - 1), 0)),))


def test_one_row_would_be_read_off_its_sums() -> None:
    """Why there is a least number: the slope at zero of a single row is that row, times the half."""
    design, outcome = rows_of(HOUSES[0])
    slope, _ = compute_sums(design[:1], outcome[:1], np.zeros(SIZE))
    assert np.allclose(slope / slope[0], design[0])


@pytest.mark.parametrize("borne_by", [1, LEAST_ALIKE - 1])
def test_a_mark_that_few_bear_keeps_the_whole_house_silent(borne_by: int) -> None:
    design, outcome = rows_of(HOUSES[0])
    assert find_why_not(design, outcome, np.zeros(SIZE)) is None
    column = SIZE - 1  # the last term's "is missing": two thirds lack it
    few = design.copy()
    few[:, column] = 0.0
    few[:borne_by, column] = 1.0
    assert "bear or lack a mark" in str(find_why_not(few, outcome, np.zeros(SIZE)))
    lacking = design.copy()
    lacking[:, column] = 1.0
    lacking[:borne_by, column] = 0.0
    assert "bear or lack a mark" in str(find_why_not(lacking, outcome, np.zeros(SIZE)))


def test_two_marks_that_differ_in_one_row_keep_the_house_silent() -> None:
    design, outcome = rows_of(HOUSES[0])
    one = design.copy()
    lacking = np.flatnonzero(one[:, SIZE - 1] == 0)[0]
    one[lacking, SIZE - 1] = 1.0  # now its neighbour, missing for the same people, differs in this row alone
    assert "bear or lack a mark" in str(find_why_not(one, outcome, np.zeros(SIZE)))


def test_weights_that_single_rows_out_are_not_answered() -> None:
    design, outcome = rows_of(HOUSES[0])
    # Steep along one column: all rows but those at the threshold have a share of next to 0 or 1.
    column = 1  # the amount's share, continuous
    steep = np.zeros(SIZE)
    steep[column], steep[0] = 1e6, -1e6 * design[7, column]
    share = 1 / (1 + np.exp(-np.clip(design @ steep, -500, 500)))
    assert (share * (1 - share) > 1e-3).sum() < 5, "the sums would rest on a handful of rows"
    assert find_why_not(design, outcome, steep) == "the weights asked about single out a few rows"
    far = np.zeros(SIZE)
    far[0] = -40.0
    assert find_why_not(design, outcome, far) == "the weights asked about single out a few rows"


def test_an_answer_is_read_back_and_is_as_long_for_any_number_of_rows() -> None:
    design, outcome = rows_of(HOUSES[0])
    weights = np.linspace(-0.1, 0.1, SIZE)
    lengths = set()
    for rows in (600, 2_000):
        slope, curve = compute_sums(design[:rows], outcome[:rows], weights)
        message = pack_sums(slope, curve)
        lengths.add(len(message))
        read = unpack_sums(message, SIZE)
        assert np.array_equal(read[0], slope)
        assert np.allclose(read[1], curve)
    assert lengths == {8 * (SIZE + SIZE * (SIZE + 1) // 2)}


@pytest.mark.parametrize("body", [b"", b"x" * (8 * SIZE - 1), b"\xff" * 8 * SIZE])
def test_a_question_that_is_not_all_numbers_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"bytes, needs|not finite"):
        unpack_weights(body, SIZE)
