"""Stress tests over portfolios made by hand: each figure a second way, each boundary from both sides."""

import datetime as dt
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core_app.errors import DocumentInvalid
from core_app.indicators.table import State
from core_app.loans.classification import AssetClass
from core_app.money import round_half_up
from core_app.rules.read import read_rulebook
from core_app.stress.read import find_scenario, read_shipped, read_tables
from core_app.stress.runoff import Flow, run_off
from core_app.stress.scenario import NO_SHOCK, SCENARIO, Finance, Scenario, check_use, make_schema
from core_app.stress.shock import Group, Portfolio, shock_group, stress

DAY = dt.date(2026, 8, 31)
NORMAL, SPECIAL, SUBSTANDARD, DOUBTFUL, LOSS = AssetClass


def make_scenario(**changes: Any) -> Scenario:
    plain = {
        "id": "made",
        "version": 1,
        "name": {"zh": "测试", "en": "Made"},
        "from": "2026-01-01",
        "source": "test",
    }
    return SCENARIO.validate_python(plain | changes)


def make_finance(**changes: Any) -> Finance:
    return Finance.model_validate({"as_of": DAY, "stated_by": "li", "document": "balance"} | changes)


def make_group(product: str = "instalment-12", region: str = "110000", **fen: int) -> Group:
    balances = {AssetClass(name): amount for name, amount in fen.items()}
    late = sum(amount for name, amount in balances.items() if name not in (NORMAL, SPECIAL))
    return Group(product, region, balances, late, 0)


# Known answer 14, in fen: 1,000,000 yuan in five classes, 26,000 set aside.
KNOWN = make_group(
    normal=91_500_000, special_mention=5_000_000, substandard=2_000_000, doubtful=1_000_000, loss=500_000
)


def run(portfolio: Portfolio, scenario: Scenario, finance: Finance | None = None) -> Any:
    return stress(portfolio, scenario, finance, read_rulebook(), read_tables())


def standings(outcome: Any) -> dict[str, Any]:
    return {one.indicator.id: one for one in outcome.standings}


def test_without_a_shock_provisions_are_known_answer_fourteen() -> None:
    outcome = run(Portfolio(DAY, (KNOWN,)), NO_SHOCK)
    assert outcome.provision_fen == 2_600_000
    assert standings(outcome)["npl_coverage"].value == Fraction(26_000, 35_000)


def test_a_tenth_of_the_good_falling_behind_is_provided_for_by_hand() -> None:
    falls = {"of": "normal", "share": "0.10", "to": "substandard"}
    outcome = run(Portfolio(DAY, (KNOWN,)), make_scenario(defaults=[falls]))
    # 91,500 yuan move: a quarter of them is 22,875 more, the general provision stays.
    assert outcome.provision_fen == 2_600_000 + 2_287_500
    assert outcome.balances_fen[SUBSTANDARD] == 2_000_000 + 9_150_000
    assert sum(outcome.balances_fen.values()) == 100_000_000
    assert standings(outcome)["npl_ratio"].value == Fraction(35_000 + 91_500, 1_000_000)
    assert standings(outcome)["over_60_days_ratio"].value == Fraction(35_000 + 91_500, 1_000_000)


def test_defaults_follow_one_another_and_hit_only_the_products_and_provinces_named() -> None:
    scenario = make_scenario(
        defaults=[
            {"of": "special_mention", "share": "1", "to": "loss", "products": ["instalment-12"]},
            {"of": "normal", "share": "0.5", "to": "doubtful", "regions": ["110000"]},
            {"of": "normal", "share": "0.5", "to": "substandard"},
        ]
    )
    found = shock_group(make_group(normal=1_000, special_mention=100), scenario)
    assert found.balances_fen == {NORMAL: 250, SPECIAL: 0, SUBSTANDARD: 250, DOUBTFUL: 500, LOSS: 100}
    other = shock_group(
        make_group("bill-small-ticket", "310000", normal=1_000, special_mention=100), scenario
    )
    assert other.balances_fen == {NORMAL: 500, SPECIAL: 100, SUBSTANDARD: 500, DOUBTFUL: 0, LOSS: 0}


def test_each_group_is_rounded_as_day_end_rounds_it() -> None:
    halves = tuple(make_group(region=str(n), normal=50) for n in range(10))
    assert run(Portfolio(DAY, halves), NO_SHOCK).provision_fen == 10, "half a fen up, ten times; together 5"


@pytest.mark.parametrize(("share", "state"), [("0.0500", State.WITHIN), ("0.0501", State.BREACHED)])
def test_a_ratio_is_breached_only_beyond_its_bound(share: str, state: State) -> None:
    scenario = make_scenario(defaults=[{"of": "normal", "share": share, "to": "substandard"}])
    outcome = run(Portfolio(DAY, (make_group(normal=1_000_000),)), scenario)
    assert standings(outcome)["npl_ratio"].state is state


