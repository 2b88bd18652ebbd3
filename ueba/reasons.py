"""Why a person has a score: ordered evidence with the value, the own usual, the peers', and since when. Pure.

Each reason is one kind of behaviour, added up as the score adds it, so a reason that is taken away takes
its part of the score with it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ueba.calibrate import level_of
from ueba.evidence import Evidence
from ueba.floors import FLOORS, Rule
from ueba.scale import DIMINISHING
from ueba.scoring import Scores
from ueba.settings import Settings, day_of

TEXT: Mapping[str, tuple[str, str]] = {
    "volume": ("how much was looked at", "查看数量"),
    "search": ("searches", "检索"),
    "export": ("exports", "导出"),
    "unassigned": ("customers without assignment or case", "无分配且无工单的客户"),
    "region": ("customers of other branches", "跨机构客户"),
    "record": ("guarded, closed or dormant records", "重点、已关闭或休眠档案"),
    "relation": ("people known in private", "有私人关系的客户"),
    "dwell": ("time spent on a record", "停留时长"),
    "hours": ("hours of the day", "操作时段"),
    "device": ("terminals", "终端"),
    "repeat": ("the same customer again", "重复查看同一客户"),
    "money": ("payments and approvals", "付款与审批"),
    "failure": ("refusals and emergency access", "被拒与紧急访问"),
    "purpose": ("stated purposes", "声明用途"),
    "pair": ("look-ups followed by another's approval", "查看后由他人审批"),
    "combination": ("the combination of everything", "整体组合"),
}
RULES: Mapping[Rule, tuple[str, str]] = {
    Rule.LEAVER_ACTIVE: ("account of a leaver is active", "离职账号仍有操作"),
    Rule.DORMANT_ACTIVE: ("dormant account is active", "休眠账号有操作"),
    Rule.BREAK_GLASS_BARE: ("emergency access without a case", "紧急访问无工单"),
    Rule.RELATION: ("record of a relative, colleague or neighbour without a task", "无任务查看亲友同事档案"),
    Rule.LISTED: ("guarded record without a task", "无任务查看重点档案"),
    Rule.TWO_PLACES: ("at two terminals at once", "同时在两处终端"),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One kind of behaviour; `share` is its part of the summed evidence."""

    family: str
    text: str
    text_zh: str
    measure: str
    over: str
    digits: float
    share: float
    value: float | None
    own_usual: float | None
    own_days: int
    peers_usual: float | None
    since: str

    def plain(self) -> dict[str, Any]:
        """Return the reason as JSON has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Explained:
    """A person's day: the score, its level, the rules that hold and the ordered reasons."""

    staff: str
    day: str
    role: str
    score: float
    level: str
    rules: tuple[dict[str, Any], ...]
    today: tuple[Reason, ...]
    accumulated: tuple[Reason, ...]

    def plain(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return asdict(self)


def explain(evidence: Evidence, scores: Scores, row: int, settings: Settings) -> Explained:
    """Return the reasons of one row of the evidence; ValueError when it was not scored."""
    found = np.flatnonzero(scores.rows == row)
    if not len(found):
        raise ValueError(f"row {row} was not scored")
    place = int(found[0])
    rules = tuple(
        {"rule": str(rule), "text": RULES[rule][0], "text_zh": RULES[rule][1], "floor": FLOORS[rule]}
        for rule, rows in scores.hits.items()
        if rows[place]
    )
    score = float(scores.score[place])
    return Explained(
        evidence.staff[int(evidence.person[row])],
        day_of(int(evidence.day[row])).isoformat(),
        evidence.roles[int(evidence.role[row])],
        round(score, 1),
        str(level_of(score)),
        rules,
        _reasons(evidence, scores, place, settings, slow=False),
        _reasons(evidence, scores, place, settings, slow=True),
    )


def _reasons(
    evidence: Evidence, scores: Scores, place: int, settings: Settings, *, slow: bool
) -> tuple[Reason, ...]:
    noticed = settings.score.noticed
    best: dict[str, int] = {}
    digits = scores.digits[place]
    for index, column in enumerate(scores.columns):
        if column.over == "detail" or column.slow != slow or digits[index] <= noticed:
            continue
        if column.family not in best or digits[index] > digits[best[column.family]]:
            best[column.family] = index
    ordered = sorted(best.values(), key=lambda index: -float(digits[index]))
    parts = [float(digits[index] - noticed) / (rank + 1) ** DIMINISHING for rank, index in enumerate(ordered)]
    total = sum(parts)
    return tuple(
        _reason(evidence, scores, place, index, part / total)
        for index, part in zip(ordered, parts, strict=True)
    )


def _reason(evidence: Evidence, scores: Scores, place: int, index: int, share: float) -> Reason:
    column, row = scores.columns[index], int(scores.rows[place])
    measure = {"dwell_away": "dwell_mean", "dwell_narrow": "dwell_mean"}.get(column.measure, column.measure)
    shown = [_number(table, evidence, row, measure) for table in (evidence.raw, evidence.own, evidence.peers)]
    text = TEXT.get(column.family, (column.family, column.family))
    return Reason(
        column.family,
        text[0],
        text[1],
        column.measure,
        column.over,
        round(float(scores.digits[place, index]), 2),
        round(share, 3),
        shown[0],
        shown[1],
        int(evidence.periods[row]),
        shown[2],
        _since(evidence, scores, place, index),
    )


def _number(table: Any, evidence: Evidence, row: int, measure: str) -> float | None:
    if measure not in evidence.measures:
        return None
    value = float(table[row, evidence.measures.index(measure)])
    return round(value, 2) if np.isfinite(value) else None


def _since(evidence: Evidence, scores: Scores, place: int, index: int) -> str:
    """Return the first of the scored days, without a break, on which the same column spoke."""
    row = int(scores.rows[place])
    of = np.flatnonzero(evidence.person[scores.rows] == evidence.person[row])
    of = of[evidence.day[scores.rows[of]] <= evidence.day[row]]
    first = place
    for earlier in of[::-1]:
        if scores.digits[earlier, index] <= 1.0:
            break
        first = int(earlier)
    return day_of(int(evidence.day[scores.rows[first]])).isoformat()
