"""The cost table: what it has to show, and that its hash is of what is shown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.protection import gmssl_engine
from compliance.protection.known_answers import SM3_ABC
from core_app.disclosure.charges import compute_charges
from core_app.disclosure.cost_table import NO_OTHER_CHARGE, make_cost_table
from core_app.documents import compute_sm3, make_canonical
from tests.unit.core_app.product_documents import START, make_product

FEES = {
    "pricing.fees.upfront_share": "0.01",
    "pricing.fees.upfront_payee": "甲公司",
    "pricing.fees.upfront_when": "draw",
    "pricing.fees.monthly_share": "0.001",
    "pricing.fees.monthly_payee": "乙担保",
    "prepayment.fee_share": "0.01",
    "prepayment.fee_free_after_periods": 6,
}


def table_of(changes: dict[str, object] | None = None, shipped: str = "instalment-12") -> dict[str, object]:
    product = make_product(dict(changes or {}), shipped)
    charges = compute_charges(product, 1_200_000, 12, START)
    return dict(json.loads(make_cost_table(product, charges, 12).text))


def test_a_plain_loan_shows_interest_cost_in_both_units_and_what_default_adds() -> None:
    table = table_of()
    assert (table["principal_fen"], table["paid_out_fen"], table["currency"]) == (1_200_000, 1_200_000, "CNY")
    (interest,) = table["items"]
    assert (interest["annual"], interest["amount_fen"], interest["payee"]["en"]) == (
        "18.00%",
        120_195,
        "the lender",
    )
    cost = table["all_in_cost"]
    assert (cost["simple_annual"], cost["compound_annual"], cost["total_fen"]) == (
        "18.00%",
        "19.56%",
        120_195,
    )
    assert [item["annual"] for item in table["contingent"]] == ["27.00%", "36.00%"]
    assert table["no_other_charge"] == NO_OTHER_CHARGE


def test_every_fee_is_listed_with_its_payee_and_contingent_ones_apart() -> None:
    table = table_of(FEES)
    assert [item["item"]["en"] for item in table["items"]] == [
        "interest",
        "fee kept back at the draw",
        "service or guarantee fee of each period",
    ]
    assert [item["payee"]["zh"] for item in table["items"]] == ["贷款人", "甲公司", "乙担保"]
    assert sum(item["amount_fen"] for item in table["items"]) == table["all_in_cost"]["total_fen"]
    # 0.1 % a month of the original principal is not 1.2 % a year but 2.1 % of what is outstanding.
    assert [item["annual"] for item in table["items"]] == ["18.00%", "1.95%", "2.10%"]
    assert table["all_in_cost"]["simple_annual"] == "22.05%"
    assert len(table["contingent"]) == 3
    assert table["paid_out_fen"] == 1_188_000


def test_a_fee_with_the_first_instalment_is_said_to_be_one_and_all_is_paid_out() -> None:
    table = table_of(FEES | {"pricing.fees.upfront_when": "first_instalment"})
    assert table["items"][1]["item"]["en"] == "one-off fee with the first instalment"
    assert sum(item["amount_fen"] for item in table["items"]) == table["all_in_cost"]["total_fen"]
    assert table["paid_out_fen"] == table["principal_fen"]


@pytest.mark.parametrize(
    "shipped", ["bill-small-ticket", "joint-instalment", "revolving-anytime", "scene-renovation"]
)
def test_every_shipped_product_has_a_table_in_two_languages(shipped: str) -> None:
    product = make_product(shipped=shipped)
    periods = product.tenor.periods[-1]
    charges = compute_charges(product, product.amount.max_fen, periods, START)
    table = json.loads(make_cost_table(product, charges, periods).text)
    assert table["name"] == {"zh": product.identity.name.zh, "en": product.identity.name.en}
    assert table["repayment"]["zh"]


def test_the_hash_is_of_the_very_bytes_and_another_engine_agrees() -> None:
    product = make_product()
    table = make_cost_table(product, compute_charges(product, 1_200_000, 12, START), 12)
    assert table.sm3 == gmssl_engine.compute_sm3(table.text.encode())
    assert compute_sm3(b"abc") == SM3_ABC


@given(st.integers(10_000, 5_000_000), st.sampled_from([3, 6, 12]))
def test_the_table_changes_with_the_loan_and_not_with_the_day(amount_fen: int, periods: int) -> None:
    product = make_product()

    def table(fen: int, month: int) -> bytes:
        day = START.replace(month=month)
        return make_cost_table(product, compute_charges(product, fen, periods, day), periods).sm3

    assert table(amount_fen, 1) == table(amount_fen, 2)
    assert table(amount_fen, 1) != table(amount_fen + 1, 1)


def test_the_canonical_form_does_not_depend_on_how_a_document_was_put_together() -> None:
    assert make_canonical({"a": 1, "b": "零"}) == make_canonical({"b": "零", "a": 1})
    assert make_canonical({"b": "零"}).text == '{"b":"零"}'