@pytest.mark.parametrize(("tier1", "state"), [(4_999, State.WITHIN), (4_998, State.BREACHED)])
def test_leverage_is_what_is_left_of_capital_over_what_is_left_of_assets(tier1: int, state: State) -> None:
    # 100,000 lent, 1,000 provided for; one in ten falls into substandard: 3,500 needed. Nothing was booked.
    finance = make_finance(tier1_capital_fen=tier1 + 2_401, cash_fen=1_000, other_assets_fen=0)
    scenario = make_scenario(defaults=[{"of": "normal", "share": "0.1", "to": "substandard"}])
    outcome = run(Portfolio(DAY, (make_group(normal=100_000),)), scenario, finance)
    leverage = standings(outcome)["leverage"]
    assert outcome.loss_fen == 3_500
    assert leverage.value == Fraction(tier1 + 2_401 - 3_500, 100_000 - 3_500 + 1_000)
    # 4 % of 97,500 is 3,900 exactly.
    assert leverage.state is (State.WITHIN if tier1 + 2_401 - 3_500 >= 3_900 else State.BREACHED) is state


def test_what_finance_did_not_state_is_unknown_and_never_within() -> None:
    found = standings(run(Portfolio(DAY, (KNOWN,), by_partner_fen={"bank_east": 5}), NO_SHOCK))
    for name in ("leverage", "liquidity", "interbank", "largest_borrower", "ten_largest", "partner_share"):
        assert found[name].state is State.UNKNOWN, name
    assert found["reserve_adequacy"].state is State.BREACHED, "nothing is in this portfolio's books"


def test_capital_that_is_used_up_breaks_every_bound_on_it() -> None:
    finance = make_finance(tier1_capital_fen=3_000, net_capital_fen=3_500, interbank_fen=1, cash_fen=0)
    finance = finance.model_copy(update={"other_assets_fen": 0})
    scenario = make_scenario(defaults=[{"of": "normal", "share": "0.1", "to": "substandard"}])
    portfolio = Portfolio(DAY, (make_group(normal=100_000),), by_partner_fen={"bank_east": 1})
    outcome = run(portfolio, scenario, finance)
    assert outcome.loss_fen == 3_500, "tier-1 capital is 500 below nothing, net capital is nothing"
    found = standings(outcome)
    for name in ("leverage", "partner_share", "interbank"):
        assert found[name].state is State.BREACHED, name
    assert found["partner_share"].value is None


def test_liquidity_counts_what_comes_and_what_falls_due_within_thirty_days() -> None:
    flows = (
        Flow("p", "r", DAY + dt.timedelta(days=30), 400, 50),
        Flow("p", "r", DAY + dt.timedelta(days=31), 999, 9),
    )
    due = [{"on": DAY + dt.timedelta(days=30), "fen": 700}, {"on": DAY + dt.timedelta(days=31), "fen": 5_000}]
    portfolio = Portfolio(DAY, (make_group(normal=1_399),), flows, owed_fen=200, committed_fen=400)
    outcome = run(portfolio, make_scenario(commitments_drawn="0.25"), make_finance(cash_fen=50, funding=due))
    liquidity = standings(outcome)["liquidity"]
    assert liquidity.value == Fraction(50 + 450, 700 + 200 + 100)
    assert liquidity.state is State.WITHIN, "one half exactly"


def second_way(flows: tuple[Flow, ...], share: Decimal, prepaid: Decimal, days: int) -> list[tuple[int, int]]:
    """Day by day with a schedule that is really changed: every 30 days each part not due yet shrinks."""
    left: dict[dt.date, list[Fraction]] = {}
    for flow in flows:
        parts = left.setdefault(flow.on, [Fraction(0), Fraction(0)])
        parts[0] += flow.principal_fen * (1 - Fraction(share))
        parts[1] += flow.interest_fen * (1 - Fraction(share))
    totals, seen = [Fraction(0), Fraction(0)], []
    for number in range(1, days + 1):
        day = DAY + dt.timedelta(days=number)
        principal, interest = left.pop(day, [Fraction(0), Fraction(0)])
        if number % 30 == 0:
            for parts in left.values():
                principal += parts[0] * Fraction(prepaid)
                parts[:] = [part * (1 - Fraction(prepaid)) for part in parts]
        totals = [totals[0] + principal, totals[1] + interest]
        seen.append((round_half_up(totals[0]), round_half_up(totals[1])))
    return seen


