"""The policy document of decisions: thresholds, fallbacks, tiers, which models decide. Pure."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from core_app.products.parameters.shapes import Count, Group, Share

TierName = Annotated[str, Field(pattern=r"^[A-Z]$")]
ModelId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,39}$")]
Refuse = Literal["refuse"]


class Gang(Group):
    """From when on customers that hang together are a gang."""

    min_customers: Annotated[int, Field(ge=2)]
    min_density: Share
    max_sharers: Annotated[int, Field(ge=2)]


class WithoutAnswer(Group):
    """What is done for each reason why there is no bureau answer: refuse, or the best tier to be had."""

    not_authorised: TierName | Refuse
    no_bureau: TierName | Refuse
    timeout: TierName | Refuse
    unavailable: TierName | Refuse
    unreadable: TierName | Refuse


class BureauPolicy(Group):
    """How the bureau is used."""

    without_answer: WithoutAnswer


class Tier(Group):
    """A tier: its lowest score, and the share of the product's limit that may be owed in it."""

    tier: TierName
    from_score: Count
    limit_share: Share


class ModelsInForce(Group):
    """Which models decide, and which one is only watched."""

    subs: Annotated[tuple[ModelId, ...], Field(min_length=1)]
    main: ModelId
    challenger: ModelId | None


class IncreaseStep(Group):
    """From so many points on, this share of the product's temporary increase."""

    from_score: Count
    share: Share


class Increase(Group):
    """When a customer's limit rises by itself: by which model, how long known, how long apart."""

    model: ModelId
    min_days_known: Count
    pause_days: Count
    steps: Annotated[tuple[IncreaseStep, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_steps(self) -> "Increase":
        starts, shares = [s.from_score for s in self.steps], [s.share for s in self.steps]
        if starts != sorted(set(starts), reverse=True) or shares != sorted(shares, reverse=True):
            raise ValueError("steps: needs from_score and share falling, best step first")
        return self


class Policy(Group):
    """One version of the policy."""

    version: Annotated[int, Field(ge=1)]
    valid_from: dt.date
    night_applications: Annotated[int, Field(ge=1)]
    windows_unknown: Literal["refuse", "pass"]
    gang: Gang
    bureau: BureauPolicy
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]
    models: ModelsInForce
    increase: Increase

    @model_validator(mode="after")
    def _check_tiers(self) -> "Policy":
        starts = [tier.from_score for tier in self.tiers]
        shares = [tier.limit_share for tier in self.tiers]
        if starts != sorted(set(starts), reverse=True) or starts[-1] != 0:
            raise ValueError("tiers: needs from_score falling to 0, best tier first")
        if shares != sorted(shares, reverse=True):
            raise ValueError("tiers: needs limit_share that does not rise as the score falls")
        names = {tier.tier for tier in self.tiers}
        fallbacks = set(self.bureau.without_answer.model_dump().values()) - {"refuse"}
        if unknown := fallbacks - names:
            raise ValueError(f"bureau.without_answer: {', '.join(sorted(unknown))} is no tier")
        return self

    def place_of(self, name: str) -> int:
        """Return the place of a tier, 0 for the best."""
        return [tier.tier for tier in self.tiers].index(name)

    def share_of(self, name: str) -> Decimal:
        """Return the share of the product's limit that a tier may owe."""
        return self.tiers[self.place_of(name)].limit_share
