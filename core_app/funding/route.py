"""Which funder stands for each party of a loan: filtered, ranked, with the reason for each not taken. Pure.

Figures are of one cell at one instant. Whoever decides about money calls this with rows it holds locked.
"""

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from core_app.funding.funder import Funder
from core_app.ledger.posting import OWN
from core_app.loans.split import split_amounts


class Why(enum.StrEnum):
    """Why a funder was not taken."""

    STOPPED = "stopped by the operator"
    PRODUCT = "does not fund this product"
    REGION = "does not fund every region of the product"
    SHARE = "does not take this share"
    DEAR = "its money is dearer than the product allows"
    LOAN_LIMIT = "its part is above its limit for one loan"
    QUOTA_TOTAL = "too little is left of its quota"
    QUOTA_DAY = "too little is left of its quota of the day"
    TAKEN = "funds another party of this loan"
    RANKED = "another one ranks before it"


@dataclass(frozen=True, slots=True)
class Offer:
    """A funder with what is left to it in this cell, in fen; None: no such limit."""

    funder: Funder
    left_fen: int | None
    day_left_fen: int | None
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Party:
    """A party of the product: its name there, its share, whether it leads."""

    name: str
    share: Decimal
    lead: bool


@dataclass(frozen=True, slots=True)
class Need:
    """A loan that needs money. `rank_by` names what is compared, in order: cost, speed, quota."""

    product: str
    regions: tuple[str, ...]
    amount_fen: int
    parties: tuple[Party, ...]
    rank_by: tuple[str, ...]
    cost_max_annual: Decimal


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A funder that was looked at and not taken."""

    party: str
    funder: str
    why: Why


@dataclass(frozen=True, slots=True)
class Stake:
    """Who funds which share of a loan; `version` of its document, None for ourselves."""

    funder: str
    share: Decimal
    principal_fen: int
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Routed:
    """The stakes, the lead last (it takes the collected rounding); none at all when a party has nobody."""

    stakes: tuple[Stake, ...]
    passed_over: tuple[PassedOver, ...]

    def plain_passed_over(self) -> list[dict[str, Any]]:
        """Return the reasons as JSON has them."""
        return [asdict(one) | {"why": str(one.why)} for one in self.passed_over]


_RANKS: Mapping[str, Callable[[Offer], Any]] = {
    "cost": lambda offer: offer.funder.cost_annual,
    "speed": lambda offer: offer.funder.speed_s,
    "quota": lambda offer: -min(fen for fen in (offer.left_fen, offer.day_left_fen) if fen is not None),
}
RANKS = frozenset(_RANKS)
"""What `rank_by` may name."""


def route(need: Need, offers: Iterable[Offer]) -> Routed:
    """Choose a funder for every party, one funder for at most one party; `own` is never routed.

    Parties take turns in their order, the lead last. Ties end by the funder's id, so that the same rows
    give the same choice. ValueError for a name in `rank_by` that nothing is ranked by.
    """
    unknown = set(need.rank_by) - RANKS
    if unknown:
        raise ValueError(f"funding.rank_by: {', '.join(sorted(unknown))}; needs {', '.join(sorted(RANKS))}")
    known = tuple(offers)
    ordered = sorted(need.parties, key=lambda party: party.lead)
    parts = split_amounts([need.amount_fen], [party.share for party in ordered])
    stakes: list[Stake] = []
    passed: list[PassedOver] = []
    for party, (part_fen,) in zip(ordered, parts, strict=True):
        if party.name == OWN:
            stakes.append(Stake(OWN, party.share, part_fen))
            continue
        taken = {stake.funder for stake in stakes}
        asked = [offer for offer in known if party.name in offer.funder.fills]
        judged = [(offer, _judge(need, party, part_fen, offer, taken)) for offer in asked]
        passed += (PassedOver(party.name, offer.funder.id, why) for offer, why in judged if why is not None)
        fit = [offer for offer, why in judged if why is None]
        fit.sort(key=lambda offer: (*(_RANKS[name](offer) for name in need.rank_by), offer.funder.id))
        if not fit:
            return Routed((), tuple(passed))
        passed += (PassedOver(party.name, offer.funder.id, Why.RANKED) for offer in fit[1:])
        stakes.append(Stake(fit[0].funder.id, party.share, part_fen, fit[0].funder.version))
    return Routed(tuple(stakes), tuple(passed))


def _judge(need: Need, party: Party, part_fen: int, offer: Offer, taken: set[str]) -> Why | None:
    return Why.TAKEN if offer.funder.id in taken else find_hindrance(need, party, part_fen, offer)


def find_hindrance(need: Need, party: Party, part_fen: int, offer: Offer) -> Why | None:
    """Return the first reason why a funder cannot stand for a party, None when it can."""
    funder = offer.funder
    hindrances = (
        (Why.STOPPED, offer.stopped),
        (Why.PRODUCT, bool(funder.products) and need.product not in funder.products),
        (Why.REGION, bool(funder.regions) and not set(need.regions) <= set(funder.regions)),
        (Why.SHARE, not funder.share_min <= party.share <= funder.share_max),
        (Why.DEAR, funder.cost_annual > need.cost_max_annual),
        (Why.LOAN_LIMIT, part_fen > funder.per_loan_max_fen),
        (Why.QUOTA_TOTAL, offer.left_fen is not None and part_fen > offer.left_fen),
        (Why.QUOTA_DAY, offer.day_left_fen is not None and part_fen > offer.day_left_fen),
    )
    return next((why for why, holds in hindrances if holds), None)
