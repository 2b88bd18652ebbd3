"""A product's parameters as the values that schedules, penalties and splits are computed from. Pure."""

import datetime as dt
from decimal import Decimal

from core_app.business_calendar import add_months
from core_app.loans.allocation import Order, OrderRule, PenaltyTerms
from core_app.loans.daily import DailyRate
from core_app.loans.fees import FeeRule
from core_app.loans.prepayment import Mode, PrepaymentRule
from core_app.loans.reprice import CutUnit, RewardRule
from core_app.loans.schedule import Instalment, Method, Plan, PlanRule, Terms, plan_schedule
from core_app.loans.split import Funder
from core_app.products.model import Product


def loan_terms(product: Product, principal_fen: int, periods: int) -> Terms:
    """Return the terms of one loan of the product."""
    return Terms(principal_fen, product.pricing.rate_annual, periods)


def plan_rule(product: Product) -> PlanRule:
    """Return how the product plans; ValueError for `anytime`, which has no plan."""
    tenor = product.tenor
    return PlanRule(
        Method(product.schedule.method),
        product.pricing.day_count if product.schedule.interest_by == "day" else None,
        tenor.bill_day if tenor.first_due == "bill_day" else None,
        tenor.first_due_min_days,
    )


def is_anytime(product: Product) -> bool:
    """Say whether its loans have daily interest and no plan: drawn under a line, repaid anytime."""
    return product.schedule.method == "anytime"


def plan_loan(product: Product, terms: Terms, start: dt.date) -> Plan:
    """Return the plan of a loan drawn on `start`; one repaid anytime has one line, due at its end.

    The interest of such a loan runs by day (`standing.Running`), so that line has none.
    """
    if is_anytime(product):
        return (Instalment(1, add_months(start, terms.periods), terms.principal_fen, 0),)
    return fee_rule(product).charge(plan_schedule(terms, start, plan_rule(product)), terms.principal_fen)


def fee_rule(product: Product) -> FeeRule:
    """Return which fees fall due with instalments; what would be kept back at the draw is not among them."""
    fees = product.pricing.fees
    return FeeRule(
        Decimal(0) if fees.upfront_when == "draw" else fees.upfront_share,
        fees.upfront_income == "own",
        fees.monthly_share,
        fees.monthly_base == "opening",
        fees.monthly_income == "own",
    )


def daily_rate(product: Product) -> DailyRate:
    """Return the rate of one day."""
    return DailyRate(product.pricing.rate_annual, product.pricing.day_count)


def penalty_terms(product: Product) -> PenaltyTerms:
    """Return what an overdue instalment bears."""
    return PenaltyTerms(
        product.pricing.rate_annual,
        product.penalty.multiple,
        product.pricing.day_count,
        product.penalty.base == "principal_and_interest",
        product.tenor.grace_days,
    )


def order_rule(product: Product) -> OrderRule:
    """Return which debt a repayment pays first."""
    rule = product.allocation
    return OrderRule(Order(rule.normal), Order(rule.non_performing), rule.non_performing_after_days)


def prepayment_rule(product: Product) -> PrepaymentRule:
    """Return which prepayments are taken, and their fee."""
    rule = product.prepayment
    modes = frozenset(Mode(mode) for mode in rule.modes)
    return PrepaymentRule(
        modes, rule.min_fen, rule.fee_share, rule.fee_free_after_periods, rule.locked_periods
    )


def reward_rule(product: Product) -> RewardRule | None:
    """Return the cut for paying on time, None when there is none."""
    reward = product.pricing.reward
    if reward is None:
        return None
    return RewardRule(reward.after_periods, CutUnit(reward.unit), reward.cut)


def funders(product: Product) -> tuple[Funder, ...]:
    """Return the funders of each loan, the lead last: it takes the collected rounding."""
    ordered = sorted(product.funding.parties, key=lambda party: party.lead)
    return tuple(Funder(party.funder, party.share) for party in ordered)
