"""The rule engine: dated rows, five stages, every excluded row refused by its own rule."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.products.check import judge_product
from core_app.products.model import Product
from core_app.rules.engine import Found, Refusal, judge, refuse_by_rules
from core_app.rules.legal import LegalRow, RulesInvalid, Stage, make_rulebook
from core_app.rules.measure import (
    Confirmation,
    Offer,
    measure_contract,
    measure_posting,
    measure_product,
    measure_quote,
)
from core_app.rules.read import read_rulebook
from tests.unit.core_app.product_documents import START, make_product, split_funding

RULES = read_rulebook()
IN_FORCE = dt.date(2026, 8, 1)
PRODUCT = make_product()
READ = Confirmation(confirmed=True, read_seconds=60)


def rules_of(refusals: tuple[Refusal, ...]) -> set[str]:
    return {refusal.rule for refusal in refusals}


def publish(changes: dict[str, Any]) -> set[str]:
    return rules_of(judge_product(make_product(changes), RULES))


def quote(product: Product, amount_fen: int = 1_200_000, **more: Any) -> tuple[Refusal, ...]:
    offer = Offer(amount_fen, 12, START, **more)
    return judge(RULES, Stage.QUOTE, measure_quote(product, offer), START)


def contract(
    exposures_fen: list[int],
    day: dt.date = START,
    confirmation: Confirmation = READ,
    product: Product = PRODUCT,
) -> tuple[Refusal, ...]:
    measures = measure_contract(product, Offer(1_000_000, 12, day), exposures_fen, confirmation)
    return judge(RULES, Stage.CONTRACT, measures, day)


# Every row of the systems table that is marked X, with the change that asks for it.
EXCLUDED: list[tuple[str, str, dict[str, Any]]] = [
    ("6", "x.6.mlps-certificate", {"disclosures.claims": ["mlps_level_3_certified"]}),
    ("18", "x.18.it-cost-claim", {"disclosures.claims": ["it_cost_saving"]}),
    ("23", "x.23.software-for-banks", {"identity.activity": "software_for_banks"}),
    ("23", "x.23.abroad", {"identity.regions": ["mainland", "southeast_asia"]}),
    ("24", "x.24.blockchain", {"identity.services": ["public_blockchain"]}),
    ("26", "x.26.small-business", {"identity.borrower": "small_business"}),
    ("27", "x.27.investor-side", {"identity.activity": "p2p_matching"}),
    ("39", "x.39.uplift-claim", {"disclosures.claims": ["pass_rate_uplift"]}),
    ("41", "x.41.sms-bombing", {"collection.methods": ["sms", "sms_bombing"]}),
    ("49", "x.49.smart-contract", {"identity.services": ["smart_contract"]}),
    ("49", "x.49.efficiency-claim", {"disclosures.claims": ["fewer_disputes"]}),
    ("50", "x.50.business-purpose", {"identity.purposes": ["travel", "business"]}),
    ("58", "x.58.transformer", {"risk.models": ["transformer_base"]}),
    ("62", "x.62.market-figures", {"disclosures.claims": ["market_survey_figures"]}),
    ("78", "x.78.adviser", {"identity.activity": "wealth_advice"}),
    ("79", "x.79.sign-language", {"identity.services": ["sign_language_video"]}),
    ("82", "x.82.car", {"identity.purposes": ["car"]}),
    ("82", "x.82.fleet-and-tax-sme", {"identity.borrower": "fleet"}),
    ("82", "x.82.pledge", {"identity.collateral": "vehicle"}),
    ("84a", "x.84a.social-score", {"risk.data_sources": ["bureau", "social_network"]}),
    ("84b", "x.84b.wealth-sales", {"identity.activity": "wealth_sales"}),
    ("84b", "x.84b.wealth-backed", {"identity.collateral": "wealth_pledge"}),
    ("88", "x.88.baas", {"identity.services": ["baas"]}),
]


@pytest.mark.parametrize(("row", "rule", "changes"), EXCLUDED, ids=[case[1] for case in EXCLUDED])
def test_what_a_consumer_finance_company_may_not_do_is_refused_by_its_rule(
    row: str, rule: str, changes: dict[str, Any]
) -> None:
    assert rule in publish(changes)
    (legal,) = [legal for legal in RULES.rows if legal.key == rule]
    assert legal.research_row == row


def test_every_excluded_row_has_a_case_and_every_word_of_it_is_refused() -> None:
    exclusions = [row for row in RULES.rows if row.key.startswith("x.")]
    assert {row.key for row in exclusions} == {rule for _, rule, _ in EXCLUDED}
    for row in exclusions:
        assert isinstance(row.value, tuple)
        for word in row.value:
            many = isinstance(_value_at(row.looks_at or ""), tuple)
            assert row.key in publish({row.looks_at or "": [word] if many else word})


def _value_at(path: str) -> Any:
    value: Any = PRODUCT
    for name in path.split("."):
        value = getattr(value, name)
    return value


def test_shipped_products_break_no_rule() -> None:
    names = (
        "instalment-12",
        "bill-small-ticket",
        "joint-instalment",
        "revolving-anytime",
        "scene-renovation",
    )
    assert [judge_product(make_product(shipped=name), RULES) for name in names] == [()] * 5


def test_an_unknown_business_is_outside_the_licence() -> None:
    assert publish({"identity.activity": "tulip_trading"}) == {"cfc.scope.activity"}


def test_a_guarantee_fee_lifts_eighteen_percent_over_the_line_and_the_refusal_says_all() -> None:
    # Known answer 5: 36 yuan a month on 12,000 yuan at 18 % cost 24.25 %.
    changes = {"pricing.fees.monthly_share": "0.003", "pricing.fees.monthly_payee": "guarantor"}
    (refusal,) = [r for r in quote(make_product(changes)) if r.rule == "cap.all_in"]
    assert (refusal.found, refusal.limit, refusal.on) == ("0.2425", "<= 0.24 share a year", START)
    assert "NFRA notice 2025-9" in refusal.source
    assert refusal.path.startswith("pricing.rate_annual and pricing.fees")
    assert {"cap.all_in", "cap.cfc.each", "product.all_in_ceiling"} <= publish(changes)
    assert quote(PRODUCT) == ()


@pytest.mark.parametrize(
    ("own", "partner", "refused"),
    [
        ("0.20", "0.80", True),
        ("0.80", "0.20", True),
        ("0.2999", "0.7001", True),
        ("0.30", "0.70", False),
        ("0.70", "0.30", False),
        ("0.5", "0.5", False),
    ],
)
def test_a_joint_loan_needs_thirty_percent_of_either_party(own: str, partner: str, refused: bool) -> None:
    joint = make_product(split_funding(own, partner))
    assert (rules_of(judge_product(joint, RULES)) == {"inet.joint"}) == refused
    assert (rules_of(contract([], product=joint)) == {"inet.joint"}) == refused


def test_before_its_day_a_rule_does_not_refuse() -> None:
    joint = make_product(split_funding("0.20", "0.80"))
    for day, refused in ((dt.date(2021, 12, 31), False), (dt.date(2022, 1, 1), True)):
        found = rules_of(judge(RULES, Stage.PUBLICATION, measure_product(joint, day), day))
        assert ("inet.joint" in found) == refused


@given(st.lists(st.integers(0, 20_000_000), max_size=6))
def test_the_line_of_two_hundred_thousand_yuan_counts_all_products(exposures_fen: list[int]) -> None:
    refused = "cfc.line" in rules_of(contract(exposures_fen))
    assert refused == (sum(exposures_fen) + 1_000_000 > 20_000_000)


def test_the_line_refuses_one_fen_above_and_says_so() -> None:
    (refusal,) = contract([10_000_000, 9_000_001])
    assert (refusal.rule, refusal.found, refusal.limit) == ("cfc.line", "20000001", "<= 20000000 fen")
    assert contract([10_000_000, 9_000_000]) == ()


def test_a_purpose_that_is_no_consumption_is_refused_at_the_quote() -> None:
    assert rules_of(quote(PRODUCT, purpose="business")) == {"cfc.scope.purpose"}
    assert quote(PRODUCT, purpose="travel") == ()


def test_the_cost_table_has_to_be_confirmed_and_read_from_the_first_of_august() -> None:
    nothing, hasty = (
        Confirmation(confirmed=False, read_seconds=0),
        Confirmation(confirmed=True, read_seconds=4),
    )
    assert contract([], dt.date(2026, 7, 31), nothing) == ()
    assert rules_of(contract([], IN_FORCE, nothing)) == {"cost.table.confirmed", "cost.table.read"}
    assert rules_of(contract([], IN_FORCE, hasty)) == {"cost.table.read"}
    assert contract([], IN_FORCE, READ) == ()


def test_a_document_that_will_break_a_known_rule_later_is_refused_today() -> None:
    changes = {"disclosures.cost_table": False}
    (refusal,) = judge_product(make_product(changes), RULES)
    assert (refusal.rule, refusal.on) == ("cost.table", IN_FORCE)
    assert publish(changes | {"identity.valid_to": dt.date(2026, 7, 31)}) == set()


CONDUCT: list[tuple[str, dict[str, Any]]] = [
    ("collect.quiet_from", {"collection.quiet_from_hour": 23}),
    ("collect.quiet_until", {"collection.quiet_until_hour": 7}),
    ("collect.voice_per_day", {"collection.voice_per_day": 4}),
    ("collect.vendor_reviews", {"collection.vendor_reviews_per_year": 0}),
    ("complaint.days", {"servicing.complaint_days": 16}),
    ("bureau.keep", {"documents.retention_years": 4}),
    ("apr.disclose", {"disclosures.rate_unit_shown": "daily"}),
    ("cost.table.pop_up", {"disclosures.pop_up": False}),
    ("cost.table.reading", {"disclosures.reading_seconds": 2}),
    ("cost.table.order_page", {"channels.scene": "shop", "disclosures.order_page": False}),
    ("ads.phrase", {"disclosures.slogan": {"zh": "本产品保本保息", "en": "x"}}),
    ("ads.phrase", {"disclosures.slogan": {"zh": "好", "en": "Absolutely RISK-FREE money"}}),
    (
        "inet.bullet",
        {
            "schedule.method": "interest_only",
            "tenor.periods": [12, 13],
            "reporting.bureau_repay_mode": "13",
            "prepayment.modes": ["full"],
        },
    ),
]


@pytest.mark.parametrize(("rule", "changes"), CONDUCT, ids=[f"{c[0]}-{n}" for n, c in enumerate(CONDUCT)])
def test_conduct_outside_the_rules_is_refused(rule: str, changes: dict[str, Any]) -> None:
    assert publish(changes) == {rule}


def test_a_charge_that_the_cost_table_does_not_list_cannot_be_booked() -> None:
    booked = {"interest": 1, "penalty": 1, "surprise_fee": 7}
    (refusal,) = judge(RULES, Stage.POSTING, measure_posting(PRODUCT, booked), IN_FORCE)
    assert (refusal.rule, refusal.found, refusal.path) == (
        "cost.table.no_other_charge",
        "7",
        "posting.surprise_fee",
    )
    assert judge(RULES, Stage.POSTING, measure_posting(PRODUCT, booked), dt.date(2026, 7, 31)) == ()


def test_a_penalty_above_the_law_cannot_be_booked() -> None:
    dear = make_product({"penalty.multiple": "1.6"})
    assert rules_of(judge(RULES, Stage.POSTING, measure_posting(dear, {"penalty": 1}), START)) == {
        "penalty.multiple.max"
    }
    assert judge(RULES, Stage.POSTING, measure_posting(dear, {"interest": 1}), START) == ()


def row(**more: Any) -> LegalRow:
    basic = {
        "key": "k",
        "value": "1",
        "unit": "fen",
        "from": dt.date(2026, 1, 1),
        "source": "s",
        "status": "law",
    }
    return LegalRow.model_validate(basic | more)


def test_a_rule_whose_measure_is_missing_is_an_error_and_not_a_pass() -> None:
    rulebook = make_rulebook([row(looks_at="height", compare="at_most", stages=["quote"])])
    with pytest.raises(RulesInvalid, match="looks at height, which was not measured"):
        judge(rulebook, Stage.QUOTE, {}, START)
    assert judge(rulebook, Stage.QUOTE, {"height": ()}, START) == ()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"looks_at": "x"}, "a rule needs looks_at, compare and stages"),
        ({"looks_at": "x", "compare": "one_of", "stages": ["quote"]}, "list of names"),
        ({"to": dt.date(2025, 1, 1)}, "`to` lies before `from`"),
        ({"value": 0.24}, "decimal in quotes"),
        ({"status": "rumour"}, "law"),
    ],
)
def test_a_bad_row_is_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        row(**bad)


def test_two_rows_of_one_key_on_the_same_day_are_refused() -> None:
    with pytest.raises(RulesInvalid, match="two rows hold on 2026-06-01"):
        make_rulebook([row(), row(**{"from": dt.date(2026, 6, 1)})])


@given(st.dates(dt.date(2020, 1, 1), dt.date(2030, 1, 1)), st.decimals(0, 2, places=3))
def test_a_bound_refuses_exactly_what_is_beyond_it_while_it_is_in_force(day: dt.date, value: Decimal) -> None:
    dated = row(to=dt.date(2026, 12, 31), looks_at="height", compare="at_most", stages=["quote"])
    refusals = judge(make_rulebook([dated]), Stage.QUOTE, {"height": (Found("x", value),)}, day)
    in_force = dt.date(2026, 1, 1) <= day <= dt.date(2026, 12, 31)
    assert bool(refusals) == (in_force and value > 1)


def test_every_row_has_a_source_and_rules_of_every_stage_are_there() -> None:
    assert all(RULES.by_stage[stage] for stage in Stage)
    assert all(len(row.source) > 10 for row in RULES.rows)
    days = {RULES.value("lpr1y", day) for day in (dt.date(2020, 8, 25), START)}
    assert days == {Decimal("0.0385"), Decimal("0.0300")}
    with pytest.raises(RulesInvalid, match=r"legal parameter lpr1y on 2022-01-01: 0 rows"):
        RULES.value("lpr1y", dt.date(2022, 1, 1))


def test_a_client_is_told_rule_value_limit_day_and_source() -> None:
    refused = refuse_by_rules(contract([20_000_000]))
    (broken,) = refused.rules
    assert (broken.rule, broken.found, broken.on) == ("cfc.line", "21000000", "2026-01-15")
    assert broken.source
    assert refused.errors[0].path == "body.application_id"
