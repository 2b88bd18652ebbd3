"""How a repayment is split, against the known answer and over all schedules."""

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.loans.allocation import Allocation, Due, Order, PenaltyTerms, allocate_each, sum_parts
from core_app.loans.loan import make_loan, plan_columns
from core_app.loans.schedule import Instalment, Plan, Terms, plan_equal_instalments
from core_app.loans.standing import make_lines
from core_app.loans.store import new_row
from tests.unit.core_app.product_documents import START, make_product

KNOWN = json.loads((Path(__file__).parents[2] / "vectors" / "allocation.json").read_text())
DUES = tuple(
    Due(due["period"], due["penalty_fen"], due["interest_fen"], due["principal_fen"])
    for due in KNOWN["overdue"]
)
PLAN = plan_equal_instalments(Terms(1_200_000, Decimal("0.18"), 12), dt.date(2026, 1, 15))
PRODUCT = make_product()


def allocate_by_instalment(dues: tuple[Due, ...], amount_fen: int) -> Allocation:
    return sum_parts(allocate_each(dues, amount_fen, Order.BY_INSTALMENT, 0))


def compute_open_dues(plan: Plan, interest_paid_fen: int, principal_paid_fen: int) -> tuple[Due, ...]:
    """Return what a loan as stored has open, from the two totals of what was paid."""
    drawn = plan_columns(plan, START) | {
        "day": START,
        "contract_id": "K",
        "customer_id": "C",
        "product": PRODUCT.id,
        "product_version": PRODUCT.version,
        "rate_annual": Decimal("0.18"),
        "principal_fen": sum(line.principal_fen for line in plan),
        "interest_fen": sum(line.interest_fen for line in plan),
        "fee_fen": sum(line.fee_fen for line in plan),
        "anytime": False,
        "interest_to": None,
    }
    row = replace(new_row(drawn), interest_paid_fen=interest_paid_fen, principal_paid_fen=principal_paid_fen)
    return tuple(due for due in make_loan("L", row, PRODUCT, 100).dues if due.total_fen)


@pytest.mark.parametrize("due", KNOWN["overdue"], ids=lambda due: f"{due['days']} days")
def test_penalty_runs_on_overdue_principal_by_days(due: dict[str, int]) -> None:
    penalty = KNOWN["penalty"]
    rates = PenaltyTerms(Decimal(penalty["rate_annual"]), Decimal(penalty["multiple"]), penalty["year_days"])
    (line,) = make_lines((Instalment(1, START, due["principal_fen"], 1_000),), dt.date(2025, 12, 15))
    assert line.penalty_fen(START + dt.timedelta(days=due["days"]), rates) == due["penalty_fen"]


def test_eight_hundred_yuan_pay_penalty_then_interest_then_principal_of_the_first() -> None:
    assert sum(due.total_fen for due in DUES) == KNOWN["total_due_fen"]
    split = allocate_by_instalment(DUES, 80_000)
    assert split.penalty_fen == KNOWN["pay_80000"]["penalty_fen"]
    assert split.interest_fen == KNOWN["pay_80000"]["interest_fen"]
    assert split.principal_fen == KNOWN["pay_80000"]["principal_fen"]


def test_fifteen_hundred_yuan_reach_the_second_principal() -> None:
    split = allocate_by_instalment(DUES, 150_000)
    known = KNOWN["pay_150000"]
    assert split.principal_fen - DUES[0].principal_fen == known["second_principal_fen"]
    assert sum(due.total_fen for due in DUES) - split.total_fen == known["left_fen"]


@pytest.mark.parametrize("amount_fen", [0, -1, KNOWN["total_due_fen"] + 1])
def test_refuses_to_split_nothing_or_more_than_is_due(amount_fen: int) -> None:
    with pytest.raises(ValueError, match="amount to allocate"):
        allocate_by_instalment(DUES, amount_fen)


@given(st.lists(st.integers(1, 150_000), max_size=40))
def test_any_row_of_repayments_conserves_money_and_keeps_the_order(amounts: list[int]) -> None:
    interest_paid = principal_paid = 0
    total = sum(line.total_fen for line in PLAN)
    for amount in amounts:
        dues = compute_open_dues(PLAN, interest_paid, principal_paid)
        open_fen = sum(due.total_fen for due in dues)
        assert open_fen == total - interest_paid - principal_paid
        if amount > open_fen:
            break
        split = allocate_by_instalment(dues, amount)
        assert split.total_fen == amount
        interest_paid += split.interest_fen
        principal_paid += split.principal_fen
        # Paid strictly front to back: at most one instalment is partly paid.
        after = compute_open_dues(PLAN, interest_paid, principal_paid)
        assert all(due.total_fen == PLAN[due.period - 1].total_fen for due in after[1:])


@given(st.integers(0, 1_320_195), st.integers(1, 1_320_195))
def test_one_payment_equals_two_that_sum_to_it(first: int, second: int) -> None:
    if first == 0 or first + second > 1_320_195:
        return
    dues = compute_open_dues(PLAN, 0, 0)
    whole = allocate_by_instalment(dues, first + second)
    one = allocate_by_instalment(dues, first)
    two = allocate_by_instalment(compute_open_dues(PLAN, one.interest_fen, one.principal_fen), second)
    assert one.interest_fen + two.interest_fen == whole.interest_fen
    assert one.principal_fen + two.principal_fen == whole.principal_fen


def test_an_instalment_of_interest_only_is_open_until_its_interest_is_paid() -> None:
    plan = (
        Instalment(1, dt.date(2026, 2, 15), 0, 5),
        Instalment(2, dt.date(2026, 3, 15), 10, 1),
    )
    assert [due.period for due in compute_open_dues(plan, 4, 0)] == [1, 2]
    assert [due.period for due in compute_open_dues(plan, 5, 0)] == [2]
