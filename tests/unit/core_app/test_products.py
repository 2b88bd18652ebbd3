"""Product documents: checked at load, with the path of what is wrong, and against the law."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from core_app.disclosure.charges import compute_charges
from core_app.errors import ProductInvalid
from core_app.products.catalogue import Catalogue, choose_on_sale, read_catalogue, read_published
from core_app.products.compare import compare_products
from core_app.products.model import make_json_schema
from core_app.rules.read import read_rulebook
from tests.unit.core_app.product_documents import START, make_document, make_product, split_funding

CATALOGUE = read_catalogue()
BAD: list[tuple[dict[str, Any], str]] = [
    ({"pricing.rate_annual": 0.18}, r"pricing\.rate_annual: .*decimal in quotes"),
    ({"pricing.rate_annual": "0.2401"}, r"pricing\.rate_annual and pricing\.fees.*: 0\.2401; cap\.all_in"),
    ({"penalty.multiple": "1.6"}, r"penalty\.multiple: 1\.6; penalty\.multiple\.max allows <= 1\.5 times"),
    ({"penalty.multiple": "1.2"}, r"penalty\.multiple: 1\.2; penalty\.multiple\.min"),
    ({"penalty.misuse_multiple": "2.1"}, r"penalty\.misuse\.max"),
    (
        {"limits.customer_fen": 20_000_001},
        r"limits\.customer_fen: 20000001; cfc\.line allows",
    ),
    ({"amount.min_fen": 10, "amount.max_fen": 5}, r"amount\.min_fen: 10 is above"),
    ({"amount.min_fen": 10.5}, r"amount\.min_fen"),
    ({"amount.step_fen": 3}, r"amount\.step_fen: 3 does not divide"),
    ({"tenor.periods": [12, 6]}, r"tenor\.periods"),
    ({"tenor.bill_day": 10}, r"tenor\.bill_day: 10, needed with first_due: bill_day"),
    ({"tenor.first_due": "bill_day", "tenor.bill_day": 10}, r"schedule\.interest_by: month, a bill day"),
    ({"schedule.method": "anytime"}, r"schedule\.interest_by: month, a loan repaid anytime"),
    ({"colour": "red"}, r"colour: Extra inputs"),
    ({"pricing.colour": "red"}, r"pricing\.colour: Extra inputs"),
    ({"eligibility.min_years": 16}, r"eligibility\.min_years"),
    ({"eligibility.min_years": 61}, r"eligibility\.min_years: 61 is above"),
    ({"identity.currency": "USD"}, r"identity\.currency"),
    ({"identity.valid_to": dt.date(2025, 1, 1)}, r"identity\.valid_to: 2025-01-01 lies before"),
    ({"pricing.fees.monthly_share": "0.001"}, r"pricing\.fees\.monthly_payee: None, needed"),
    ({"prepayment.modes": ["full", "half"]}, r"prepayment\.modes: half"),
    ({"reporting.bureau_repay_mode": "12"}, r"reporting\.bureau_repay_mode: 12, equal_instalment need 11"),
    ({"reporting.bureau_account_type": "R1"}, r"account type R1 excludes 11 to 29"),
    ({"reporting.bureau_frequency": "99"}, r"reporting\.bureau_frequency: 99, repay mode 11 needs 03"),
    ({"funding.rank_by": ["cost", "beauty"]}, r"funding\.rank_by: beauty, needs of cost, quota, speed"),
    (
        {"risk.steps": ["identity", "tarot"]},
        r"risk\.steps: tarot, needs of pre_screen, identity, fraud, score",
    ),
    ({"risk.steps": ["fraud", "identity", "fraud"]}, r"risk\.steps: .*needs distinct values"),
    ({"risk.steps": ["identity", "pre_screen", "score"]}, r"risk\.steps: pre_screen, which says who"),
    (split_funding("0.3", "0.6"), r"funding\.parties: shares sum to 0\.9, need 1"),
    (
        {"pricing.reward": {"after_periods": 12, "unit": "points", "cut": "0.01"}},
        r"pricing\.reward\.after_periods: 12, needs 1 to 11",
    ),
]


def folder_with(folder: Path, changes: dict[str, Any], name: str = "changed.yaml") -> Path:
    text = yaml.safe_dump(make_document(changes), allow_unicode=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("changes", "message"), BAD, ids=[f"{next(iter(c[0]))}-{n}" for n, c in enumerate(BAD)]
)
def test_a_bad_document_is_refused_with_file_and_path(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProductInvalid, match=r"changed\.yaml: .*" + message):
        read_catalogue(folder_with(tmp_path, changes))


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "\t", "a: !!python/object:x {}", "x"])
def test_what_is_no_document_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ProductInvalid, match=r"odd\.yaml: "):
        read_catalogue(tmp_path)


def test_a_product_at_the_line_of_twenty_four_percent_is_allowed(tmp_path: Path) -> None:
    assert read_catalogue(folder_with(tmp_path, {"pricing.rate_annual": "0.24"})).versions


def test_a_product_keeps_the_ceiling_it_promises_below_the_law(tmp_path: Path) -> None:
    changes = {"pricing.all_in_ceiling": "0.17"}
    with pytest.raises(ProductInvalid, match=r"pricing\.all_in_ceiling .*: 0\.0100; product\.all_in_ceiling"):
        read_catalogue(folder_with(tmp_path, changes))


def test_the_unit_of_the_ceiling_decides(tmp_path: Path) -> None:
    # 22 % simple is 24.36 % compound.
    simple = {"pricing.rate_annual": "0.22", "pricing.ceiling_unit": "simple"}
    assert read_catalogue(folder_with(tmp_path, simple)).versions
    with pytest.raises(ProductInvalid, match=r"0\.2436; cap\.all_in"):
        read_catalogue(folder_with(tmp_path, simple | {"pricing.ceiling_unit": "compound"}))


def test_a_new_product_is_data_only(tmp_path: Path) -> None:
    changed = folder_with(tmp_path, {"identity.id": "instalment-24", "tenor.periods": [24]})
    assert list(read_catalogue(changed).versions) == [("instalment-24", 1)]


def test_five_real_products_ship_and_each_has_its_own_shape() -> None:
    products = {product_id: product for (product_id, _), product in CATALOGUE.versions.items()}
    assert set(products) == {
        "bill-small-ticket",
        "instalment-12",
        "joint-instalment",
        "revolving-anytime",
        "scene-renovation",
    }
    assert products["revolving-anytime"].schedule.method == "anytime"
    assert products["scene-renovation"].channels.pay_out_to == "merchant"
    assert len(products["joint-instalment"].funding.parties) == 2
    assert products["bill-small-ticket"].reporting.merge_bills


def test_versions_take_each_other_over_on_their_days(tmp_path: Path) -> None:
    folder_with(tmp_path, {"identity.valid_to": dt.date(2026, 12, 31)}, "v1.yaml")
    second = {"identity.version": 2, "identity.valid_from": dt.date(2026, 6, 1)}
    catalogue = read_catalogue(folder_with(tmp_path, second, "v2.yaml"))
    sold = {
        day: catalogue.find_on_sale("instalment-12", dt.date.fromisoformat(day))
        for day in ("2025-12-31", "2026-01-01", "2026-05-31", "2026-06-01", "2027-01-01")
    }
    assert [product and product.version for product in sold.values()] == [None, 1, 1, 2, 2]
    first = catalogue.find_version("instalment-12", 1)
    assert first is not None
    assert choose_on_sale([first], dt.date(2027, 1, 1)) is None


def test_two_documents_of_one_version_are_refused(tmp_path: Path) -> None:
    folder_with(tmp_path, {}, "one.yaml")
    with pytest.raises(ProductInvalid, match=r"two\.yaml: identity\.id: instalment-12 v1 is another"):
        read_catalogue(folder_with(tmp_path, {}, "two.yaml"))


def test_a_published_document_is_read_back_as_the_same_product() -> None:
    for product in CATALOGUE.versions.values():
        assert read_published(json.dumps(product.model_dump(mode="json"))) == product


def test_the_difference_of_two_documents_names_each_parameter() -> None:
    changed = make_product({"pricing.rate_annual": "0.17", "tenor.periods": [3]})
    found = compare_products(make_product(), changed)
    assert [(c.path, c.before, c.after) for c in found] == [
        ("pricing.rate_annual", "0.18", "0.17"),
        ("tenor.periods", "3, 6, 12", "3"),
    ]
    assert compare_products(changed, changed) == ()


def test_the_shape_of_a_document_is_published_as_json_schema() -> None:
    schema = make_json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Amount"]["properties"]["min_fen"]["description"]
    assert set(schema["required"]) == set(make_document({}))


def test_the_catalogue_is_a_value_with_the_rules_beside_it() -> None:
    assert isinstance(CATALOGUE, Catalogue)
    assert CATALOGUE.rulebook is read_rulebook()
    assert CATALOGUE.legal_line_fen(START) == 20_000_000


def test_fees_count_for_what_the_borrower_pays() -> None:
    changes = {"pricing.fees.upfront_share": "0.02", "pricing.fees.upfront_payee": "own"}
    changes["pricing.fees.upfront_when"] = "draw"
    charges = compute_charges(make_product(changes), 1_000_000, 12, START)
    assert (charges.upfront_fen, charges.paid_out_fen) == (20_000, 980_000)
    assert charges.cost.simple > compute_charges(make_product(), 1_000_000, 12, START).cost.simple
