"""The price of a loan by segment and term: a cell of the product's grid, or else its own rate. Pure.

The grid stands in the product's document, so a price has a version that never changes, was checked against
the law when it was published, and is shown to everybody beside the product (GET /v1/products).
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core_app.products.model import Product

_WHY_OWN = {
    "zh": "按产品的公开利率定价。",
    "en": "The product's rate for everybody.",
}
_WHY_CELL = {
    "zh": "按客户分层与期限的公开价格表定价。",
    "en": "The published rate of the customer's segment and the term.",
}


@dataclass(frozen=True, slots=True)
class Price:
    """A rate a year and where in the document it stands; `segment` is the customer's, if it has a price."""

    rate_annual: Decimal
    path: str
    segment: str | None

    def show(self, product: Product) -> dict[str, Any]:
        """Return the price with its explanation, as a client reads it."""
        return {
            "rate_annual": str(self.rate_annual),
            "segment": self.segment,
            "grid": product.reference,
            "path": self.path,
            "why": _WHY_OWN if self.segment is None else _WHY_CELL,
        }


def find_price(product: Product, segment: str | None, periods: int) -> Price:
    """Return the price of a loan of so many periods for a customer of that segment (None: of none)."""
    for number, cell in enumerate(product.pricing.grid):
        if cell.segment == segment and cell.periods == periods:
            return Price(cell.rate_annual, f"pricing.grid.{number}.rate_annual", segment)
    return Price(product.pricing.rate_annual, "pricing.rate_annual", None)


def price_product(product: Product, segment: str | None, periods: int) -> Product:
    """Return the product as such a customer has it: the same version, with the rate of the grid's cell."""
    price = find_price(product, segment, periods)
    if price.rate_annual == product.pricing.rate_annual:
        return product
    pricing = product.pricing.model_copy(update={"rate_annual": price.rate_annual})
    return product.model_copy(update={"pricing": pricing})
