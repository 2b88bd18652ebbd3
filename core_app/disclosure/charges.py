"""Everything a borrower pays for a loan of a product, fees included, and its all-in cost. Pure."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
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
from core_app.loans.schedule import Plan, plan_schedule
from core_app.loans.terms import loan_terms, plan_rule
from core_app.money import round_half_up
from core_app.products.model import Product


@dataclass(frozen=True, slots=True)
class Charges:
    """A loan as its borrower sees it: what is paid out, the plan, the fee of each period, the cost.

    A loan that is repaid anytime has no plan; its cost is that of its daily interest.
    """

    principal_fen: int
    upfront_fen: int
    plan: Plan
    fees_fen: tuple[int, ...]
    cost: AnnualCost
    upfront_annual: Decimal = Decimal(0)
    """What the fee at the draw adds to the simple all-in cost a year."""
    monthly_annual: Decimal = Decimal(0)
    """What the fees of the periods add to it."""

    @property
    def paid_out_fen(self) -> int:
        """Return what reaches the borrower or the merchant."""
        return self.principal_fen - self.upfront_fen

    @property
    def interest_fen(self) -> int:
        """Return all planned interest."""
        return sum(instalment.interest_fen for instalment in self.plan)

    @property
    def monthly_fees_fen(self) -> int:
        """Return all fees of the periods together."""
        return sum(self.fees_fen)


@lru_cache(maxsize=4096)
def compute_charges(product: Product, principal_fen: int, periods: int, start: dt.date) -> Charges:
    """Return the charges of a loan drawn on `start`.

    Interest by month is annualised over equal months, as the legal formula has it; interest by day and
    bill days over the days themselves. Kept: an application asks for them to be judged, shown and signed.
    """
    fees = product.pricing.fees
    upfront_fen = round_half_up(principal_fen * Fraction(fees.upfront_share))
    if product.schedule.method == "anytime":
        cost = compute_daily_cost(product.pricing.rate_annual, product.pricing.day_count)
        return Charges(principal_fen, 0, (), (), cost)
    plan = plan_schedule(loan_terms(product, principal_fen, periods), start, plan_rule(product))
    monthly_fen = _fees(product, principal_fen, plan)
    dated = product.schedule.interest_by == "day"

    def cost_of(paid_out_fen: int, fees_fen: Sequence[int]) -> AnnualCost:
        payments = [line.total_fen + fee for line, fee in zip(plan, fees_fen, strict=True)]
        if not dated:
            return compute_annual_cost(paid_out_fen, payments)
        days = [DatedPayment(line.due, fen) for line, fen in zip(plan, payments, strict=True)]
        return compute_dated_cost(start, paid_out_fen, days)

    cost = cost_of(principal_fen - upfront_fen, monthly_fen)
    without_upfront = cost_of(principal_fen, monthly_fen) if upfront_fen else cost
    interest_only = cost_of(principal_fen, [0] * len(plan)) if any(monthly_fen) else without_upfront
    return Charges(
        principal_fen,
        upfront_fen,
        plan,
        monthly_fen,
        cost,
        upfront_annual=cost.simple - without_upfront.simple,
        monthly_annual=without_upfront.simple - interest_only.simple,
    )


def _fees(product: Product, principal_fen: int, plan: Plan) -> tuple[int, ...]:
    share = Fraction(product.pricing.fees.monthly_share)
    if product.pricing.fees.monthly_base == "original":
        return (round_half_up(principal_fen * share),) * len(plan)
    balance_fen, fees = principal_fen, []
    for line in plan:
        fees.append(round_half_up(balance_fen * share))
        balance_fen -= line.principal_fen
    return tuple(fees)
