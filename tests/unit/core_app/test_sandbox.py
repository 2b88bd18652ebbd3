"""The rule sandbox compares the same business under two sets of rules: what turns, and by which rule."""

import datetime as dt
from typing import Any

import pytest

from core_app.loans.classification import AssetClass
from core_app.products.catalogue import read_catalogue
from core_app.rules.legal import LegalRow, RulesInvalid, Stage
from core_app.rules.measure import Confirmation, Offer, measure_contract, measure_product
from core_app.rules.read import read_rulebook
from core_app.sandbox.compare import (
    EXAMPLES,
    Balance,
    Item,
    amend,
    compare_figures,
    compare_items,
    compute_figures,
    first_day_of,
)

TODAY = dt.date(2026, 8, 31)
DAY = dt.date(2027, 1, 1)
BOOK = read_rulebook()


def make_row(key: str, value: str, **changes: Any) -> LegalRow:
    known = next(row for row in BOOK.rows if row.key == key)
    plain = (
        known.model_dump(by_alias=True)
        | {"value": value, "from": DAY, "to": None, "source": "draft"}
        | changes
    )
    return LegalRow.model_validate(plain)


def make_contract_item(number: int, amount_fen: int, owed_fen: int = 0) -> Item:
    product = read_catalogue().find_on_sale("instalment-12", TODAY)
    assert product is not None
    confirmed = Confirmation(True, product.disclosures.reading_seconds)
    measures = measure_contract(product, Offer(amount_fen, 12, TODAY), (owed_fen,), confirmed)
    return Item("contract", Stage.CONTRACT, f"K{number:03x}", measures)


def test_an_amended_rule_ends_the_one_before_and_leaves_the_past_alone() -> None:
    book = amend(BOOK, [make_row("cfc.line", "10000000")])
    assert book.value("cfc.line", DAY - dt.timedelta(days=1)) == BOOK.value("cfc.line", DAY) == 20_000_000
    assert book.value("cfc.line", DAY) == 10_000_000
    assert {row.key for row in book.rows} == {row.key for row in BOOK.rows}


def test_the_same_rules_make_no_difference() -> None:
    same = amend(BOOK, [make_row("cfc.line", "20000000")])
    items = [make_contract_item(n, 1_000_000, n * 2_000_000) for n in range(12)]
    looked, turned, changes = compare_items(items, BOOK, same, DAY)
    assert (looked["contract"], turned, changes) == (12, {}, ())


def test_a_lower_line_refuses_just_the_contracts_above_it_with_id_old_new_count_and_examples() -> None:
    book = amend(BOOK, [make_row("cfc.line", "5000000")])
    # 1,000,000 asked for; with 4,000,000 owed it is at the new line exactly, with one fen more above it.
    items = [make_contract_item(n, 1_000_000, 4_000_000 + n) for n in range(8)]
    _, turned, (change,) = compare_items(items, BOOK, book, DAY)
    assert (change.kind, change.rule, change.effect, change.count) == (
        "contract",
        "cfc.line",
        "refused_now",
        7,
    )
    assert (change.old, change.new) == ("<= 20000000 fen", "<= 5000000 fen")
    assert change.examples == [f"K{n:03x}" for n in range(1, 1 + EXAMPLES)]
    assert turned == {"contract": {"refused_now": 7}}


def test_a_higher_line_allows_what_is_refused_now_and_a_second_reason_keeps_it_refused() -> None:
    book = amend(BOOK, [make_row("cfc.line", "30000000")])
    fine = make_contract_item(1, 1_000_000, 20_000_000)
    unread = Item("contract", Stage.CONTRACT, "K002", {**fine.measures, **_unread(fine)})
    _, turned, (change,) = compare_items([fine, unread], BOOK, book, DAY)
    assert (change.rule, change.effect, change.count) == ("cfc.line", "allowed_now", 2)
    assert turned == {"contract": {"allowed_now": 1}}, "the second one was not read for long enough either"


def _unread(item: Item) -> dict[str, Any]:
    name = "disclosure.reading_seconds_missing"
    (found,) = item.measures[name]
    return {name: (type(found)(found.path, 3),)}


def test_a_rule_of_a_measure_that_there_is_not_is_an_error_and_no_pass() -> None:
    row = make_row("cfc.line", "1", looks_at="exposure.of_the_family")
    with pytest.raises(RulesInvalid, match=r"looks at exposure.of_the_family, which was not measured"):
        compare_items([make_contract_item(1, 1_000_000)], BOOK, amend(BOOK, [row]), DAY)


def test_products_that_could_not_be_sold_any_more_are_named() -> None:
    book = amend(BOOK, [make_row("cap.all_in", "0.10")])
    catalogue = read_catalogue()
    items = [
        Item("product", Stage.PUBLICATION, one.reference, measure_product(one, DAY))
        for name in catalogue.ids_on_sale(TODAY)
        if (one := catalogue.find_on_sale(name, TODAY)) is not None
    ]
    _, turned, (change,) = compare_items(items, BOOK, book, DAY)
    assert change.rule == "cap.all_in"
    assert change.count == turned["product"]["refused_now"] == len(items)
    assert "instalment-12 v1" in change.examples


def test_figures_of_returns_move_with_the_days_of_classes_and_the_shares_of_provisions() -> None:
    balances = [
        Balance(("a", "1"), 0, 91_500_000), Balance(("a", "1"), 1, 5_000_000),
        Balance(("a", "1"), 91, 2_000_000), Balance(("a", "1"), 271, 1_000_000),
        Balance(("a", "1"), 361, 500_000),
    ]  # fmt: skip
    # Known answer 14: 26,000 yuan set aside, 3.5 % non-performing.
    before = compute_figures(balances, BOOK, DAY)
    assert (before["G03.closing"], before["npl_ratio"]) == ("26000.00", "0.0350")
    assert before["G11." + AssetClass.SUBSTANDARD] == "20000.00"
    book = amend(BOOK, [make_row("class5.special_mention", "2"), make_row("provision.general", "0.02")])
    found = {one.figure: (one.old, one.new) for one in compare_figures(balances, BOOK, book, DAY)}
    assert found == {
        "G11.normal": ("915000.00", "965000.00"),
        "G11.special_mention": ("50000.00", "0.00"),
        # 1,000 less for special mention, 10,000 more in general.
        "G03.closing": ("26000.00", "35000.00"),
        "npl_coverage": ("0.7429", "1.0000"),
    }
    assert compare_figures(balances, BOOK, BOOK, DAY) == ()


def test_rows_of_today_or_the_past_are_no_sandbox() -> None:
    with pytest.raises(RulesInvalid, match="from: 2026-08-31 is not after 2026-08-31"):
        first_day_of([make_row("cfc.line", "1", **{"from": TODAY})], TODAY)
    with pytest.raises(RulesInvalid, match="no rows"):
        first_day_of([], TODAY)
    assert first_day_of([make_row("cfc.line", "1")], TODAY) == DAY
