"""Read and check every product document at start; one bad document refuses the start."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from core_app.errors import ProductInvalid
from core_app.products.legal_parameters import LegalRow, legal_value
from core_app.products.model import Product, compute_all_in_cost

FOLDER = Path(__file__).parent
_LEGAL_ROWS = TypeAdapter(tuple[LegalRow, ...])
T = TypeVar("T")
_BASIS_POINT = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The products on offer by id, and the legal parameters they and decisions are checked by."""

    products: Mapping[str, Product]
    legal_rows: tuple[LegalRow, ...]

    def legal_line_fen(self, day: dt.date) -> int:
        """Return what one borrower may owe over all products on `day`, in fen."""
        return int(legal_value(self.legal_rows, "cfc.line", day))


def check_product(product: Product, legal_rows: tuple[LegalRow, ...]) -> None:
    """Raise ProductInvalid with the field's path when fields contradict each other or the law. Pure."""
    day = product.valid_from
    if product.amount.min_fen > product.amount.max_fen:
        raise ProductInvalid(f"amount.min_fen: {product.amount.min_fen} is above amount.max_fen")
    if product.age.min_years > product.age.max_years:
        raise ProductInvalid(f"age.min_years: {product.age.min_years} is above age.max_years")
    line_fen = legal_value(legal_rows, "cfc.line", day)
    if max(product.amount.max_fen, product.limit_per_customer_fen) > line_fen:
        raise ProductInvalid(f"limit_per_customer_fen or amount.max_fen: above cfc.line ({line_fen} fen)")
    lowest, highest = (legal_value(legal_rows, f"penalty.multiple.{end}", day) for end in ("min", "max"))
    if not lowest <= product.penalty_multiple <= highest:
        raise ProductInvalid(f"penalty_multiple: {product.penalty_multiple}, needs {lowest} to {highest}")
    cap = min(product.all_in_ceiling, legal_value(legal_rows, "cap.all_in", day))
    for periods in product.periods:
        # Rounding to fen moves the rate by less than a basis point: the line is drawn on whole ones.
        cost = compute_all_in_cost(product, periods).simple.quantize(_BASIS_POINT)
        if cost > cap:
            found = f"all-in {cost} over {periods} periods"
            raise ProductInvalid(f"rate_annual and fees: {found}, above cap.all_in {cap}")


def read_catalogue(folder: Path = FOLDER) -> Catalogue:
    """Return the checked catalogue; ProductInvalid names the file and the field's path."""
    legal_file = folder / "legal" / "parameters.yaml"
    legal_rows = _parse(legal_file, _LEGAL_ROWS)
    products: dict[str, Product] = {}
    for file in sorted(folder.glob("*.yaml")):
        product = _parse(file, TypeAdapter(Product))
        try:
            check_product(product, legal_rows)
        except ProductInvalid as error:
            raise ProductInvalid(f"{file.name}: {error}") from None
        if product.id in products:
            raise ProductInvalid(f"{file.name}: id: {product.id} is the id of another document")
        products[product.id] = product
    if not products:
        raise ProductInvalid(f"{folder}: no product document, needs one")
    return Catalogue(products, legal_rows)


def _parse(file: Path, adapter: TypeAdapter[T]) -> T:
    try:
        return adapter.validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ProductInvalid(f"{file.name}: cannot be read as YAML ({type(error).__name__})") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ProductInvalid(f"{file.name}: " + "; ".join(lines)) from error
