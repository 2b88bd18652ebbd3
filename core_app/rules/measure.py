"""What is measured of a product, a quote, a contract and a posting, for the rules to judge. Pure.

One function a stage, and its measures are always the same names: a rule that looks at a name that is
not here is refused by the engine, not skipped.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from core_app.disclosure.charges import compute_charges
from core_app.loans.terms import fee_rule
from core_app.products.model import Product
from core_app.products.price import price_product
from core_app.rules.engine import Found, Measures

_COST = "pricing.rate_annual and pricing.fees"


@dataclass(frozen=True, slots=True)
class Offer:
    """One loan as it is quoted: amount, periods, first day, and the use the borrower names, if any."""

    amount_fen: int
    periods: int
    on: dt.date
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the borrower did with the cost table: confirmed this very one, after reading so long."""

    confirmed: bool
    read_seconds: int


def measure_product(product: Product, day: dt.date) -> Measures:
    """Return what a product document measures, were it sold on `day`."""
    limits = (
        Found("limits.customer_fen", product.limits.customer_fen),
        Found("amount.max_fen", product.amount.max_fen),
    )
    identity, shown, collection = product.identity, product.disclosures, product.collection
    return {
        **_measure_worst_cost(product, day),
        **_measure_penalty(product),
        **_measure_funding(product),
        "exposure.all_products": limits,
        "tenor.bullet_months": _bullet(product, "tenor.periods", product.tenor.periods[-1]),
        "identity.activity": (Found("identity.activity", identity.activity),),
        "identity.borrower": (Found("identity.borrower", identity.borrower),),
        "identity.collateral": (Found("identity.collateral", identity.collateral),),
        "identity.purposes": _each("identity.purposes", identity.purposes),
        "identity.services": _each("identity.services", identity.services),
        "identity.regions": _each("identity.regions", identity.regions),
        "risk.models": _each("risk.models", product.risk.models),
        "risk.data_sources": _each("risk.data_sources", product.risk.data_sources),
        "collection.methods": _each("collection.methods", collection.methods),
        "collection.quiet_from_hour": _one("collection.quiet_from_hour", collection.quiet_from_hour),
        "collection.quiet_until_hour": _one("collection.quiet_until_hour", collection.quiet_until_hour),
        "collection.voice_per_day": _one("collection.voice_per_day", collection.voice_per_day),
        "collection.vendor_reviews_per_year": _one(
            "collection.vendor_reviews_per_year", collection.vendor_reviews_per_year
        ),
        **_measure_kept_back(product),
        "disclosures.claims": _each("disclosures.claims", shown.claims),
        "disclosures.rate_unit_shown": (Found("disclosures.rate_unit_shown", shown.rate_unit_shown),),
        "disclosures.cost_table": _flag("disclosures.cost_table", shown.cost_table),
        "disclosures.pop_up": _flag("disclosures.pop_up", shown.pop_up),
        "disclosures.order_page_in_scene": (
            _flag("disclosures.order_page", shown.order_page) if product.channels.scene is not None else ()
        ),
        "disclosures.reading_seconds": _one("disclosures.reading_seconds", shown.reading_seconds),
        "disclosures.slogan": (
            Found("disclosures.slogan.zh", shown.slogan.zh),
            Found("disclosures.slogan.en", shown.slogan.en.lower()),
        ),
        "servicing.complaint_days": _one("servicing.complaint_days", product.servicing.complaint_days),
        "documents.retention_years": _one("documents.retention_years", product.documents.retention_years),
    }


def measure_quote(product: Product, offer: Offer, exposures_fen: Iterable[int] = ()) -> Measures:
    """Return what one loan measures when its price is shown or it is applied for.

    `exposures_fen` are what its customer owes, product by product; nobody is known at a bare quote.
    """
    return {
        **_measure_cost(product, offer),
        **_measure_kept_back(product),
        "exposure.all_products": _one("body.amount_fen", sum(exposures_fen) + offer.amount_fen),
        "tenor.bullet_months": _bullet(product, "body.periods", offer.periods),
        "identity.purposes": _named(offer.purpose),
    }


