"""Computed variables at the decision, exactly as the offline statement computes them. Pure."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import assert_never

from core_app.decisions.variables.compile import SCALE
from core_app.decisions.variables.definition import Compute, Registry, Value
from core_app.money import round_half_up

_UNIT: int = 10**SCALE
_EXACT_DIGITS = 400
"""More than eight factors of an amount with SCALE decimals can have, so that nothing is rounded."""


def compute_values(
    registry: Registry, names: Sequence[str], aggregates: Mapping[str, Value]
) -> dict[str, Value]:
    """Return the variables asked for; `aggregates` holds what the online statement gave."""
    known = dict(aggregates)
    for variable in registry.resolve(names):
        if variable.compute is not None:
            value = _compute(variable.compute, [known[part] for part in variable.compute.of])
            known[variable.name] = variable.otherwise if value is None else value
    return {name: known[name] for name in names}


def _compute(compute: Compute, parts: Sequence[Value]) -> Value:
    given = [part for part in parts if part is not None]
    if len(given) < len(parts):
        return None
    match compute.take:
        case "add":
            return sum(given)
        case "subtract":
            return given[0] - given[1]
        case "multiply":
            return _multiply(given)
        case "divide":
            return _divide(given[0], given[1])
        case "least_of":
            return min(given)
        case "most_of":
            return max(given)
        case never:
            assert_never(never)


def _multiply(parts: Sequence[int | Decimal]) -> Decimal:
    product = Decimal(1)
    with localcontext(prec=_EXACT_DIGITS):
        for part in parts:
            product *= part
    return product


def _divide(one: int | Decimal, other: int | Decimal) -> Value:
    if other == 0:
        return None
    return Decimal(round_half_up(Fraction(one) / Fraction(other) * _UNIT)) / _UNIT
