"""What a coupon is worth on a loan that is quoted, beside the cost without it. Pure.

The cost table never counts a coupon: it may not be used, and what the law limits is the cost without it.
"""

import datetime as dt
from typing import Any

from core_app.disclosure.charges import Charges, compute_cost_less
from core_app.products.model import Product
from core_app.servicing.coupons import Coupon, InterestPaid, compute_discount_fen

_NOTE = {
    "zh": "仅在首期还款使用该券时的年化成本；综合融资成本明示表不计入优惠。",
    "en": "The cost a year if the coupon is used in the first repayment; the cost table does not count it.",
}


def show_worth(product: Product, charges: Charges, coupon: Coupon, start: dt.date) -> dict[str, Any]:
    """Return what the coupon takes off the first repayment, and the cost a year with it, in both units.

    A loan repaid anytime has no first repayment: what it takes off depends on the use and is not shown.
    """
    shown: dict[str, Any] = {"coupon_id": coupon.coupon_id, "kind": coupon.kind, "note": _NOTE}
    if not charges.plan:
        return shown | {"discount_fen": None, "annual_cost_simple": None, "annual_cost_compound": None}
    rate = product.pricing.rate_annual
    interest_fen = charges.plan[0].interest_fen
    paid = InterestPaid(interest_fen, charges.principal_fen, rate, product.pricing.day_count)
    discount_fen = compute_discount_fen(coupon.benefit, paid)
    cost = compute_cost_less(product, charges, start, discount_fen)
    return shown | {
        "discount_fen": discount_fen,
        "annual_cost_simple": str(cost.in_unit("simple")),
        "annual_cost_compound": str(cost.in_unit("compound")),
    }
