"""The rules by name and the floors that they set under a score. Pure, and light: a look-up loads no more."""

import enum


class Rule(enum.StrEnum):
    """Why a floor stands."""

    LEAVER_ACTIVE = "leaver_active"
    DORMANT_ACTIVE = "dormant_active"
    BREAK_GLASS_BARE = "break_glass_bare"
    RELATION = "relation"
    LISTED = "listed"
    TWO_PLACES = "two_places"


FLOORS: dict[Rule, float] = {
    Rule.LEAVER_ACTIVE: 95.0,
    Rule.DORMANT_ACTIVE: 95.0,
    Rule.BREAK_GLASS_BARE: 75.0,
    Rule.RELATION: 85.0,
    Rule.LISTED: 80.0,
    Rule.TWO_PLACES: 70.0,
}
"""Floors of the score. Source: our choice: accounts that must be silent are critical, records that need a
reason and had none are high (research §5.1 a)."""
