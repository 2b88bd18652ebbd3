"""Alert rules: {metric, dimensions, operator, threshold, window, action}, judged exactly. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from core_app.errors import DocumentInvalid
from core_app.insight.metric import Both, Dimensions, Measured, Metric, add_up, roll_up, value_of
from core_app.products.parameters.shapes import Group, Line, Name


def need_exact(value: object) -> object:
    """Refuse a YAML number: it would be inexact."""
    if not isinstance(value, (str, Decimal)):
        raise ValueError('needs a decimal in quotes, such as "0.05"')
    return value


class Window(Group):
    """Over how many days, and how: on each of them alone, or all of them added up."""

    days: Annotated[int, Field(ge=1, le=31, strict=True)] = 1
    how: Literal["every", "sum"] = "every"


class Alert(Group):
    """One rule: judged by itself for each value of `per`, over the rows that `where` names."""

    id: Name
    name: Both
    metric: Name
    per: tuple[Name, ...] = ()
    where: Mapping[Name, str] = Field(default_factory=dict)
    operator: Literal["above", "below"]
    threshold: Annotated[Decimal, BeforeValidator(need_exact), Field(ge=0)]
    least_whole: Annotated[int, Field(ge=0, strict=True)] = 0
    window: Window = Window()
    action: Literal["risk_check", "service_check", "operations_check"]
    owner: Line


ALERTS: TypeAdapter[tuple[Alert, ...]] = TypeAdapter(tuple[Alert, ...])


@dataclass(frozen=True, slots=True)
class Fired:
    """A rule that fired: for which values of its dimensions, with what value, on which day."""

    alert: Alert
    dimensions: Dimensions
    value: Fraction
    on: dt.date


def check_alerts(alerts: Sequence[Alert], metrics: Mapping[str, Metric]) -> None:
    """DocumentInvalid when an id stands twice, or a rule names a metric or dimension that there is not."""
    if len({one.id for one in alerts}) != len(alerts):
        raise DocumentInvalid("alerts.yaml: an id stands twice")
    for alert in alerts:
        if alert.metric not in metrics:
            raise DocumentInvalid(f"alert {alert.id}: there is no metric {alert.metric}")
        roll_up(metrics[alert.metric], {}, alert.per, alert.where)


def judge_alert(alert: Alert, series: Sequence[Measured]) -> tuple[Fired, ...]:
    """Return what a rule fires on; `series` is its metric on the days of its window, the newest last.

    A threshold that is reached exactly is silent. A day without a value, or with a smaller whole than the
    rule asks for, holds nothing. DocumentInvalid when the series is not the window's days in order.
    """
    days = [one.on for one in series]
    wanted = [days[-1] - dt.timedelta(days=n) for n in reversed(range(alert.window.days))] if days else []
    if not days or days != wanted:
        raise DocumentInvalid(f"alert {alert.id}: needs {alert.window.days} days one after the other")
    metric = series[-1].metric
    cubes = [roll_up(metric, one.cube, alert.per, alert.where) for one in series]
    if alert.window.how == "sum":
        cubes = [add_up(metric, cubes)]
    fired = []
    for place in sorted(cubes[-1]):
        values = [_value(alert, metric, cube.get(place)) for cube in cubes]
        if all(value is not None and _breaks(alert, value) for value in values):
            newest = values[-1]
            assert newest is not None  # noqa: S101 - every value was looked at
            fired.append(Fired(alert, place, newest, days[-1]))
    return tuple(fired)


def _value(alert: Alert, metric: Metric, sums: tuple[int, int] | None) -> Fraction | None:
    if sums is None or (metric.kind == "ratio" and sums[1] < alert.least_whole):
        return None
    return value_of(sums, metric)


def _breaks(alert: Alert, value: Fraction) -> bool:
    threshold = Fraction(alert.threshold)
    return value > threshold if alert.operator == "above" else value < threshold
