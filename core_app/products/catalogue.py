"""Read and check every shipped product document at start; one bad document refuses the start."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter

from core_app.errors import DocumentInvalid, ProductInvalid
from core_app.products.check import check_product
from core_app.products.model import Product
from core_app.products.references import find_dangling
from core_app.rules.legal import Rulebook
from core_app.rules.read import read_rulebook
from core_app.yaml_documents import parse_yaml, read_text

FOLDER = Path(__file__).parent / "documents"
_PRODUCT = TypeAdapter(Product)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The shipped products by id and version, and the rules they and decisions are checked by.

    A version that was published into the cells since stands in core.product_versions
    (`core_app.products.published`).
    """

    versions: Mapping[tuple[str, int], Product]
    rulebook: Rulebook

    def find_version(self, product_id: str, version: int) -> Product | None:
        """Return one version, sold or not."""
        return self.versions.get((product_id, version))

    def find_on_sale(self, product_id: str, day: dt.date) -> Product | None:
        """Return the version of a product that is sold on `day`."""
        return choose_on_sale((p for p in self.versions.values() if p.id == product_id), day)

    def ids_on_sale(self, day: dt.date) -> tuple[str, ...]:
        """Return the ids of the products sold on `day`."""
        ids = sorted({product.id for product in self.versions.values()})
        return tuple(product_id for product_id in ids if self.find_on_sale(product_id, day))

    def legal_line_fen(self, day: dt.date) -> int:
        """Return what one borrower may owe over all products on `day`, in fen."""
        return int(self.rulebook.value("cfc.line", day))


def choose_on_sale(versions: Iterable[Product], day: dt.date) -> Product | None:
    """Return the highest version that is sold on `day`; the newer one takes an older one's place."""
    sold = [
        product
        for product in versions
        if product.identity.valid_from <= day
        and (product.identity.valid_to is None or day <= product.identity.valid_to)
    ]
    return max(sold, key=lambda product: product.identity.version, default=None)


def read_product(name: str, text: str) -> Product:
    """Return the product of a YAML (or JSON) text; ProductInvalid names the field's path.

    The law is not asked: `check_product` does that.
    """
    try:
        return parse_yaml(name, text, _PRODUCT)
    except DocumentInvalid as error:
        raise ProductInvalid(str(error)) from error


@lru_cache(maxsize=1024)
def read_published(text: str) -> Product:
    """Return the product of a published document, which was checked when it was published."""
    return _PRODUCT.validate_json(text)


def read_checked_product(file: Path, rulebook: Rulebook) -> Product:
    """Return the product of a file that may go on sale; ProductInvalid names file and path."""
    product = read_product(file.name, read_text(file))
    try:
        check_product(product, rulebook)
        if dangling := find_dangling(product):
            raise ProductInvalid("; ".join(dangling))
    except ProductInvalid as error:
        raise ProductInvalid(f"{file.name}: {error}") from None
    return product


def read_catalogue(folder: Path = FOLDER) -> Catalogue:
    """Return the checked catalogue; ProductInvalid names the file and the field's path."""
    rulebook = read_rulebook()
    versions: dict[tuple[str, int], Product] = {}
    for file in sorted(folder.glob("*.yaml")):
        product = read_checked_product(file, rulebook)
        key = (product.identity.id, product.identity.version)
        if key in versions:
            raise ProductInvalid(f"{file.name}: identity.id: {product.reference} is another document's")
        versions[key] = product
    if not versions:
        raise ProductInvalid(f"{folder}: no product document, needs one")
    return Catalogue(versions, rulebook)
