"""Which products the core can lend by itself, in one transaction each. Pure.

A document may be right and lawful while the part of the core that keeps such loans is not there:
then it can be checked, published and quoted, and an application says what is missing.
"""

from core_app.products.model import Product


def find_unserved(product: Product) -> str | None:
    """Return the parameter whose value cannot be lent by yet, with what could; None when it can."""
    fees = product.pricing.fees
    if fees.upfront_share or fees.monthly_share:
        return "pricing.fees needs instalments with fees (core_app.day_end)"
    return None
