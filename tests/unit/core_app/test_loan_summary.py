"""What rows of the outbox make of a loan's summary."""

import datetime as dt

import pytest

from core_app.read_models.loan_summary import map_row, summary_key
from core_app.read_models.read import compute_age_ms
from replication.projection.position import Change, Row
from replication.projection.projector import State
from runbooks.cache import STATES

LOAN = {"loan_id": "L1", "balance_fen": 5}


def a_row(topic: str, payload: dict[str, object]) -> Row:
    return Row(1, 1, topic, "L1", payload, "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize("topic", ["loan.drawn", "loan.repaid"])
def test_a_change_of_a_loan_replaces_its_summary(topic: str):
    assert map_row(a_row(topic, {"loan": LOAN, "amount_fen": 9})) == Change(summary_key("L1"), LOAN)


def test_a_change_that_does_not_say_where_the_loan_stands_takes_the_summary_away():
    assert map_row(a_row("loan.repaid", {"balance_fen": 5})) == Change(summary_key("L1"), None)


def test_other_rows_do_nothing():
    assert map_row(a_row("contract.signed", {"loan": LOAN})) is None


def test_the_age_is_unknown_until_everything_was_read_once():
    now = dt.datetime(2026, 1, 1, 0, 0, 2, tzinfo=dt.UTC)
    assert compute_age_ms("", now) is None
    assert compute_age_ms("2026-01-01T00:00:00.500000+00:00", now) == 1500


def test_every_state_of_a_projector_has_its_words():
    assert set(STATES) == {str(state) for state in State}
