"""The price grid of a product document: what the law refuses of it, and who gets which price."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from core_app.customers.segments import find_income_misfit, find_misfit, find_unknown_segments
from core_app.disclosure.charges import compute_charges
from core_app.errors import ProductInvalid
from core_app.products.check import check_product, find_contradictions, judge_product
from core_app.products.price import find_price, price_product
from core_app.products.references import find_dangling, read_segments
from core_app.rules.legal import make_rulebook
from core_app.rules.read import read_rulebook
from tests.unit.core_app.product_documents import START, make_product

CELL = {"segment": "returning", "periods": 12, "rate_annual": "0.16"}
HALF_YEAR = {"segment": "salaried", "periods": 6, "rate_annual": "0.15"}


def priced(*cells: dict[str, Any], **changes: Any) -> Any:
    return make_product({"pricing.grid": list(cells)} | changes)


def test_a_price_is_that_of_segment_and_term_and_the_products_own_elsewhere() -> None:
    product = priced(CELL, HALF_YEAR)
    found = {
        (segment, periods): str(find_price(product, segment, periods).rate_annual)
        for segment in ("returning", "salaried", "saver", None)
        for periods in (6, 12)
    }
    assert {key: rate for key, rate in found.items() if rate != "0.18"} == {
        ("returning", 12): "0.16",
        ("salaried", 6): "0.15",
    }
    price = find_price(product, "salaried", 6)
    assert price.show(product)["path"] == "pricing.grid.1.rate_annual"
    assert price.show(product)["grid"] == "instalment-12 v1"
    assert find_price(product, "saver", 6).show(product)["segment"] is None


def test_a_priced_product_is_the_same_version_and_only_its_rate_differs() -> None:
    product = priced(CELL)
    cheaper = price_product(product, "returning", 12)
    assert cheaper.reference == product.reference
    assert cheaper.pricing.rate_annual == Decimal("0.16")
    back = cheaper.pricing.model_copy(update={"rate_annual": product.pricing.rate_annual})
    assert cheaper.model_copy(update={"pricing": back}) == product
    assert price_product(product, "returning", 6) is product
    cost = compute_charges(cheaper, 1_200_000, 12, START).cost
    assert (cost.in_unit("simple"), cost.in_unit("compound")) == (Decimal("0.1600"), Decimal("0.1723"))


def test_a_cell_above_the_laws_cap_keeps_the_product_from_sale_with_rule_value_limit_day_and_path() -> None:
    dear = priced(CELL, HALF_YEAR | {"rate_annual": "0.2401"}, **{"pricing.all_in_ceiling": "0.3"})
    refusal, guidance = judge_product(dear, read_rulebook())
    assert (guidance.rule, guidance.path) == ("cap.cfc.each", refusal.path)
    assert (refusal.rule, refusal.path) == ("cap.all_in", "pricing.grid.1.rate_annual")
    assert (refusal.found, refusal.limit) == ("0.2401", "<= 0.24 share a year")
    assert refusal.on == dear.identity.valid_from
    assert refusal.source
    with pytest.raises(ProductInvalid, match=r"pricing\.grid\.1\.rate_annual: 0\.2401; cap\.all_in"):
        check_product(dear, read_rulebook())
    assert judge_product(priced(CELL, HALF_YEAR | {"rate_annual": "0.24"}), read_rulebook()) == ()


def test_fees_count_in_every_cell_and_a_rule_that_begins_later_is_known_today() -> None:
    fee = {"pricing.fees.monthly_share": "0.006", "pricing.fees.monthly_payee": "a guarantor"}
    own = {"pricing.rate_annual": "0.10", "pricing.all_in_ceiling": "0.3"}
    refused = judge_product(priced(CELL, **fee, **own), read_rulebook())
    assert [(one.rule, one.path) for one in refused] == [
        ("cap.all_in", "pricing.grid.0.rate_annual"),
        ("cap.cfc.each", "pricing.grid.0.rate_annual"),
    ]
    rulebook = read_rulebook()
    (old,) = (row for row in rulebook.rows if row.key == "cap.all_in" and row.last_day is None)
    first = dt.date(2026, 9, 1)
    later = old.model_copy(update={"first_day": first, "value": Decimal("0.155")})
    rows = [row for row in rulebook.rows if row != old]
    stricter = make_rulebook([*rows, old.model_copy(update={"last_day": first - dt.timedelta(1)}), later])
    product = priced(CELL, HALF_YEAR, **{"pricing.rate_annual": "0.10"})
    assert [(r.path, r.found, r.on) for r in judge_product(product, stricter)] == [
        ("pricing.grid.0.rate_annual", "0.1600", first)
    ]


def test_a_cell_above_the_products_own_ceiling_is_refused() -> None:
    product = priced(CELL | {"rate_annual": "0.2001"}, **{"pricing.all_in_ceiling": "0.2"})
    assert [(r.path, r.found) for r in judge_product(product, read_rulebook())] == [
        ("pricing.grid.0.rate_annual", "0.0001")
    ]


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ([CELL | {"periods": 7}], "pricing.grid.0.periods: 7"),
        (
            [CELL, HALF_YEAR, CELL | {"rate_annual": "0.1"}],
            "pricing.grid.2: returning over 12 periods stands twice",
        ),
    ],
)
def test_a_grid_that_contradicts_the_document_is_named(cells: list[dict[str, Any]], fault: str) -> None:
    (found,) = find_contradictions(priced(*cells))
    assert found.startswith(fault)


def test_segments_have_to_exist_on_the_products_first_day() -> None:
    assert find_dangling(priced(CELL, **{"eligibility.segments": ["returning", "saver"]})) == ()
    assert find_dangling(priced(CELL | {"segment": "rich"}, **{"eligibility.segments": ["vip"]})) == (
        f"eligibility.segments: vip, which is no segment on {priced().identity.valid_from}",
        f"pricing.grid.0.segment: rich, which is no segment on {priced().identity.valid_from}",
    )
    (other,) = find_dangling(priced(CELL, **{"eligibility.segments": ["saver"]}))
    assert other.startswith("pricing.grid.0.segment: returning, which eligibility.segments does not offer")
    ended = [one.model_copy(update={"last_day": dt.date(2025, 1, 1)}) for one in read_segments()]
    assert len(list(find_unknown_segments(priced(CELL), ended))) == 1
    assert list(find_unknown_segments(priced(CELL), read_segments())) == []


def test_a_product_for_segments_fits_only_their_customers() -> None:
    product = make_product({"eligibility.segments": ["returning", "saver"]})
    assert [find_misfit(product, one) is None for one in ("returning", "saver", "salaried", None)] == [
        True, True, False, False,
    ]  # fmt: skip
    misfit = find_misfit(product, None)
    assert misfit is not None
    assert (misfit.rule, misfit.found, misfit.needed) == ("segment", "none", "one of: returning, saver")
    assert find_misfit(make_product(), None) is None


def test_an_income_is_asked_for_only_where_the_product_says_so_and_its_figure_is_not_repeated() -> None:
    asking = make_product({"eligibility.income_min_fen": 500_000})
    found = [find_income_misfit(asking, income) for income in (None, 499_999, 500_000)]
    assert [one and one.found for one in found] == ["not said", "lower", None]
    assert find_income_misfit(make_product(), None) is None
