"""By what lines of the ledger can be told apart. Pure.

Channel and region come from the application a loan goes back to; the view core.ledger_lines has all of
them for every line (core_app/sql/migrations/010_dimensions.sql).
"""

import enum
from collections.abc import Iterable

from core_app.products.model import Product

UNKNOWN = "unknown"
"""A channel or region that nobody named; the migration that adds the columns says the same."""


class Dimension(enum.StrEnum):
    """Columns of core.ledger_lines that balances can be asked by."""

    PRODUCT = "product"
    CHANNEL = "channel"
    FUNDER = "funder"
    REGION = "region"


def find_unknown(product: Product) -> tuple[str, ...]:
    """Return the dimensions that a product's document asks for and no line has."""
    return tuple(name for name in product.accounting.dimensions if name not in set(Dimension))


def loan_classes(products: Iterable[Product]) -> dict[str, str]:
    """Return the accounting class of each product id, by the highest version among `products`."""
    known = sorted(products, key=lambda product: product.version)
    return {product.id: product.accounting.loan_class for product in known}
