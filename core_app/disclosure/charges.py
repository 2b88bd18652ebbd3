"""Everything a borrower pays for a loan of a product, fees included, and its all-in cost. Pure."""

import datetime as dt
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from core_app.disclosure.annual_cost import (
    AnnualCost,
    DatedPayment,
    compute_annual_cost,
    compute_daily_cost,
    compute_dated_cost,
)
from core_app.loans.fees import NO_FEES, FeeRule
from core_app.loans.schedule import Plan
from core_app.loans.terms import fee_rule, loan_terms, plan_loan
from core_app.money import round_half_up
from core_app.products.model import Product


@dataclass(frozen=True, slots=True)
class Charges:
    """A loan as its borrower sees it: what is paid out, the plan with its fees, the cost.

    A loan that is repaid anytime has no plan; its cost is that of its daily interest.
    """

    principal_fen: int
    kept_back_fen: int
    once_fen: int
    """The one-off fee that falls due with the first instalment; it is in the plan."""
    plan: Plan
    cost: AnnualCost
    upfront_annual: Decimal = Decimal(0)
    """What the one-off fee adds to the simple all-in cost a year."""
    monthly_annual: Decimal = Decimal(0)
    """What the fees of the periods add to it."""

    @property
    def paid_out_fen(self) -> int:
        """Return what reaches the borrower or the merchant."""
        return self.principal_fen - self.kept_back_fen

    @property
    def upfront_fen(self) -> int:
        """Return the one-off fee, whenever it is paid."""
        return self.kept_back_fen + self.once_fen

    @property
    def interest_fen(self) -> int:
        """Return all planned interest."""
        return sum(instalment.interest_fen for instalment in self.plan)

    @property
    def monthly_fees_fen(self) -> int:
        """Return all fees of the periods together, without the one-off one."""
        return sum(instalment.fee_fen for instalment in self.plan) - self.once_fen


@lru_cache(maxsize=4096)
def compute_charges(product: Product, principal_fen: int, periods: int, start: dt.date) -> Charges:
    """Return the charges of a loan drawn on `start`.

    Interest by month is annualised over equal months, as the legal formula has it; interest by day and
    bill days over the days themselves. Kept: an application asks for them to be judged, shown and signed.
    """
    if product.schedule.method == "anytime":
        cost = compute_daily_cost(product.pricing.rate_annual, product.pricing.day_count)
        return Charges(principal_fen, 0, 0, (), cost)
    rule = fee_rule(product)
    plan = plan_loan(product, loan_terms(product, principal_fen, periods), start)
    dated = product.schedule.interest_by == "day"

    def cost_of(paid_out_fen: int, charged: FeeRule) -> AnnualCost:
        lines = charged.charge(plan, principal_fen)
        if not dated:
            return compute_annual_cost(paid_out_fen, [line.total_fen for line in lines])
        return compute_dated_cost(
            start, paid_out_fen, [DatedPayment(line.due, line.total_fen) for line in lines]
        )

    fees = product.pricing.fees
    kept_back_fen = 0
    if fees.upfront_when == "draw":
        kept_back_fen = round_half_up(principal_fen * Fraction(fees.upfront_share))
    cost = cost_of(principal_fen - kept_back_fen, rule)
    without_upfront = cost_of(principal_fen, replace(rule, once_share=Decimal(0)))
    interest_only = cost_of(principal_fen, NO_FEES)
    return Charges(
        principal_fen,
        kept_back_fen,
        rule.once_fen(principal_fen),
        plan,
        cost,
        upfront_annual=cost.simple - without_upfront.simple,
        monthly_annual=without_upfront.simple - interest_only.simple,
    )


def compute_cost_less(product: Product, charges: Charges, start: dt.date, less_fen: int) -> AnnualCost:
    """Return what the loan would cost a year, were its first payment so much lower: by its interest at most.

    For showing what a coupon is worth: the law is asked about the cost without one. ValueError for a loan
    repaid anytime, which has no plan.
    """
    if not charges.plan:
        raise ValueError("a loan without a plan has no first payment")
    first_fen, *others_fen = (line.total_fen for line in charges.plan)
    payments_fen = [first_fen - min(less_fen, charges.plan[0].interest_fen), *others_fen]
    if product.schedule.interest_by != "day":
        return compute_annual_cost(charges.paid_out_fen, payments_fen)
    dated = [DatedPayment(line.due, fen) for line, fen in zip(charges.plan, payments_fen, strict=True)]
    return compute_dated_cost(start, charges.paid_out_fen, dated)
