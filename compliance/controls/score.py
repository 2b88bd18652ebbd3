"""Both scores, the serious-risk triggers, and what each gap costs. Pure. An estimate, no assessment.

2021 template (in use until 2025-03-19): points are taken off, M = Vt + Vm with
Vt = max(0, 100 y - sum f (1-x) S) over the technical items, Vm likewise with 1-y over the managerial ones,
S = 100 / n; f the weight 1 to 3, x the mean over the places that were judged. y = 0.5 and the bands are from
general knowledge (research: compliance 1.3).
2025 template: the share of items that are met; over 90 % without a serious risk complies, 60 % or more
complies in the main, less does not. An unknown item counts as not met in both.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from compliance.controls.catalogue import Catalogue, Trigger
from compliance.controls.judge import Outcome, State, worst

LABEL_EN = "self-check estimate, not an assessment"
LABEL_ZH = "自查估算，不是等级测评结论"
FULL = 100
ATTENTION = 0.5
"""y of the 2021 template. Source: general knowledge; the authority sets it."""
COMPLIES_PERCENT, IN_THE_MAIN_PERCENT = 90, 60
"""Bounds of the 2025 template. Source: Q&A to 公网安〔2025〕1846号 (research: compliance 1.3)."""
BANDS = ((90, "优 excellent"), (80, "良 good"), (70, "中 fair"))
"""Least points of each band of 2021. Source: general knowledge: 优 needs no medium or high risk, 良 and 中 no
high risk; an open item of weight 2 is taken for a medium risk, one of weight 3 for a high one."""


class Conclusion(enum.StrEnum):
    """What the 2025 template would conclude."""

    COMPLIES = "符合 complies"
    IN_THE_MAIN = "基本符合 complies in the main"
    DOES_NOT = "不符合 does not comply"


@dataclass(frozen=True, slots=True)
class Gap:
    """An item that is not met, or not known to be: how many points of the 2021 score it costs."""

    item: str
    state: State
    cost: float
    triggers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Raised:
    """A serious-risk trigger: not_met raised, unknown cannot be excluded, met excluded."""

    trigger: Trigger
    state: State
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """Both scores. Percentages 0 to 100; `if_known_percent` is 2025's if every unknown turned out met."""

    points_2021: float
    band_2021: str
    met_percent: float
    if_known_percent: float
    conclusion_2025: Conclusion
    counts: Mapping[State, int]
    triggers: tuple[Raised, ...]
    gaps: tuple[Gap, ...]


def compute_score(catalogue: Catalogue, outcomes: Mapping[str, Outcome]) -> Score:
    """Return both scores of judged items; every item of the catalogue applies."""
    step = FULL / len(catalogue.items)
    lost = {True: 0.0, False: 0.0}
    costs = {}
    for item in catalogue.items.values():
        costs[item.id] = item.weight * (1 - outcomes[item.id].met_share) * step
        lost[item.managerial] += costs[item.id]
    points = max(0.0, FULL * ATTENTION - lost[False]) + max(0.0, FULL * (1 - ATTENTION) - lost[True])
    counts = {state: sum(one.state is state for one in outcomes.values()) for state in State}
    triggers = tuple(_raise(trigger, outcomes) for trigger in catalogue.triggers)
    met_percent = FULL * counts[State.MET] / len(outcomes)
    return Score(
        points_2021=round(points, 2),
        band_2021=_band(catalogue, outcomes, points),
        met_percent=round(met_percent, 2),
        if_known_percent=round(met_percent + FULL * counts[State.UNKNOWN] / len(outcomes), 2),
        conclusion_2025=conclude(met_percent, any(one.state is not State.MET for one in triggers)),
        counts=counts,
        triggers=triggers,
        gaps=_order(catalogue, outcomes, costs),
    )


def conclude(met_percent: float, at_risk: bool) -> Conclusion:
    """Return 2025's conclusion; a trigger that cannot be excluded counts as a risk."""
    if met_percent > COMPLIES_PERCENT and not at_risk:
        return Conclusion.COMPLIES
    return Conclusion.IN_THE_MAIN if met_percent >= IN_THE_MAIN_PERCENT else Conclusion.DOES_NOT


def _band(catalogue: Catalogue, outcomes: Mapping[str, Outcome], points: float) -> str:
    open_weights = {
        item.weight for item in catalogue.items.values() if outcomes[item.id].state is not State.MET
    }
    heaviest = max(open_weights, default=0)
    for (least, name), heaviest_allowed in zip(BANDS, (1, 2, 2), strict=True):
        if points >= least and heaviest <= heaviest_allowed:
            return name
    return "差 poor"


def _raise(trigger: Trigger, outcomes: Mapping[str, Outcome]) -> Raised:
    involved = tuple(item for item in trigger.items if outcomes[item].state is not State.MET)
    return Raised(trigger, worst(outcomes[item].state for item in trigger.items), involved)


def _order(
    catalogue: Catalogue, outcomes: Mapping[str, Outcome], costs: Mapping[str, float]
) -> tuple[Gap, ...]:
    gaps = [
        Gap(
            item, outcome.state, round(costs[item], 4),
            tuple(trigger.id for trigger in catalogue.triggers if item in trigger.items),
        )
        for item, outcome in outcomes.items()
        if outcome.state is not State.MET
    ]  # fmt: skip
    return tuple(
        sorted(gaps, key=lambda gap: (not gap.triggers, -gap.cost, gap.state is not State.NOT_MET, gap.item))
    )
