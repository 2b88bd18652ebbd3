"""What a scenario does to balances by class, provisions, capital and concentration. Pure.

Balances are our own parts, in the groups of day-end's closings, each rounded as day-end rounds it: without
a shock the provisions are those in the books to the fen.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from core_app.indicators.table import Indicator, Standing, Sums, judge_table
from core_app.loans.classification import AssetClass
from core_app.loans.provision import ProvisionRates, compute_provision, read_provision_rates
from core_app.money import round_half_up
from core_app.rules.legal import Rulebook
from core_app.stress.runoff import Flow, Runoff, run_off
from core_app.stress.scenario import Finance, Scenario

_NON_PERFORMING = (AssetClass.SUBSTANDARD, AssetClass.DOUBTFUL, AssetClass.LOSS)
_OF_TABLE = (
    "joint_share", "partner_share", "npl_coverage", "npl_ratio", "special_mention_ratio",
    "over_60_days_ratio", "largest_product_share", "largest_region_share",
)  # fmt: skip
"""Rows of the indicators' table that a shock can move; the others are of new loans and decisions."""


@dataclass(frozen=True, slots=True)
class Group:
    """One closing of day-end: our balances in fen by class, and what day-end set aside for them."""

    product: str
    region: str
    balances_fen: Mapping[AssetClass, int]
    by_60_days_fen: int
    provision_fen: int


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Everything read of one evening, over all cells; amounts in fen, our own parts.

    `owed_fen` is owed to funders and others at once, `committed_fen` signed and not drawn yet.
    """

    day: dt.date
    groups: tuple[Group, ...]
    flows: tuple[Flow, ...] = ()
    by_partner_fen: Mapping[str, int] = field(default_factory=dict)
    joint_fen: int = 0
    largest_borrowers_fen: tuple[int, ...] = ()
    receivable_fen: int = 0
    owed_fen: int = 0
    committed_fen: int = 0
    ledger_provision_fen: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A portfolio after a scenario: balances by class, provisions, how the ratios stand, and cash."""

    balances_fen: Mapping[AssetClass, int]
    provision_fen: int
    standings: tuple[Standing, ...]
    runoff: Runoff
    loss_fen: int
    """Taken from capital: provisions beyond those in the books, and dearer funding over the horizon."""


def shock_group(group: Group, scenario: Scenario) -> Group:
    """Return a group after the defaults of a scenario, one after the other; its provision is as before."""
    balances = {name: group.balances_fen.get(name, 0) for name in AssetClass}
    late = group.by_60_days_fen - sum(balances[name] for name in _NON_PERFORMING)
    for default in scenario.defaults:
        if not _is_hit(group.product, default.products) or not _is_hit(group.region, default.regions):
            continue
        moved = round_half_up(balances[AssetClass(default.of)] * Fraction(default.share))
        balances[AssetClass(default.of)] -= moved
        balances[AssetClass(default.to)] += moved
        if default.of == "special_mention":
            late -= round_half_up(late * Fraction(default.share))
    npl = sum(balances[name] for name in _NON_PERFORMING)
    return replace(group, balances_fen=balances, by_60_days_fen=late + npl)


def _is_hit(one: str, named: Sequence[str]) -> bool:
    return not named or one in named


def provide(groups: Iterable[Group], rates: ProvisionRates) -> int:
    """Return what has to be set aside for all groups, each rounded by itself."""
    return sum(compute_provision(group.balances_fen, rates).total_fen for group in groups)


def stress(
    portfolio: Portfolio,
    scenario: Scenario,
    finance: Finance | None,
    rulebook: Rulebook,
    tables: tuple[Sequence[Indicator], Sequence[Indicator]],
) -> Outcome:
    """Return what becomes of a portfolio; `tables` are the indicators' rows and those of stress tests alone.

    Bounds and rates are those in force on the evening.
    """
    day = portfolio.day
    groups = [shock_group(group, scenario) for group in portfolio.groups]
    provision = provide(groups, read_provision_rates(rulebook, day))
    booked = sum(group.provision_fen for group in portfolio.groups)
    runoff = run_off(portfolio.flows, scenario, finance, (day, portfolio.owed_fen, portfolio.committed_fen))
    balances: Counter[AssetClass] = Counter()
    for group in groups:
        balances.update(group.balances_fen)
    loss = provision - booked + (runoff.dearer_fen or 0)
    company, partners = _as_sums(portfolio, groups, provision)
    company |= _capital_sums(portfolio, finance, (provision, loss), runoff)
    general, own = tables
    rows = [row for row in general if row.id in _OF_TABLE] + [*own]
    standings = judge_table(rows, (company, partners), rulebook, day)
    return Outcome(dict(balances), provision, standings, runoff, loss)


def _as_sums(
    portfolio: Portfolio, groups: Sequence[Group], provision_fen: int
) -> tuple[dict[str, int | None], Mapping[str, Sums]]:
    products: Counter[str] = Counter()
    regions: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for group in groups:
        own = sum(group.balances_fen.values())
        products[group.product] += own
        regions[group.region] += own
        sums["own_fen"] += own
        sums["special_mention_fen"] += group.balances_fen.get(AssetClass.SPECIAL_MENTION, 0)
        sums["npl_fen"] += sum(group.balances_fen.get(name, 0) for name in _NON_PERFORMING)
        sums["by_60_days_fen"] += group.by_60_days_fen
    company: dict[str, int | None] = {
        name: sums[name] for name in ("own_fen", "special_mention_fen", "npl_fen", "by_60_days_fen")
    }
    company |= {
        "provision_fen": provision_fen,
        "joint_own_fen": portfolio.joint_fen,
        "largest_product_fen": max(products.values(), default=0),
        "largest_region_fen": max(regions.values(), default=0),
        "largest_borrower_fen": max(portfolio.largest_borrowers_fen, default=0),
        "ten_largest_fen": sum(portfolio.largest_borrowers_fen[:10]),
    }
    return company, {name: {"with_partner_own_fen": fen} for name, fen in portfolio.by_partner_fen.items()}


def _capital_sums(
    portfolio: Portfolio, finance: Finance | None, made: tuple[int, int], runoff: Runoff
) -> dict[str, int | None]:
    """Return the sums that finance's figures go into; None where one of them was not stated."""
    provision, loss = made
    own = sum(sum(group.balances_fen.values()) for group in portfolio.groups)

    def of(name: str) -> int | None:
        stated: int | None = getattr(finance, name) if finance is not None else None
        return stated

    def less_loss(fen: int | None) -> int | None:
        return None if fen is None else fen - loss

    cash, other = of("cash_fen"), of("other_assets_fen")
    known = cash is not None and other is not None
    return {
        "tier1_capital_fen": less_loss(of("tier1_capital_fen")),
        "net_capital_fen": less_loss(of("net_capital_fen")),
        "interbank_fen": of("interbank_fen"),
        "assets_fen": own - provision + portfolio.receivable_fen + cash + other if known else None,  # type: ignore[operator]
        "liquid_fen": None if cash is None else cash + runoff.inflow_30_fen,
        "due_30_fen": runoff.due_30_fen,
        "provision_booked_fen": sum(group.provision_fen for group in portfolio.groups),
    }
