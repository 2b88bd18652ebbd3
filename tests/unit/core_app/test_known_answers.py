"""The fourteen known answers to the fen, each a second way where a library can.

Numbers are those of research section 4; the vectors stand in tests/vectors.
"""

import datetime as dt
import json
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy_financial as npf
import pytest
import pyxirr

from core_app.business_calendar import add_months
from core_app.disclosure.annual_cost import (
    DatedPayment,
    compute_annual_cost,
    compute_daily_cost,
    compute_dated_cost,
    to_compound,
)
from core_app.disclosure.charges import compute_charges
from core_app.loans.allocation import Due, Order, OrderRule, PenaltyTerms, allocate_each
from core_app.loans.classification import (
    AssetClass,
    bureau_status,
    classify,
    is_non_performing,
    read_class_limits,
)
from core_app.loans.daily import DailyRate, Move, compute_standing
from core_app.loans.prepayment import Mode, Prepayment, Running, plan_after_partial
from core_app.loans.provision import compute_provision, read_provision_rates
from core_app.loans.replay import Contract, Repaid, replay
from core_app.loans.reprice import CutUnit, RewardRule, plan_reward
from core_app.loans.schedule import (
    Instalment,
    Method,
    Plan,
    PlanRule,
    Terms,
    plan_equal_instalments,
    plan_schedule,
)
from core_app.loans.split import Funder, split_plan
from core_app.loans.standing import find_days_past_due, make_lines
from core_app.money import round_half_up
from core_app.rules.read import read_rulebook
from tests.unit.core_app.product_documents import START, make_product

VECTORS = Path(__file__).parents[2] / "vectors"
RATE = Decimal("0.18")
TERMS = Terms(1_200_000, RATE, 12)
MONTHLY = PlanRule(Method.EQUAL_INSTALMENT)
PLAN = plan_equal_instalments(TERMS, START)
PAYMENTS = [line.total_fen for line in PLAN]
BASIS_POINT = Decimal("0.0001")