def measure_contract(
    product: Product, offer: Offer, exposures_fen: Iterable[int], confirmation: Confirmation
) -> Measures:
    """Return what a contract measures; `exposures_fen` are what its customer owes, product by product."""
    missing = product.disclosures.reading_seconds - confirmation.read_seconds
    return {
        **_measure_cost(product, offer),
        **_measure_kept_back(product),
        "exposure.all_products": _one("body.application_id", sum(exposures_fen) + offer.amount_fen),
        **_measure_funding(product),
        "identity.purposes": _named(offer.purpose),
        "disclosure.confirmed": _flag("body.cost_table_sm3", confirmation.confirmed),
        "disclosure.reading_seconds_missing": _one("body.cost_table_read_seconds", max(0, missing)),
    }


def measure_posting(product: Product, booked_fen: dict[str, int]) -> Measures:
    """Return what a posting measures; `booked_fen` has what it charges besides principal, by component."""
    listed = {"interest", "penalty"}
    if product.prepayment.fee_share:
        listed.add("prepayment_fee")
    if not fee_rule(product).free:
        listed.add("instalment_fee")
    undisclosed = tuple(
        Found(f"posting.{name}", fen) for name, fen in booked_fen.items() if fen and name not in listed
    )
    penalised = booked_fen.get("penalty", 0) > 0
    return {
        "posting.undisclosed_fen": undisclosed,
        "penalty.multiple": _measure_penalty(product)["penalty.multiple"] if penalised else (),
    }


def _measure_worst_cost(product: Product, day: dt.date) -> Measures:
    """Return the cost of the largest loan over every term on offer, and at every price of the grid."""
    largest_fen = product.amount.max_fen
    costs = [_measure_cost(product, Offer(largest_fen, periods, day)) for periods in product.tenor.periods]
    for number, cell in enumerate(product.pricing.grid):
        priced = price_product(product, cell.segment, cell.periods)
        path = f"pricing.grid.{number}.rate_annual"
        costs.append(_measure_cost(priced, Offer(largest_fen, cell.periods, day), path))
    return {name: tuple(found for cost in costs for found in cost[name]) for name in costs[0]}


def _measure_cost(product: Product, offer: Offer, where: str = "") -> Measures:
    pricing = product.pricing
    cost = compute_charges(product, offer.amount_fen, offer.periods, offer.on).cost.in_unit(
        pricing.ceiling_unit
    )
    over = max(Decimal(0), cost - pricing.all_in_ceiling)
    path = where or f"{_COST} over {offer.periods} periods"
    own = where or f"pricing.all_in_ceiling over {offer.periods} periods"
    return {
        "cost.in_ceiling_unit": (Found(path, cost),),
        "cost.over_own_ceiling": (Found(own, over),),
    }


def _measure_kept_back(product: Product) -> Measures:
    fees = product.pricing.fees
    share = fees.upfront_share if fees.upfront_when == "draw" else Decimal(0)
    return {"fees.kept_back": (Found("pricing.fees.upfront_share", share),)}


def _measure_penalty(product: Product) -> Measures:
    rule = product.penalty
    return {
        "penalty.multiple": (Found("penalty.multiple", rule.multiple),),
        "penalty.misuse_multiple": (Found("penalty.misuse_multiple", rule.misuse_multiple),),
    }


def _measure_funding(product: Product) -> Measures:
    parties = product.funding.parties
    found = tuple(Found(f"funding.parties.{n}.share", party.share) for n, party in enumerate(parties))
    return {"funding.party_share": found}


def _bullet(product: Product, path: str, periods: int) -> tuple[Found, ...]:
    return _one(path, periods) if product.schedule.method == "interest_only" else ()


def _one(path: str, value: int) -> tuple[Found, ...]:
    return (Found(path, value),)


def _flag(path: str, value: bool) -> tuple[Found, ...]:
    return (Found(path, "true" if value else "false"),)


def _each(path: str, names: Iterable[str]) -> tuple[Found, ...]:
    return tuple(Found(path, name) for name in names)


def _named(purpose: str | None) -> tuple[Found, ...]:
    return () if purpose is None else (Found("body.purpose", purpose),)
