"""The cost table a borrower is shown before signing, as the rule of 2026-08-01 has it. Pure.

Principal, each cost with its method, payee and annualised standard (what it adds to the all-in cost on
the principal actually outstanding, so that the parts add up to the whole); the all-in cost of a loan that is
kept to, simple and compound; costs that come only with default, misuse or prepayment apart; and the
line that there is no other charge. It holds no dates: with interest by month, the table shown the
evening before is the table signed the morning after. With interest by day another day has other
amounts and so another table: it has to be shown and confirmed anew (POST /v1/quotes).
"""

from decimal import Decimal
from typing import Any

from core_app.disclosure.charges import Charges
from core_app.documents import Canonical, make_canonical
from core_app.products.model import Product

LENDER = {"zh": "贷款人", "en": "the lender"}
NO_OTHER_CHARGE = {
    "zh": "除上述项目外，不收取任何其他费用。",
    "en": "No other charge is made beyond the items above.",
}
_METHODS = {
    "equal_instalment": {"zh": "等额本息", "en": "equal instalments"},
    "equal_principal": {"zh": "等额本金", "en": "equal principal"},
    "interest_only": {"zh": "按期付息到期还本", "en": "interest by period, principal at the end"},
    "anytime": {"zh": "随借随还按日计息", "en": "daily interest, repaid anytime"},
}


def make_cost_table(product: Product, charges: Charges, periods: int) -> Canonical:
    """Return the table of one loan, canonical, with its hash."""
    identity = product.identity
    return make_canonical(
        {
            "product": identity.id,
            "product_version": identity.version,
            "name": _both(identity.name.zh, identity.name.en),
            "currency": identity.currency,
            "principal_fen": charges.principal_fen,
            "paid_out_fen": charges.paid_out_fen,
            "periods": periods,
            "repayment": _METHODS[product.schedule.method],
            "items": _items(product, charges),
            "all_in_cost": {
                "simple_annual": _percent(charges.cost.simple),
                "compound_annual": _percent(charges.cost.compound),
                "unit": _both("年化，单利与复利（IRR）", "a year, simple and compound (IRR)"),
                "total_fen": charges.upfront_fen + charges.interest_fen + charges.monthly_fees_fen,
            },
            "contingent": _contingent(product),
            "no_other_charge": NO_OTHER_CHARGE,
            "complaints": product.disclosures.complaint_phone,
            "reading_seconds": product.disclosures.reading_seconds,
        }
    )


def _items(product: Product, charges: Charges) -> list[dict[str, Any]]:
    pricing = product.pricing
    by = "month" if product.schedule.interest_by == "month" else f"day of {pricing.day_count}"
    items = [
        {
            "item": _both("利息", "interest"),
            "method": _both("按未还本金计息", f"on the outstanding principal, by {by}"),
            "annual": _percent(pricing.rate_annual),
            "amount_fen": charges.interest_fen,
            "payee": LENDER,
        }
    ]
    fees = pricing.fees
    if fees.upfront_share:
        name = _both("首期收取的一次性费用", "one-off fee with the first instalment")
        if fees.upfront_when == "draw":
            name = _both("放款时扣收费用", "fee kept back at the draw")
        items.append(
            {
                "item": name,
                "method": _both("按本金一次收取", "once, of the principal"),
                "annual": _percent(charges.upfront_annual),
                "amount_fen": charges.upfront_fen,
                "payee": _both(fees.upfront_payee or "", fees.upfront_payee or ""),
            }
        )
    if fees.monthly_share:
        base = _both("原始本金", "original principal")
        if fees.monthly_base == "opening":
            base = _both("期初未还本金", "opening balance")
        items.append(
            {
                "item": _both("每期服务或担保费", "service or guarantee fee of each period"),
                "method": _both(f"按{base['zh']}每期收取", f"each period, of the {base['en']}"),
                "annual": _percent(charges.monthly_annual),
                "amount_fen": charges.monthly_fees_fen,
                "payee": _both(fees.monthly_payee or "", fees.monthly_payee or ""),
            }
        )
    return items


def _contingent(product: Product) -> list[dict[str, Any]]:
    rate, penalty = product.pricing.rate_annual, product.penalty
    found = [
        {
            "item": _both("逾期罚息", "penalty interest when overdue"),
            "annual": _percent(rate * penalty.multiple),
            "payee": LENDER,
        },
        {
            "item": _both("挪用罚息", "penalty interest when misused"),
            "annual": _percent(rate * penalty.misuse_multiple),
            "payee": LENDER,
        },
    ]
    if product.prepayment.fee_share:
        fee = product.prepayment.fee_share
        found.append(
            {
                "item": _both("提前还款手续费", "fee for prepaying"),
                "share": _percent(fee),
                "payee": LENDER,
            }
        )
    return found


def _both(zh: str, en: str) -> dict[str, str]:
    return {"zh": zh, "en": en}


def _percent(share: Decimal) -> str:
    """Return a share as percent with two digits: 0.18 is `18.00%`."""
    return f"{(share * 100).quantize(Decimal('0.01'))}%"
