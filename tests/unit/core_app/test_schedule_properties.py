"""Schedules of every method, what changes them, and their splits: properties over all terms."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core_app.business_calendar import add_months
from core_app.loans.daily import DailyRate, Move, compute_standing
from core_app.loans.prepayment import (
    Mode,
    Prepayment,
    PrepaymentRule,
    Running,
    compute_fee_fen,
    find_fault,
    plan_after_partial,
)
from core_app.loans.reprice import CutUnit, RewardRule, plan_reward
from core_app.loans.schedule import Method, PlanRule, Terms, compute_due_dates, plan_schedule
from core_app.loans.split import split_amounts, split_plan
from core_app.loans.terms import funders, plan_rule, reward_rule
from tests.unit.core_app.product_documents import START, make_product

DAYS = st.dates(dt.date(2024, 1, 1), dt.date(2030, 1, 1))
terms = st.builds(
    Terms,
    principal_fen=st.integers(1, 20_000_000),
    rate_annual=st.decimals(0, Decimal("0.36"), places=6),
    periods=st.integers(1, 60),
)
rules = st.one_of(
    st.builds(PlanRule, st.sampled_from(Method), st.sampled_from([None, 360, 365])),
    st.builds(
        PlanRule, st.sampled_from(Method), st.sampled_from([360, 365]), st.integers(1, 28), st.integers(0, 45)
    ),
)


@given(terms, DAYS, rules)
def test_principal_parts_sum_to_the_principal_and_nothing_is_negative(
    given_terms: Terms, start: dt.date, rule: PlanRule
) -> None:
    plan = plan_schedule(given_terms, start, rule)
    assert sum(line.principal_fen for line in plan) == given_terms.principal_fen
    assert all(line.principal_fen >= 0 and line.interest_fen >= 0 for line in plan)
    assert [line.period for line in plan] == list(range(1, given_terms.periods + 1))
    assert sorted({line.due for line in plan}) == [line.due for line in plan]
    assert plan[0].due > start


@given(DAYS, st.integers(1, 28), st.integers(0, 45))
def test_the_first_bill_day_is_the_earliest_that_leaves_the_days_it_must(
    start: dt.date, bill_day: int, least: int
) -> None:
    rule = PlanRule(Method.EQUAL_PRINCIPAL, 360, bill_day, least)
    first, second = compute_due_dates(start, 2, rule)
    assert first.day == second.day == bill_day
    assert (first - start).days >= max(1, least)
    assert (add_months(first, -1) - start).days < max(1, least)


@given(st.integers(100_000, 20_000_000), st.decimals("0.01", "0.24", places=4), st.integers(3, 36))
def test_a_longer_wait_for_principal_costs_more(principal_fen: int, rate: Decimal, periods: int) -> None:
    plans = {
        method: sum(
            line.interest_fen
            for line in plan_schedule(Terms(principal_fen, rate, periods), START, PlanRule(method))
        )
        for method in Method
    }
    assert plans[Method.EQUAL_PRINCIPAL] <= plans[Method.EQUAL_INSTALMENT] <= plans[Method.INTEREST_ONLY]


def test_a_bill_day_with_interest_by_month_is_refused() -> None:
    with pytest.raises(ValueError, match="needs interest by day"):
        PlanRule(Method.EQUAL_INSTALMENT, None, 10)


@given(st.data(), terms, st.sampled_from([Mode.KEEP_TERM, Mode.KEEP_INSTALMENT]))
def test_a_partial_prepayment_keeps_the_money_and_lowers_the_interest(
    data: st.DataObject, given_terms: Terms, mode: Mode
) -> None:
    assume(given_terms.periods >= 2 and given_terms.principal_fen >= 10_000)
    rule = PlanRule(Method.EQUAL_INSTALMENT)
    plan = plan_schedule(given_terms, START, rule)
    due = data.draw(st.integers(0, given_terms.periods - 1))
    balance_fen = sum(line.principal_fen for line in plan[due:])
    amount_fen = data.draw(st.integers(1, balance_fen - 1))
    running = Running(plan, given_terms.rate_annual, rule, START)
    after = plan_after_partial(running, Prepayment(mode, balance_fen, due, amount_fen))
    assert sum(line.principal_fen for line in after) == balance_fen - amount_fen
    assert all(line.principal_fen >= 0 and line.interest_fen >= 0 for line in after)
    assert [line.due for line in after] == [line.due for line in plan[due : due + len(after)]]
    without_fen = sum(line.interest_fen for line in plan[due:])
    assert sum(line.interest_fen for line in after) <= without_fen + len(after)
    if mode is Mode.KEEP_INSTALMENT:
        assert len(after) <= len(plan) - due


RULE = PrepaymentRule(frozenset({Mode.FULL, Mode.KEEP_TERM}), 10_000, Decimal("0.01"), 6, 2)


@pytest.mark.parametrize(
    ("wish", "parameter"),
    [
        (Prepayment(Mode.KEEP_INSTALMENT, 100_000, 3, 20_000), "prepayment.modes"),
        (Prepayment(Mode.FULL, 100_000, 1, 0), "prepayment.locked_periods"),
        (Prepayment(Mode.KEEP_TERM, 100_000, 3, 9_999), "prepayment.min_fen"),
        (Prepayment(Mode.KEEP_TERM, 100_000, 3, 100_000), "prepayment.min_fen"),
        (Prepayment(Mode.KEEP_TERM, 100_000, 3, 10_000), None),
        (Prepayment(Mode.FULL, 100_000, 3, 0), None),
    ],
)
def test_a_prepayment_the_product_does_not_take_names_the_parameter(
    wish: Prepayment, parameter: str | None
) -> None:
    fault = find_fault(wish, RULE)
    assert (fault and fault.parameter) == parameter


def test_the_fee_for_prepaying_ends_after_its_periods() -> None:
    wishes = [Prepayment(Mode.FULL, 100_050, due, 0) for due in (5, 6)]
    assert [compute_fee_fen(wish, RULE) for wish in wishes] == [1_001, 0]
    assert compute_fee_fen(Prepayment(Mode.KEEP_TERM, 100_050, 2, 50_000), RULE) == 500


@given(terms, st.integers(1, 59), st.sampled_from(CutUnit), st.decimals(0, 1, places=3))
def test_a_reward_never_costs_more_and_keeps_dates_and_principal(
    given_terms: Terms, after: int, unit: CutUnit, cut: Decimal
) -> None:
    rule = PlanRule(Method.EQUAL_INSTALMENT)
    plan = plan_schedule(given_terms, START, rule)
    new = plan_reward(plan, given_terms.rate_annual, RewardRule(after, unit, cut), rule)
    old = plan[after:]
    assert sum(line.principal_fen for line in new) == sum(line.principal_fen for line in old)
    assert [(line.period, line.due) for line in new] == [(line.period, line.due) for line in old]
    assert sum(line.interest_fen for line in new) <= sum(line.interest_fen for line in old) + len(old)


def test_a_reward_that_comes_too_late_changes_nothing() -> None:
    rule = PlanRule(Method.EQUAL_INSTALMENT)
    plan = plan_schedule(Terms(100_000, Decimal("0.18"), 6), START, rule)
    assert plan_reward(plan, Decimal("0.18"), RewardRule(6, CutUnit.POINTS, Decimal("0.01")), rule) == ()
    with pytest.raises(ValueError, match="after_periods >= 1"):
        plan_reward(plan, Decimal("0.18"), RewardRule(0, CutUnit.POINTS, Decimal("0.01")), rule)


@given(
    st.lists(st.integers(0, 3_000_000), min_size=1, max_size=40),
    st.lists(st.integers(1, 100), min_size=1, max_size=8),
)
def test_a_split_adds_up_on_each_instalment_and_no_part_is_negative(
    amounts_fen: list[int], weights: list[int]
) -> None:
    total = sum(weights)
    shares = [Decimal(weight) / total for weight in weights[:-1]]
    shares.append(1 - sum(shares))
    parts = split_amounts(amounts_fen, shares)
    assert [sum(column) for column in zip(*parts, strict=True)] == amounts_fen
    assert all(part >= 0 for row in parts for part in row)
    for row, share in zip(parts, shares, strict=True):
        # Half a fen for itself and what those before it leave: never growing with the instalments.
        assert abs(sum(row) - sum(amounts_fen) * share) <= len(shares)


@pytest.mark.parametrize(
    "shares", [["0.3", "0.6"], ["0.3", "0.8"], ["0", "1"], ["-0.1", "1.1"]], ids=lambda s: "/".join(s)
)
def test_shares_that_are_none_are_refused(shares: list[str]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        split_amounts([1], [Decimal(share) for share in shares])


def test_the_lead_of_a_product_takes_the_rounding() -> None:
    joint = make_product(shipped="joint-instalment")
    plan = plan_schedule(Terms(1_200_000, Decimal("0.156"), 12), START, plan_rule(joint))
    partner, own = split_plan(plan, funders(joint))
    assert (partner.funder, own.funder) == ("partner_bank", "own")
    assert sum(partner.principal_fen) == 840_000
    reward = reward_rule(joint)
    assert reward is not None
    assert reward.lower(Decimal("0.156")) == Decimal("0.151")
    assert reward_rule(make_product()) is None


moves = st.lists(
    st.builds(Move, st.dates(dt.date(2026, 1, 1), dt.date(2026, 3, 1)), st.integers(1, 10**6)), max_size=12
)


@given(moves, st.dates(dt.date(2026, 1, 1), dt.date(2026, 4, 1)), st.randoms())
def test_daily_interest_does_not_depend_on_the_order_or_on_when_it_is_asked(
    draws: list[Move], until: dt.date, dice: object
) -> None:
    shuffled = list(draws)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    standing = compute_standing(draws, until)
    assert standing == compute_standing(shuffled, until)
    nights = sum(move.amount_fen * (until - move.on).days for move in draws if move.on <= until)
    assert standing.balance_days_fen == nights


def test_nobody_repays_what_is_not_drawn() -> None:
    day = dt.date(2026, 1, 1)
    with pytest.raises(ValueError, match="5 fen more repaid than drawn"):
        compute_standing([Move(day, 10), Move(day + dt.timedelta(1), -15)], dt.date(2026, 2, 1))
    assert compute_standing([Move(day, -10), Move(day, 10)], day).balance_fen == 0
    assert DailyRate(Decimal("0.18"), 360).interest_fen(0) == 0
