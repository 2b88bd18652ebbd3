"""From a score to a tier that does not flip: hysteresis around each boundary. Pure."""

from decimal import Decimal

from core_app.decisions.policy import Policy


def plain_tier(policy: Policy, score: int) -> str:
    """Return the tier of a score without memory."""
    return next(tier.tier for tier in policy.tiers if score >= tier.from_score)


def decide_tier(policy: Policy, score: int, earlier: str | None, band: int) -> str:
    """Return the tier of a customer who had `earlier`: it is left only beyond `band` points.

    Up when the score is `band` above the better tier's lowest, down when it is more than `band` below
    the own one's. A tier of an earlier policy that is no more counts as none.
    """
    names = [tier.tier for tier in policy.tiers]
    if earlier not in names:
        return plain_tier(policy, score)
    held = names.index(earlier)
    better = next((n for n in range(held) if score >= policy.tiers[n].from_score + band), held)
    if better != held:
        return names[better]
    if score >= policy.tiers[held].from_score - band:
        return names[held]
    return plain_tier(policy, score)


def worse_tier(policy: Policy, one: str, other: str) -> str:
    """Return the worse of two tiers."""
    return max(one, other, key=policy.place_of)


def find_increase(policy: Policy, points: int) -> Decimal:
    """Return the share of a product's temporary increase that so many points give; 0 for none."""
    return next((step.share for step in policy.increase.steps if points >= step.from_score), Decimal(0))
