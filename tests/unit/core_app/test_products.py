"""Product documents: checked at load, with the path of what is wrong, and against the law."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from core_app.errors import ProductInvalid
from core_app.products.catalogue import FOLDER, read_catalogue
from core_app.products.model import Product

CASES: list[tuple[dict[str, Any], str]] = [
    ({"rate_annual": 0.18}, r"rate_annual: .*decimal in quotes"),
    ({"rate_annual": "0.2401"}, r"rate_annual and fees: all-in .*cap\.all_in"),
    ({"fees": {"guarantee_monthly_share": "0.003"}}, r"rate_annual and fees: all-in .*cap\.all_in"),
    ({"penalty_multiple": "1.6"}, r"penalty_multiple: 1\.6, needs 1\.3 to 1\.5"),
    ({"limit_per_customer_fen": 20_000_001}, r"above cfc\.line"),
    ({"amount": {"min_fen": 10, "max_fen": 5}}, r"amount\.min_fen"),
    ({"amount": {"min_fen": 10.5, "max_fen": 50}}, r"amount\.min_fen"),
    ({"periods": [12, 6]}, r"periods"),
    ({"colour": "red"}, r"colour: Extra inputs"),
    ({"age": {"min_years": 16, "max_years": 60}}, r"age\.min_years"),
    ({"currency": "USD"}, r"currency"),
]


def catalogue_with(folder: Path, change: dict[str, Any]) -> Path:
    shutil.copytree(FOLDER / "legal", folder / "legal")
    document = yaml.safe_load((FOLDER / "instalment-12.yaml").read_text(encoding="utf-8"))
    (folder / "changed.yaml").write_text(yaml.safe_dump(document | change), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("change", "message"), CASES, ids=[f"{next(iter(c[0]))}-{n}" for n, c in enumerate(CASES)]
)
def test_a_bad_document_is_refused_with_file_and_path(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProductInvalid, match=r"changed\.yaml: .*" + message):
        read_catalogue(catalogue_with(tmp_path, change))


def test_a_product_at_the_line_of_twenty_four_percent_is_allowed(tmp_path: Path) -> None:
    assert read_catalogue(catalogue_with(tmp_path, {"rate_annual": "0.24"})).products


def test_a_new_product_is_data_only(tmp_path: Path) -> None:
    changed = catalogue_with(tmp_path, {"id": "instalment-24", "periods": [24]})
    assert list(read_catalogue(changed).products) == ["instalment-24"]


def test_the_shape_of_a_document_can_be_published_as_json_schema() -> None:
    assert Product.model_json_schema()["additionalProperties"] is False
