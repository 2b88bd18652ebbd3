"""Entrusted payment: the money of a scene's loan goes to the merchant of the borrower's order. Pure."""

from dataclasses import dataclass

from core_app.errors import refuse_field
from core_app.products.model import Product


@dataclass(frozen=True, slots=True)
class Merchant:
    """Who is paid, of which kind, for which order; an order is paid once."""

    merchant_id: str
    kind: str
    order_id: str

    @property
    def columns(self) -> tuple[str, str, str]:
        """Return the values in the order of core.entrusted_payments."""
        return self.merchant_id, self.kind, self.order_id


def check_payee(product: Product, merchant: Merchant | None) -> None:
    """Refuse a draw that would pay someone else than the product says: borrower or merchant."""
    channels = product.channels
    if channels.pay_out_to == "borrower":
        if merchant is not None:
            raise refuse_field("body.merchant", "a merchant", "none: this product pays the borrower")
        return
    if merchant is None:
        raise refuse_field("body.merchant", "nothing", "the merchant to pay; this product pays no borrower")
    if merchant.kind not in channels.merchant_kinds:
        allowed = ", ".join(channels.merchant_kinds)
        raise refuse_field("body.merchant.kind", merchant.kind, f"one of: {allowed}")
