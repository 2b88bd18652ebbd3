"""Days past due, the five asset classes and the bureau's repayment status. Pure."""

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass

from core_app.rules.legal import Rulebook


class AssetClass(enum.StrEnum):
    """The five classes, best first; days past due give the floor, impairment may worsen it."""

    NORMAL = "normal"
    SPECIAL_MENTION = "special_mention"
    SUBSTANDARD = "substandard"
    DOUBTFUL = "doubtful"
    LOSS = "loss"


@dataclass(frozen=True, slots=True)
class ClassLimits:
    """First day past due of each class, ascending, and of being non-performing by the 60-day rule."""

    first_days: tuple[tuple[int, AssetClass], ...]
    npl_60_first_day: int


def read_class_limits(rulebook: Rulebook, day: dt.date) -> ClassLimits:
    """Return the limits in force on `day`."""
    worse = tuple(AssetClass)[1:]
    days = tuple((int(rulebook.value(f"class5.{name}", day)), name) for name in worse)
    return ClassLimits(days, int(rulebook.value("npl.60", day)))


def classify(days_past_due: int, limits: ClassLimits) -> AssetClass:
    """Return the floor class of a loan so many days past due."""
    reached = [name for first, name in limits.first_days if days_past_due >= first]
    return reached[-1] if reached else AssetClass.NORMAL


def is_non_performing(days_past_due: int, limits: ClassLimits, *, by_60_days: bool) -> bool:
    """Say whether the loan is non-performing: substandard or worse, or over 60 days by that rule."""
    worst = (AssetClass.SUBSTANDARD, AssetClass.DOUBTFUL, AssetClass.LOSS)
    return classify(days_past_due, limits) in worst or (
        by_60_days and days_past_due >= limits.npl_60_first_day
    )


_BUREAU_DAYS: Sequence[int] = (1, 31, 61, 91, 121, 151, 181)
"""First day past due of statuses 1 to 7. Source: PBOC second-generation code list, research section 3."""


def bureau_status(days_past_due: int) -> str:
    """Return the bureau's repayment status: N, or 1 (1 to 30 days) to 7 (over 180 days)."""
    reached = sum(days_past_due >= first for first in _BUREAU_DAYS)
    return str(reached) if reached else "N"
