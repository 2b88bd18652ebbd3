"""Definitions into statements: one for one customer at the decision, one for any number of days past. Pure.

Both read only events of business days before the day asked for. Names of tables and columns come from
the closed set of sources; every value of a definition travels as a parameter.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from core_app.decisions.variables.definition import (
    SOURCES,
    Aggregate,
    Compute,
    Registry,
    Source,
    Variable,
    Where,
)

SCALE = 8
"""Decimals of a quotient. Source: our choice; shares to a millionth of a percent."""
_WIDE = "numeric(60, 30)"
"""Wide enough that rounding to SCALE decimals after it is exact for amounts below 10**13 yuan."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, its own parameters, and the variables its columns hold, in order."""

    text: str
    values: dict[str, Any]
    names: tuple[str, ...]


@dataclass(slots=True)
class _Parameters:
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, value: Any) -> str:
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f"%({name})s"


def _condition(aggregate: Aggregate, day: str, parameters: _Parameters) -> str:
    source = SOURCES[aggregate.source]
    parts = []
    if aggregate.days is not None:
        parts.append(f"{source.day} >= {day} - {parameters.add(aggregate.days)}::integer")
    parts += [_where(source.names | source.numbers, where, parameters) for where in aggregate.where]  # type: ignore[operator]
    return " and ".join(parts) or "true"


def _where(columns: dict[str, str], where: Where, parameters: _Parameters) -> str:
    column = columns[where.column]
    if where.one_of:
        kind = "text[]" if isinstance(where.one_of[0], str) else "bigint[]"
        return f"{column} = any({parameters.add(list(where.one_of))}::{kind})"
    bounds = []
    if where.least is not None:
        bounds.append(f"{column} >= {parameters.add(where.least)}")
    if where.most is not None:
        bounds.append(f"{column} <= {parameters.add(where.most)}")
    return " and ".join(bounds)


def _aggregate(variable: Variable, day: str, parameters: _Parameters) -> str:
    """Return the column of an aggregate, null when there is nothing to take it over (but for a count)."""
    aggregate = variable.aggregate
    assert aggregate is not None  # noqa: S101 - the caller has looked
    source = SOURCES[aggregate.source]
    only = f"filter (where {_condition(aggregate, day, parameters)})"
    column = (source.numbers | source.names).get(aggregate.column or "", "")  # type: ignore[operator]
    match aggregate.take:
        case "count":
            return f"count({source.day}) {only}"
        case "sum":
            return f"(sum({column}) {only})::bigint"
        case "average":
            return f"round((sum({column}) {only})::{_WIDE} / nullif(count({column}) {only}, 0), {SCALE})"
        case "least":
            return f"min({column}) {only}"
        case "most":
            return f"max({column}) {only}"
        case "distinct":
            return f"count(distinct {column}) {only}"
        case "newest":
            order = f"{source.day} desc, {source.sequence} desc"
            return f"(array_agg({column} order by {order}) {only})[1]"
        case "days_since_first":
            return f"{day} - min({source.day}) {only}"
        case "days_since_last":
            return f"{day} - max({source.day}) {only}"


def _by_source(variables: Sequence[Variable]) -> dict[str, list[Variable]]:
    grouped: dict[str, list[Variable]] = defaultdict(list)
    for variable in variables:
        if variable.aggregate is not None:
            grouped[variable.aggregate.source].append(variable)
    return grouped


def _otherwise(variable: Variable, column: str, parameters: _Parameters) -> str:
    if variable.otherwise is None:
        return column
    return f"coalesce({column}, {parameters.add(variable.otherwise)})"


def _own(source: Source) -> str:
    """Return what makes an event one of those that customer `a` is judged by on day `a.day`."""
    return f"{source.customer} = a.customer_id and {source.day} < a.day and {source.stands}"


def compile_online(registry: Registry, names: Sequence[str]) -> Statement:
    """Return the statement of one customer, %(customer_id)s, today: the aggregates that are needed.

    Today is the business date of the customer's chunk, %(chunk)s, and %(today)s where none is set. What is
    computed of the aggregates is computed by `evaluate.compute_values`.
    """
    parameters, parts, order = _Parameters(), [], []
    for name, variables in _by_source(registry.resolve(names)).items():
        source = SOURCES[name]
        columns = [
            f"{_otherwise(v, _aggregate(v, 'a.day', parameters), parameters)} as {v.name}" for v in variables
        ]
        taken = f"select {', '.join(columns)} from {source.table} where {_own(source)}"  # noqa: S608
        parts.append(f"lateral ({taken}) as {name}")
        order += [variable.name for variable in variables]
    asked = (
        "(select %(customer_id)s::text as customer_id,"
        " core.read_day(%(chunk)s::smallint, %(today)s::date) as day offset 0) as a"
    )
    text = f"select {', '.join(order) or '1'} from {', '.join([asked, *parts])}"  # noqa: S608
    return Statement(text, parameters.values, tuple(order))


def compile_offline(registry: Registry, names: Sequence[str]) -> Statement:
    """Return the set-based statement over the table `asked (ask_id, customer_id, day)`.

    Its columns are `ask_id`, then each variable asked for, computed ones included.
    """
    parameters, order = _Parameters(), registry.resolve(names)
    steps, joins = [], []
    for name, variables in _by_source(order).items():
        source = SOURCES[name]
        columns = [f"{_aggregate(v, 'a.day', parameters)} as {v.name}" for v in variables]
        joined = f"asked a left join {source.table} on {_own(source)} group by a.ask_id, a.day"
        steps.append(f"{name}_of as (select a.ask_id, {', '.join(columns)} from {joined})")  # noqa: S608
        joins.append(f"join {name}_of using (ask_id)")
    taken = _taken(order, parameters)
    steps.append(f"stage0 as (select asked.ask_id{taken} from asked {' '.join(joins)})")  # noqa: S608
    last = 0
    for variable in order:
        if variable.compute is not None:
            column = _otherwise(variable, _computed(variable.compute), parameters)
            now, before = f"stage{last + 1}", f"stage{last}"
            steps.append(f"{now} as (select *, {column} as {variable.name} from {before})")  # noqa: S608
            last += 1
    asked_for = ", ".join(["ask_id", *names])
    text = f"with {', '.join(steps)} select {asked_for} from stage{last} order by ask_id"  # noqa: S608
    return Statement(text, parameters.values, tuple(names))


def _taken(order: Sequence[Variable], parameters: _Parameters) -> str:
    taken = [
        f", {_otherwise(variable, variable.name, parameters)} as {variable.name}"
        for variable in order
        if variable.aggregate is not None
    ]
    return "".join(taken)


def _computed(compute: Compute) -> str:
    parts = [f"{part}::numeric" for part in compute.of]
    match compute.take:
        case "add":
            return " + ".join(parts)
        case "subtract":
            return " - ".join(parts)
        case "multiply":
            return " * ".join(parts)
        case "divide":
            return f"round({compute.of[0]}::{_WIDE} / nullif({parts[1]}, 0), {SCALE})"
        case "least_of" | "most_of":
            # Unlike SQL's own, missing when one part is.
            anywhere = " or ".join(f"{part} is null" for part in compute.of)
            chosen = "least" if compute.take == "least_of" else "greatest"
            return f"case when {anywhere} then null else {chosen}({', '.join(parts)}) end"
