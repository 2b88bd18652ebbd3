"""Match a wish with the products on sale: which fit, in which order, and why; why the others do not. Pure.

What makes a product fit is its document, data: amounts, periods, uses, entrances, ages, evidence. Cheapest
first, by the all-in cost a year; of equals the one with more room; then by id, so that the order never
varies.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from core_app.customers.segments import find_misfit
from core_app.decisions.rules import Reason
from core_app.decisions.steps import Step, judge_pre_screen
from core_app.products.model import Product


@dataclass(frozen=True, slots=True)
class Wanted:
    """A loan that is wished for, at no product in particular; by whom, as far as known."""

    amount_fen: int
    periods: int
    purpose: str | None
    channel: str | None
    age_years: int
    listed: frozenset[str] = frozenset()
    """The products whose lists have the customer today."""
    segment: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product with what is known of it for the wish: cost a year, room for the customer, why not."""

    product: Product
    annual_cost: Decimal | None
    room_fen: int
    reasons: tuple[Reason, ...]
    missing: tuple[str, ...] = ()
    """Evidence that the customer would still have to bring."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A product that fits, at its place from 1, with what put it there."""

    rank: int
    candidate: Candidate
    why: tuple[dict[str, Any], ...]


def find_mismatches(product: Product, wanted: Wanted) -> tuple[Reason, ...]:
    """Return what of the product's own document does not fit the wish."""
    amount, ages = product.amount, product.eligibility
    uses, entrances = product.identity.purposes, product.channels.entrances
    periods = product.tenor.periods
    found = (
        (
            not amount.min_fen <= wanted.amount_fen <= amount.max_fen,
            Reason("product.amount", wanted.amount_fen, f"{amount.min_fen} to {amount.max_fen}"),
        ),
        (
            bool(wanted.amount_fen % amount.step_fen),
            Reason("product.amount_step", wanted.amount_fen, f"a multiple of {amount.step_fen}"),
        ),
        (
            wanted.periods not in periods,
            Reason("product.periods", wanted.periods, f"one of: {', '.join(map(str, periods))}"),
        ),
        (
            wanted.purpose is not None and wanted.purpose not in uses,
            Reason("product.purposes", wanted.purpose or "", f"one of: {', '.join(uses)}"),
        ),
        (
            wanted.channel is not None and wanted.channel not in entrances,
            Reason("product.entrances", wanted.channel or "", f"one of: {', '.join(entrances)}"),
        ),
        (
            not ages.min_years <= wanted.age_years <= ages.max_years,
            Reason("age", wanted.age_years, f"{ages.min_years} to {ages.max_years}"),
        ),
    )
    gated = Step.PRE_SCREEN in product.risk.steps
    gate = judge_pre_screen(product, wanted.listed).reasons if gated else ()
    misfit = find_misfit(product, wanted.segment)
    other = () if misfit is None else (Reason(misfit.rule, misfit.found, misfit.needed),)
    return (*(reason for bad, reason in found if bad), *other, *gate)


def rank_offers(candidates: Iterable[Candidate]) -> tuple[Offer, ...]:
    """Return those that fit, best first, each with what put it at its place."""
    fitting = [one for one in candidates if not one.reasons and one.annual_cost is not None]
    fitting.sort(key=lambda one: (one.annual_cost, -one.room_fen, one.product.id))
    costs = sorted({one.annual_cost for one in fitting if one.annual_cost is not None})
    return tuple(
        Offer(rank, one, _why(one, costs.index(one.annual_cost) + 1, len(costs)))
        for rank, one in enumerate(fitting, 1)
        if one.annual_cost is not None
    )


def _why(one: Candidate, place: int, costs: int) -> tuple[dict[str, Any], ...]:
    cost = {"by": "annual_cost_simple", "value": str(one.annual_cost), "place": place, "of": costs}
    return (cost, {"by": "room_fen", "value": one.room_fen})


def with_law(candidate: Candidate, others: Sequence[Reason]) -> Candidate:
    """Return the candidate with the reasons of law and limits added; a product's own reason goes before."""
    known = {reason.rule for reason in candidate.reasons}
    more = tuple(reason for reason in others if reason.rule not in known)
    return replace(candidate, reasons=candidate.reasons + more)
