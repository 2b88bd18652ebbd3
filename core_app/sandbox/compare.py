"""The same business under the rules as known and under amended ones: what is refused otherwise. Pure.

Both are asked as of one day, on which all of the amendment has begun: a difference is then the amendment's
and no other change's that is already known.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from core_app.loans.classification import AssetClass, classify, read_class_limits
from core_app.loans.provision import compute_provision, read_provision_rates
from core_app.rules.engine import Measures, describe, judge
from core_app.rules.legal import LegalRow, Rulebook, RulesInvalid, Stage, make_rulebook

EXAMPLES = 5
"""Ids shown of each difference. Source: our choice, enough to look a few up."""
_NON_PERFORMING = (AssetClass.SUBSTANDARD, AssetClass.DOUBTFUL, AssetClass.LOSS)


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of business: what it is, its id, and what the rules of its stage measure of it."""

    kind: str
    stage: Stage
    item_id: str
    measures: Measures


@dataclass(frozen=True, slots=True)
class Balance:
    """Our part of loans so many days past due, in one closing's group: `group` tells them apart."""

    group: tuple[Any, ...]
    days_past_due: int
    fen: int


@dataclass(slots=True)
class RuleChange:
    """What one rule refuses otherwise; `old` and `new` say what it allows, "-" when it is not in force."""

    kind: str
    rule: str
    effect: str
    """`refused_now`: allowed so far. `allowed_now`: refused so far."""
    old: str
    new: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FigureChange:
    """A filing's figure that differs."""

    figure: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that an amendment changes: looked at by kind, refused otherwise by rule, figures."""

    day: dt.date
    looked_at: Mapping[str, int]
    turned: Mapping[str, Mapping[str, int]]
    """By kind: items that go from allowed to refused and the other way, whatever number of rules it takes."""
    rules: tuple[RuleChange, ...]
    figures: tuple[FigureChange, ...]

    def as_plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "day": self.day.isoformat(),
            "looked_at": dict(self.looked_at),
            "turned": {kind: dict(counts) for kind, counts in self.turned.items()},
            "rules": [asdict(one) for one in self.rules],
            "figures": [asdict(one) for one in self.figures],
        }


def amend(rulebook: Rulebook, rows: Sequence[LegalRow]) -> Rulebook:
    """Return the rulebook with `rows` put in: each ends what its key said before, from its first day on.

    A row with key and first day of a known one takes its place. RulesInvalid when two of them contradict.
    """
    kept = []
    for known in rulebook.rows:
        same = [row for row in rows if row.key == known.key]
        if any(row.first_day <= known.first_day for row in same):
            continue
        later = [row.first_day for row in same if known.holds_on(row.first_day)]
        if later:
            known = known.model_copy(update={"last_day": min(later) - dt.timedelta(days=1)})
        kept.append(known)
    return make_rulebook([*kept, *rows])


def first_day_of(rows: Sequence[LegalRow], today: dt.date) -> dt.date:
    """Return the day on which all rows have begun; RulesInvalid unless that is after today."""
    if not rows:
        raise RulesInvalid("no rows: needs at least one rule or parameter")
    day = max(row.first_day for row in rows)
    if day <= today:
        raise RulesInvalid(f"from: {day} is not after {today}: the sandbox takes future-dated rules")
    return day


def compare_items(
    items: Iterable[Item], old: Rulebook, new: Rulebook, day: dt.date
) -> tuple[Counter[str], dict[str, Counter[str]], tuple[RuleChange, ...]]:
    """Return how many of each kind were looked at, which turned, and what each rule refuses otherwise."""
    looked: Counter[str] = Counter()
    turned: dict[str, Counter[str]] = {}
    changes: dict[tuple[str, str, str], RuleChange] = {}
    for item in items:
        looked[item.kind] += 1
        before, after = (
            {one.rule for one in judge(rulebook, item.stage, item.measures, day)} for rulebook in (old, new)
        )
        if bool(before) != bool(after):
            turned.setdefault(item.kind, Counter())["refused_now" if after else "allowed_now"] += 1
        for rule in before ^ after:
            effect = "refused_now" if rule in after else "allowed_now"
            found = changes.setdefault(
                (item.kind, rule, effect),
                RuleChange(item.kind, rule, effect, _say(old, rule, day), _say(new, rule, day)),
            )
            found.count += 1
            if len(found.examples) < EXAMPLES:
                found.examples.append(item.item_id)
    return looked, turned, tuple(changes[key] for key in sorted(changes))


def _say(rulebook: Rulebook, key: str, day: dt.date) -> str:
    rows = [row for row in rulebook.rows if row.key == key and row.holds_on(day)]
    return describe(rows[0]) if rows else "-"


def compare_figures(
    balances: Sequence[Balance], old: Rulebook, new: Rulebook, day: dt.date
) -> tuple[FigureChange, ...]:
    """Return the figures of G11 and G03 that differ, classes and provisions worked out anew by each."""
    before, after = (compute_figures(balances, rulebook, day) for rulebook in (old, new))
    return tuple(
        FigureChange(name, before[name], after[name]) for name in before if before[name] != after[name]
    )


def compute_figures(balances: Sequence[Balance], rulebook: Rulebook, day: dt.date) -> dict[str, str]:
    """Return an evening's figures as a rulebook of `day` has them, in yuan; ratios as shares."""
    limits, rates = read_class_limits(rulebook, day), read_provision_rates(rulebook, day)
    classes: Counter[AssetClass] = Counter()
    groups: dict[tuple[Any, ...], Counter[AssetClass]] = {}
    late = 0
    for one in balances:
        name = classify(one.days_past_due, limits)
        classes[name] += one.fen
        groups.setdefault(one.group, Counter())[name] += one.fen
        late += one.fen if one.days_past_due >= limits.npl_60_first_day else 0
    provision = sum(compute_provision(group, rates).total_fen for group in groups.values())
    npl = sum(classes[name] for name in _NON_PERFORMING)
    figures = {f"G11.{name}": _yuan(classes[name]) for name in AssetClass}
    figures |= {"G03.closing": _yuan(provision), "npl_over_60_days": _yuan(late)}
    figures["npl_ratio"] = _share(npl, sum(classes.values()))
    figures["npl_coverage"] = _share(provision, npl)
    return figures


def _yuan(fen: int) -> str:
    return str(Decimal(fen).scaleb(-2))


def _share(part: int, whole: int) -> str:
    return f"{float(Fraction(part, whole)):.4f}" if whole else "-"
