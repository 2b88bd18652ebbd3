"""Schedules and annual cost to the fen, against published answers, and over all amounts."""

import datetime as dt
import json
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.disclosure.annual_cost import compute_annual_cost
from core_app.loans.schedule import Terms, compute_payment_fen, plan_equal_instalments

VECTORS = Path(__file__).parents[2] / "vectors"
START = dt.date(2026, 1, 15)
BASIS_POINT = Decimal("0.0001")
KNOWN = json.loads((VECTORS / "equal_instalments.json").read_text())
COST = json.loads((VECTORS / "annual_cost.json").read_text())

terms = st.builds(
    Terms,
    principal_fen=st.integers(1, 20_000_000),
    rate_annual=st.decimals(0, Decimal("0.36"), places=6),
    periods=st.integers(1, 60),
)


@pytest.mark.parametrize("case", KNOWN["cases"], ids=lambda case: f"{case['rate_annual']}")
def test_equal_instalments_match_the_known_answers(case: dict[str, Any]) -> None:
    known = Terms(case["principal_fen"], Decimal(case["rate_annual"]), case["periods"])
    plan = plan_equal_instalments(known, START)
    assert [line.total_fen for line in plan] == [case["payment_fen"]] * 11 + [case["last_fen"]]
    assert sum(line.interest_fen for line in plan) == case["interest_fen"]


def test_known_answer_one_holds_in_every_part() -> None:
    first = KNOWN["first_case"]
    plan = plan_equal_instalments(Terms(1_200_000, Decimal("0.18"), 12), START)
    principals = [line.principal_fen for line in plan]
    assert principals[:3] == first["first_principals_fen"]
    assert principals[-1] == first["last_principal_fen"]
    assert [line.interest_fen for line in plan][:3] == first["first_interests_fen"]
    assert plan[-1].interest_fen == first["last_interest_fen"]
    paid = list(accumulate(principals))
    assert 1_200_000 - paid[2] == first["balance_after_3_fen"]
    assert 1_200_000 - paid[5] == first["balance_after_6_fen"]


def test_due_dates_keep_their_day_and_shorten_to_the_months_end() -> None:
    plan = plan_equal_instalments(Terms(100_000, Decimal("0.18"), 4), dt.date(2027, 12, 31))
    assert [line.due.isoformat() for line in plan] == ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"]


def test_a_rate_of_zero_spreads_the_principal() -> None:
    plan = plan_equal_instalments(Terms(10_000, Decimal(0), 3), START)
    assert [line.total_fen for line in plan] == [3_333, 3_333, 3_334]


@given(terms)
def test_principal_parts_sum_to_the_principal_and_nothing_is_negative(given_terms: Terms) -> None:
    plan = plan_equal_instalments(given_terms, START)
    assert sum(line.principal_fen for line in plan) == given_terms.principal_fen
    assert all(line.principal_fen >= 0 and line.interest_fen >= 0 for line in plan)
    assert [line.period for line in plan] == list(range(1, given_terms.periods + 1))


@given(terms.filter(lambda t: t.principal_fen >= 100_000))
def test_all_but_the_last_payment_are_equal_and_the_last_differs_by_rounding_only(given_terms: Terms) -> None:
    payment_fen = compute_payment_fen(given_terms)
    plan = plan_equal_instalments(given_terms, START)
    assert {line.total_fen for line in plan[:-1]} <= {payment_fen}
    # Half a fen a period, grown at the rate over what is left.
    assert abs(plan[-1].total_fen - payment_fen) <= 2 * given_terms.periods * 6


@pytest.mark.parametrize("case", COST["cases"], ids=lambda case: case["name"])
def test_annual_cost_counts_every_fee(case: dict[str, Any]) -> None:
    payments = [fen + case["added_each_month_fen"] for fen in COST["case_one_payments_fen"]]
    cost = compute_annual_cost(case["paid_out_fen"], payments)
    assert cost.simple.quantize(BASIS_POINT) == Decimal(case["simple"])
    assert cost.compound.quantize(BASIS_POINT) == Decimal(case["compound"])


def test_a_flat_rate_is_shown_at_its_real_cost() -> None:
    flat = COST["flat_0_6_percent"]
    cost = compute_annual_cost(flat["paid_out_fen"], [flat["payment_fen"]] * flat["periods"])
    assert (cost.simple.quantize(BASIS_POINT), cost.compound.quantize(BASIS_POINT)) == (
        Decimal(flat["simple"]),
        Decimal(flat["compound"]),
    )