@given(
    st.lists(
        st.tuples(st.integers(1, 150), st.integers(0, 10_000_000), st.integers(0, 100_000)), max_size=12
    ),
    st.decimals("0", "1", places=2),
    st.decimals("0", "1", places=2),
)
@settings(max_examples=60, deadline=None)
def test_cash_is_that_of_a_schedule_that_is_really_changed(
    rows: list[tuple[int, int, int]], share: Decimal, prepaid: Decimal
) -> None:
    flows = tuple(Flow("p", "r", DAY + dt.timedelta(days=d), p, i) for d, p, i in rows)
    scenario = make_scenario(
        horizon_days=120,
        defaults=[{"of": "normal", "share": str(share), "to": "loss"}],
        prepaid_per_30_days=str(prepaid),
    )
    found = run_off(flows, scenario, None, (DAY, 0, 0))
    principal = interest = 0
    for day, wanted in zip(found.days, second_way(flows, share, prepaid, 120), strict=True):
        principal, interest = principal + day.principal_fen, interest + day.interest_fen
        assert (principal, interest) == wanted
        assert day.net_fen == principal + interest
    survives = sum(flow.principal_fen for flow in flows) * (1 - Fraction(share))
    assert abs(principal + found.later_principal_fen - survives) <= 1, "nothing is lost or made"


def test_without_a_shock_all_that_is_planned_comes_on_its_day() -> None:
    flows = (
        Flow("p", "r", DAY + dt.timedelta(days=1), 5, 1),
        Flow("p", "r", DAY + dt.timedelta(days=361), 7, 1),
    )
    found = run_off(
        flows, NO_SHOCK, make_finance(cash_fen=10, funding=[{"on": DAY, "fen": 99}]), (DAY, 4, 100)
    )
    assert [(day.principal_fen, day.interest_fen, day.out_fen) for day in found.days[:2]] == [
        (5, 1, 4),
        (0, 0, 0),
    ]
    assert found.days[-1].balance_fen == 10 + 5 + 1 - 4
    assert [month.on for month in found.months[:2]] == [dt.date(2026, 9, 30), dt.date(2026, 10, 31)]
    assert sum(month.principal_fen for month in found.months) == 5
    assert (found.months[0].out_fen, found.months[-1].net_fen) == (4, 2)
    assert found.later_principal_fen == 7


def test_funding_that_is_not_renewed_is_repaid_on_its_day_and_the_rest_costs_more() -> None:
    scenario = make_scenario(horizon_days=60, funding={"not_renewed": "0.5", "dearer_annual": "0.365"})
    funding = [
        {"on": DAY + dt.timedelta(days=10), "fen": 2_000},
        {"on": DAY + dt.timedelta(days=90), "fen": 1_000},
    ]
    found = run_off((), scenario, make_finance(cash_fen=1_000, funding=funding), (DAY, 0, 0))
    out = {number: day.out_fen for number, day in enumerate(found.days, 1) if day.out_fen}
    # 0.1 % a day: on 3,000 for 30 days, then on 1,000 + 1,000.
    assert out == {10: 1_000, 30: 90, 60: 60}
    assert found.dearer_fen == 150
    assert found.first_short is not None
    assert found.first_short.on == DAY + dt.timedelta(days=30)
    assert found.lowest.net_fen == -1_150


def test_shipped_scenarios_are_dated_sourced_and_worse_than_the_books() -> None:
    shipped = read_shipped()
    assert len(shipped) >= 3
    assert len({one.id for one in shipped}) == len(shipped)
    books = run(Portfolio(DAY, (KNOWN, make_group("bill-small-ticket", normal=500))), NO_SHOCK)
    for one in shipped:
        assert "our choice" in one.source
        found = run(Portfolio(DAY, (KNOWN, make_group("bill-small-ticket", normal=500))), one)
        assert found.provision_fen >= books.provision_fen
        assert bool(one.defaults) == (found.provision_fen > books.provision_fen), one.id


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"defaults": [{"of": "loss", "share": "0.1", "to": "loss"}]}, "defaults.0.of"),
        ({"defaults": [{"of": "normal", "share": 0.1, "to": "loss"}]}, "defaults.0.share"),
        ({"defaults": [{"of": "normal", "share": "1.1", "to": "loss"}]}, "defaults.0.share"),
        ({"horizon_days": 29}, "horizon_days"),
        ({"from": 5}, "from"),
        ({"shocks": []}, "shocks"),
    ],
)
def test_a_bad_field_of_a_scenario_is_named(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make_scenario(**changes)
    assert ".".join(map(str, caught.value.errors()[0]["loc"])) == path


def test_a_scenario_or_statement_of_another_day_is_refused() -> None:
    with pytest.raises(DocumentInvalid, match="from: made is used from 2026-01-01 on"):
        check_use(make_scenario(), None, dt.date(2025, 12, 31))
    with pytest.raises(
        DocumentInvalid, match="as_of: finance states 2026-08-31, needs the evening, 2026-09-01"
    ):
        check_use(make_scenario(), make_finance(), dt.date(2026, 9, 1))
    with pytest.raises(DocumentInvalid, match="no file and no shipped scenario; there are downturn"):
        find_scenario("nothing")


def test_the_schema_names_every_field() -> None:
    schema = make_schema()
    assert {"id", "version", "from", "defaults", "funding", "prepaid_per_30_days"} <= set(
        schema["properties"]
    )
    assert schema["$schema"].endswith("2020-12/schema")