def known(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def basis_points(share: Decimal) -> str:
    return str(share.quantize(BASIS_POINT))


@pytest.mark.parametrize("case", known("equal_instalments")["cases"], ids=lambda c: c["rate_annual"])
def test_1_and_2_equal_instalments_as_numpy_financial_has_them(case: dict[str, Any]) -> None:
    # Against the published fen in test_schedules.py; here against another formula.
    rate, periods, principal_fen = float(case["rate_annual"]) / 12, case["periods"], case["principal_fen"]
    assert round(-npf.pmt(rate, periods, principal_fen)) == case["payment_fen"]
    plan = plan_equal_instalments(Terms(principal_fen, Decimal(case["rate_annual"]), periods), START)
    exact = -npf.ppmt(rate, np.arange(1, periods + 1), periods, principal_fen)
    drift = [abs(line.principal_fen - part) for line, part in zip(plan, exact, strict=True)]
    # Two roundings of half a fen a period, and the interest on those before.
    assert max(drift[:-1]) <= 2.0
    assert drift[-1] <= periods
    interest = -npf.ipmt(rate, np.arange(1, periods + 1), periods, principal_fen)
    assert abs(sum(line.interest_fen for line in plan) - interest.sum()) <= periods


def test_3_equal_principal_and_interest_only() -> None:
    answer = known("other_schedules")
    terms = Terms(answer["principal_fen"], Decimal(answer["rate_annual"]), answer["periods"])
    plan = plan_schedule(terms, START, PlanRule(Method.EQUAL_PRINCIPAL))
    expected = answer["equal_principal"]
    assert [line.total_fen for line in plan][:2] == expected["first_totals_fen"]
    assert plan[-1].total_fen == expected["last_total_fen"]
    interest_fen = sum(line.interest_fen for line in plan)
    # A second way: P·r·(n+1)/2.
    assert interest_fen == expected["interest_fen"] == terms.principal_fen * Fraction(3, 200) * 13 / 2
    bullet = plan_schedule(terms, START, PlanRule(Method.INTEREST_ONLY))
    expected = answer["interest_only"]
    assert {line.interest_fen for line in bullet} == {expected["interest_each_fen"]}
    assert sum(line.interest_fen for line in bullet) == expected["interest_fen"]
    assert [line.principal_fen for line in bullet] == [0] * 11 + [expected["principal_at_end_fen"]]


def test_4_internal_rates_of_return() -> None:
    answer = known("rates_of_return")
    cost = compute_annual_cost(1_200_000, PAYMENTS)
    assert (cost.simple / 12).quantize(Decimal("0.00000001")) == Decimal(answer["case_one"]["monthly"])
    assert basis_points(cost.simple) == answer["case_one"]["simple"]
    assert basis_points(cost.compound) == answer["case_one"]["compound"]
    assert float(cost.simple) / 12 == pytest.approx(npf.irr([-1_200_000, *PAYMENTS]), abs=1e-12)
    docs = answer["numpy_financial_docs"]
    paid_out, *payments = docs["flows"]
    ours = compute_annual_cost(-paid_out, payments).simple / 12
    assert float(ours) == pytest.approx(float(docs["irr"]), abs=1e-15)
    assert npf.irr(docs["flows"]) == pytest.approx(float(docs["irr"]), abs=1e-12)


def test_4_rate_of_return_by_days() -> None:
    dated = [DatedPayment(line.due, line.total_fen) for line in PLAN]
    cost = compute_dated_cost(START, 1_200_000, dated)
    answer = known("rates_of_return")["dated"]
    assert (START.isoformat(), PLAN[-1].due.isoformat()) == (answer["start"], answer["end"])
    assert cost.compound.quantize(Decimal("0.00001")) == Decimal(answer["compound"])
    dates = [START, *(payment.on for payment in dated)]
    assert float(cost.compound) == pytest.approx(pyxirr.xirr(dates, [-1_200_000, *PAYMENTS]), abs=1e-9)
    assert to_compound(cost.simple).quantize(Decimal("0.0000000001")) == cost.compound.quantize(
        Decimal("0.0000000001")
    )


TRAPS = [
    (
        "guarantee on the original",
        {"monthly_share": "0.003", "monthly_payee": "guarantor"},
        "0.2425",
        "0.2713",
    ),
    (
        "fee of the opening balance",
        {"monthly_share": "0.003", "monthly_base": "opening", "monthly_payee": "guarantor"},
        "0.2160",
        "0.2387",
    ),
    (
        "kept back at the draw",
        {"upfront_share": "0.03", "upfront_payee": "own", "upfront_when": "draw"},
        "0.2391",
        "0.2671",
    ),
]


@pytest.mark.parametrize(("fees", "simple", "compound"), [t[1:] for t in TRAPS], ids=[t[0] for t in TRAPS])
def test_5_fees_that_hide_beside_eighteen_percent(fees: dict[str, str], simple: str, compound: str) -> None:
    product = make_product({f"pricing.fees.{name}": value for name, value in fees.items()})
    charges = compute_charges(product, 1_200_000, 12, START)
    assert basis_points(charges.cost.simple) == simple
    assert basis_points(charges.cost.compound) == compound
    payments = [line.total_fen for line in charges.plan]
    assert float(charges.cost.simple) / 12 == pytest.approx(
        npf.irr([-charges.paid_out_fen, *payments]), abs=1e-12
    )
    if fees.get("monthly_base") == "opening":
        assert charges.monthly_fees_fen == known("rates_of_return")["fee_of_opening_balance"]["fees_fen"]


@pytest.mark.parametrize("cap", known("rates_of_return")["caps"], ids=lambda cap: cap["simple"])
def test_6_caps_in_both_units(cap: dict[str, str]) -> None:
    compound = to_compound(Decimal(cap["simple"]))
    assert basis_points(compound) == cap["compound"]
    assert float(compound) == pytest.approx(-npf.fv(float(cap["simple"]) / 12, 12, 0, 1) - 1, abs=1e-12)


def test_7_daily_interest() -> None:
    answer = known("daily_interest")
    for case in answer["by_day"]:
        rate = DailyRate(Decimal(case["rate_annual"]), case["day_count"])
        assert rate.interest_fen(case["principal_fen"] * case["days"]) == case["interest_fen"]
    expected = answer["daily_rate"]
    annual = Decimal(expected["daily"]) * 360
    cost = compute_daily_cost(annual, 360)
    assert basis_points(annual) == expected["simple_360"]
    assert basis_points(cost.simple) == expected["simple_365"]
    assert basis_points(cost.compound) == expected["compound"]
    assert float(cost.compound) == pytest.approx(-npf.fv(float(expected["daily"]), 365, 0, 1) - 1, abs=1e-12)


def test_8_borrow_and_repay_anytime() -> None:
    answer = known("daily_interest")["anytime"]
    moves = [Move(dt.date.fromisoformat(on), fen) for on, fen in answer["moves"]]
    until = dt.date.fromisoformat(answer["settled_on"])
    standing = compute_standing(moves, until)
    rate = DailyRate(Decimal(answer["rate_annual"]), answer["day_count"])
    assert standing.balance_days_fen == answer["balance_days_yuan"] * 100
    assert rate.interest_fen(standing.balance_days_fen) == answer["interest_fen"]
    # A second way: one night after the other.
    nights = (until - moves[0].on).days
    evenings = [moves[0].on + dt.timedelta(days=n) for n in range(nights)]
    balances = [sum(move.amount_fen for move in moves if move.on <= evening) for evening in evenings]
    assert sum(balances) == standing.balance_days_fen
    stops = [*(move.on for move in moves[1:]), until]
    totals = [rate.interest_fen(compute_standing(moves, stop).balance_days_fen) for stop in stops]
    assert [after - before for before, after in zip([0, *totals], totals, strict=False)] == answer[
        "parts_fen"
    ]


def allocation_case() -> tuple[dict[str, Any], tuple[Due, ...]]:
    answer = known("allocation")
    dues = tuple(
        Due(due["period"], due["penalty_fen"], due["interest_fen"], due["principal_fen"])
        for due in answer["overdue"]
    )
    return answer, dues


@pytest.mark.parametrize("order", Order)
def test_9_allocation_in_three_orders(order: Order) -> None:
    answer, dues = allocation_case()
    expected = answer["orders"][order]
    each = allocate_each(dues, 80_000, order, len(dues))
    for component, fen in expected["80000"].items():
        assert sum(getattr(part, component) for part in each) == fen
    first, second = allocate_each(dues, 150_000, order, len(dues))
    rest = expected["150000"]
    assert second.principal_fen == rest["second_principal_fen"]
    assert first.principal_fen == rest.get("first_principal_fen", dues[0].principal_fen)
    assert sum(due.total_fen for due in dues) - 150_000 == rest.get("left_fen", 73_354)


@pytest.mark.parametrize("order", Order)
def test_9_the_same_out_of_a_journal_with_penalties_run_by_day(order: Order) -> None:
    answer, dues = allocation_case()
    penalty = answer["penalty"]
    rates = PenaltyTerms(Decimal(penalty["rate_annual"]), Decimal(penalty["multiple"]), penalty["year_days"])
    paid_on = dt.date.fromisoformat(answer["paid_on"])
    contract = Contract(PLAN, rates, OrderRule(order, order, 90))
    before = replay(contract, [], paid_on)
    assert before.dues[:2] == dues
    assert before.days_past_due == 38
    expected = answer["orders"][order]
    after = replay(contract, [Repaid(1, paid_on, 80_000)], paid_on)
    split = after.splits[1]
    assert {name: getattr(split, name) for name in expected["80000"]} == expected["80000"]
    after = replay(contract, [Repaid(1, paid_on, 150_000)], paid_on)
    if "left_fen" in expected["150000"]:
        future = sum(line.total_fen for line in PLAN[2:])
        assert after.outstanding_fen - future == expected["150000"]["left_fen"]
        assert after.days_past_due == expected["150000"]["days_past_due"]


def test_10_prepayment_in_three_modes() -> None:
    answer = known("prepayment")
    full = answer["full"]
    balance_fen = 1_200_000 - sum(line.principal_fen for line in PLAN[:3])
    assert balance_fen == answer["balance_fen"]
    assert DailyRate(RATE, 360).interest_fen(balance_fen * full["days"]) == full["interest_fen"]
    assert full["total_fen"] - balance_fen == full["interest_fen"]
    assert sum(line.interest_fen for line in PLAN[3:]) == answer["interest_without_fen"]
    running = Running(PLAN, RATE, MONTHLY, START)
    kept: dict[Mode, Plan] = {
        mode: plan_after_partial(running, Prepayment(mode, balance_fen, 3, answer["partial_fen"]))
        for mode in (Mode.KEEP_TERM, Mode.KEEP_INSTALMENT)
    }
    term, instalment = answer["keep_term"], answer["keep_instalment"]
    assert [line.total_fen for line in kept[Mode.KEEP_TERM]] == [term["payment_fen"]] * term["periods"]
    assert sum(line.interest_fen for line in kept[Mode.KEEP_TERM]) == term["interest_fen"]
    assert round(-npf.pmt(0.015, term["periods"], answer["left_fen"])) == term["payment_fen"]
    shorter = kept[Mode.KEEP_INSTALMENT]
    assert [line.total_fen for line in shorter] == [110_016] * 5 + [instalment["last_fen"]]
    assert sum(line.interest_fen for line in shorter) == instalment["interest_fen"]
    assert (
        int(np.ceil(npf.nper(0.015, -110_016, answer["left_fen"]))) == instalment["periods"] == len(shorter)
    )
    assert [line.due for line in shorter] == [line.due for line in PLAN[3:9]]


@pytest.mark.parametrize("unit", CutUnit)
def test_11_a_lower_rate_from_the_seventh_period(unit: CutUnit) -> None:
    answer = known("reward")
    reward = RewardRule(answer["after_periods"], unit, Decimal(answer["cut"]))
    expected = answer[unit]
    assert reward.lower(RATE) == Decimal(expected["rate_annual"])
    plan = plan_reward(PLAN, RATE, reward, MONTHLY)
    assert [line.total_fen for line in plan] == expected["payments_fen"]
    assert sum(line.interest_fen for line in plan) == expected["interest_fen"]
    assert sum(line.interest_fen for line in PLAN[6:]) == answer["interest_without_fen"]
    left_fen = sum(line.principal_fen for line in PLAN[6:])
    assert round(-npf.pmt(float(expected["rate_annual"]) / 12, 6, left_fen)) == expected["payments_fen"][0]
    assert [(line.period, line.due) for line in plan] == [(line.period, line.due) for line in PLAN[6:]]


@pytest.mark.parametrize("case", known("funding_split")["cases"], ids=lambda c: "/".join(c["shares"]))
def test_12_a_joint_loan_split_by_cumulative_difference(case: dict[str, Any]) -> None:
    funders = [Funder(f"f{n}", Decimal(share)) for n, share in enumerate(case["shares"])]
    parts = split_plan(PLAN, funders)
    assert [part.interest_fen[0] for part in parts] == case["interest_fen"]
    assert [part.principal_fen[0] for part in parts] == case["principal_fen"]
    assert [sum(part.principal_fen) for part in parts] == case["principal_sum_fen"]


def test_12_rounding_each_period_would_be_a_fen_off() -> None:
    naive = sum(round_half_up(line.principal_fen * Fraction(3, 10)) for line in PLAN)
    assert naive == known("funding_split")["rounding_each_period_fen"]
    parts = split_plan(PLAN, [Funder("a", Decimal("0.3")), Funder("b", Decimal("0.7"))])
    running = list(accumulate(parts[0].principal_fen))
    wanted = [round_half_up(total * Fraction(3, 10)) for total in accumulate(p.principal_fen for p in PLAN)]
    assert running == wanted


def test_13_days_past_due_classes_and_bureau_status() -> None:
    answer = known("days_past_due")
    due = dt.date.fromisoformat(answer["due"])
    lines = make_lines((Instalment(1, due, 1, 0),), START)
    for text, days, name in answer["classes"]:
        day = dt.date.fromisoformat(text)
        limits = read_class_limits(read_rulebook(), day)
        assert find_days_past_due(lines, day) == days
        # A second way: numpy counts the days.
        assert int((np.datetime64(text) - np.datetime64(answer["due"])).astype(int)) == days
        assert classify(days, limits) == name
        assert not is_non_performing(min(days, 60), limits, by_60_days=True)
    text, days = answer["npl_60"]
    assert find_days_past_due(lines, dt.date.fromisoformat(text)) == days
    assert is_non_performing(days, limits, by_60_days=True)
    assert not is_non_performing(days, limits, by_60_days=False)
    assert [[days, bureau_status(days)] for days, _ in answer["bureau"]] == answer["bureau"]


def test_14_provisions_and_their_coverage() -> None:
    answer = known("provision")
    rates = read_provision_rates(read_rulebook(), START)
    balances = {AssetClass(name): fen for name, fen in answer["balances_fen"].items()}
    found = compute_provision(balances, rates)
    assert found.specific_fen == answer["specific_fen"]
    assert (found.general_fen, found.total_fen) == (answer["general_fen"], answer["total_fen"])
    assert found.npl_fen == answer["npl_fen"]
    assert found.coverage is not None
    assert f"{float(found.coverage):.3f}" == answer["coverage"]
    assert not found.covers(rates.coverage_min)
    assert not found.covers(rates.coverage_min_npl60)
    weights = np.array([float(rate) for rate in rates.specific.values()])
    amounts = np.array([balances[name] for name in rates.specific])
    assert float(weights @ amounts) == sum(answer["specific_fen"].values())


def test_the_vectors_due_dates_are_the_calendars() -> None:
    assert [line.due for line in PLAN] == [add_months(START, n) for n in range(1, 13)]
