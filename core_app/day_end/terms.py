"""What day-end's SQL needs to know of products and rules, as columns. Pure."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from core_app.business_calendar import add_months
from core_app.loans.classification import AssetClass, read_class_limits
from core_app.loans.provision import read_provision_rates
from core_app.loans.terms import fee_rule, penalty_terms
from core_app.products.model import Product
from core_app.rules.legal import Rulebook


def find_bill_due(product: Product, day: dt.date) -> dt.date | None:
    """Return when the bill made on `day` falls due; None when none is made for the product that day."""
    bill_day = product.tenor.bill_day
    if not product.reporting.merge_bills or bill_day is None or product.notices.statement_day != day.day:
        return None
    this_month = day.replace(day=bill_day)
    return this_month if this_month > day else add_months(this_month, 1)


def product_columns(products: Iterable[Product], day: dt.date) -> dict[str, Any]:
    """Return one row a product version, column by column."""
    known = sorted(products, key=lambda product: (product.id, product.version))
    penalties = [penalty_terms(product) for product in known]
    rules = [fee_rule(product) for product in known]
    return {
        "products": [product.id for product in known],
        "versions": [product.version for product in known],
        "day_counts": [penalty.year_days for penalty in penalties],
        "multiples": [penalty.multiple for penalty in penalties],
        "on_interest": [penalty.on_interest for penalty in penalties],
        "grace_days": [penalty.grace_days for penalty in penalties],
        "non_accrual_after": [product.accounting.non_accrual_after_days for product in known],
        "accrue_daily": [product.accounting.accrue == "daily" for product in known],
        "bill_dues": [find_bill_due(product, day) for product in known],
        "once_shares": [rule.once_share for rule in rules],
        "once_own": [rule.once_own for rule in rules],
        "period_own": [rule.period_own for rule in rules],
    }


def rule_columns(rulebook: Rulebook, day: dt.date) -> dict[str, Any]:
    """Return the thresholds of classes and the rates of provisions in force on `day`."""
    limits = read_class_limits(rulebook, day)
    rates = read_provision_rates(rulebook, day)
    days = {f"{name}_from": first for first, name in limits.first_days}
    shares = {f"{name}_share": rates.specific[name] for name in AssetClass if name in rates.specific}
    return days | shares | {"npl_60_from": limits.npl_60_first_day, "general_share": rates.general}
