"""The catalogue of metrics and the tasks of its alert rules, laid out from what `biyi metrics` said. Pure.

No figure is computed here: values, rules and what fired are the command's. A metric with rules is good only
where the rules were judged and it has a value.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from runbooks.console.words import WORDS

COMMANDS = (("metrics", "run", "--json"), ("metrics", "check", "--json"), ("metrics", "tasks", "--json"))
"""What the catalogue's part of the board is made of, in this order."""
_SCALES = {"fen": Decimal("0.01"), "share": Decimal(100), "share a year": Decimal(100)}
_FORMS = {"fen": "¥ {:,.2f}", "share": "{:,.2f} %", "share a year": "{:,.2f} % p.a.", "count": "{:,.0f}"}
_BOUND_FORMS = {"fen": "¥ {:,g}", "share": "{:,g} %", "share a year": "{:,g} % p.a.", "count": "{:,g}"}
_KEPT = {"above": "≤", "below": "≥"}
Both = tuple[str, str]
"""A text in Chinese and in English."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert rule over a metric: what it is called, the bound that keeps it silent, and of which rows."""

    name: Both
    bound: str
    of: Both


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric: `parts` are its values by its dimensions, `state` good, bad, odd (not known) or none."""

    id: str
    name: Both
    unit: Both
    on: str
    text: str
    state: str
    owner: str
    dimensions: Both
    parts: tuple[tuple[Both, str], ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule that fired, or the open task that it left: `number` is the task's, empty for a firing."""

    name: Both
    place: Both
    text: str
    bound: str
    on: str
    action: Both
    owner: str
    number: str = ""


def make_metrics(run: Mapping[str, Any] | None, check: Mapping[str, Any] | None) -> list[MetricRow]:
    """Return the catalogue with its values; without a judgement the state of what has rules is not known."""
    fired = None if check is None else {row["metric"] for row in check["fired"]}
    return [_metric(row, fired) for row in (run or {"metrics": ()})["metrics"]]


def make_fired(run: Mapping[str, Any] | None, check: Mapping[str, Any] | None) -> list[Alert]:
    """Return the rules that fire on the day that was judged."""
    units = _units(run)
    return [
        Alert(
            _both(row["name"]),
            name_place(row["dimensions"]),
            write_value(units.get(row["metric"], ""), row["value"]),
            _bound(units.get(row["metric"], ""), row["operator"], row["threshold"]),
            row["on"],
            WORDS[f"task.{row['action']}"],
            row["owner"],
        )
        for row in (check or {"fired": ()})["fired"]
    ]


def make_tasks(run: Mapping[str, Any] | None, tasks: Mapping[str, Any] | None) -> list[Alert]:
    """Return the open tasks, the oldest first; a rule that is no longer in the catalogue keeps its id."""
    units = _units(run)
    rules = {rule["id"]: rule for row in (run or {"metrics": ()})["metrics"] for rule in row["alerts"]}
    found = []
    for row in (tasks or {"tasks": ()})["tasks"]:
        rule, unit = rules.get(row["alert"]), units.get(row["metric"], "")
        found.append(
            Alert(
                _both(rule["name"]) if rule else (row["alert"], row["alert"]),
                name_place(json.loads(row["dimensions"])),  # a text: it is part of the task's key
                write_value(unit, row["value"]),
                _bound(unit, rule["operator"], row["threshold"]) if rule else row["threshold"],
                row["on_date"],
                WORDS[f"task.{row['action']}"],
                row["owner"],
                str(row["task_id"]),
            )
        )
    return found


def _metric(row: Mapping[str, Any], fired: set[str] | None) -> MetricRow:
    unit, rules = row["unit"], row["alerts"]
    if not rules or row["total"] is None:
        state = "none"
    elif fired is None:
        state = "odd"
    else:
        state = "bad" if row["id"] in fired else "good"
    return MetricRow(
        id=row["id"],
        name=_both(row["name"]),
        unit=WORDS[f"unit.{unit.replace(' ', '_')}"],
        on=row["on"],
        text=write_value(unit, row["total"]),
        state=state,
        owner=row["owner"],
        dimensions=_join((WORDS[f"dimension.{name}"] for name in row["dimensions"]), ("、", ", ")),
        parts=tuple(
            (name_place(part["dimensions"]), write_value(unit, part["value"]))
            for part in row["rows"]
            if part["dimensions"]
        ),
        rules=tuple(
            Rule(_both(rule["name"]), _bound(unit, rule["operator"], rule["threshold"]), _of(rule))
            for rule in rules
        ),
    )


def _of(rule: Mapping[str, Any]) -> Both:
    """Return of which rows a rule is judged, and over which days."""
    said = [_fill("rule.per", name=WORDS[f"dimension.{name}"]) for name in rule["per"]]
    if rule["where"]:
        said.append(name_place(rule["where"]))
    if rule["least_whole"]:
        count = f"{rule['least_whole']:,}"
        said.append(_fill("rule.least", count=(count, count)))
    days = str(rule["window"]["days"])
    if rule["window"]["days"] > 1:
        said.append(_fill(f"rule.{rule['window']['how']}", days=(days, days)))
    return _join(said, ("；", "; "))


def _fill(key: str, **values: Both) -> Both:
    zh, en = WORDS[key]
    return (
        zh.format(**{name: value[0] for name, value in values.items()}),
        en.format(**{name: value[1] for name, value in values.items()}),
    )


def _join(texts: Iterable[Both], between: Both) -> Both:
    kept = list(texts)
    return between[0].join(zh for zh, _ in kept), between[1].join(en for _, en in kept)


def name_place(dimensions: Mapping[str, str]) -> Both:
    """Return the values of dimensions for people; a value that has no word stands as it is.

    >>> name_place({"region": "31", "product": "instalment-12"})
    ('上海 · instalment-12', 'Shanghai · instalment-12')
    """
    worded = (
        WORDS.get(f"of.{name}.{value}", (value.replace("_", " "), value.replace("_", " ")))
        for name, value in dimensions.items()
    )
    return _join(worded, (" · ", " · "))


def write_value(unit: str, value: str | None) -> str:
    """Return a value for people, by its unit; "-" when there is none.

    >>> write_value("fen", "123456"), write_value("share", "0.0512"), write_value("ms", "41.5")
    ('¥ 1,234.56', '5.12 %', '41.5 ms')
    """
    if value is None:
        return "-"
    scaled = Decimal(value) * _SCALES.get(unit, Decimal(1))
    return _FORMS[unit].format(scaled) if unit in _FORMS else f"{scaled.normalize():,f} {unit}".rstrip()


def _bound(unit: str, operator: str, threshold: str) -> str:
    """Return what keeps a rule silent.

    >>> _bound("share", "above", "0.05"), _bound("count", "below", "20")
    ('≤ 5 %', '≥ 20')
    """
    scaled = float(Decimal(threshold) * _SCALES.get(unit, Decimal(1)))
    text = _BOUND_FORMS[unit].format(scaled) if unit in _BOUND_FORMS else f"{scaled:g} {unit}".rstrip()
    return f"{_KEPT[operator]} {text}"


def _both(name: Mapping[str, str]) -> Both:
    return name["zh"], name["en"]


def _units(run: Mapping[str, Any] | None) -> Mapping[str, str]:
    rows: Sequence[Mapping[str, Any]] = (run or {"metrics": ()})["metrics"]
    return {row["id"]: row["unit"] for row in rows}
