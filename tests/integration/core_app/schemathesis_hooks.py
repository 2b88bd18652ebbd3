"""Loaded by schemathesis: of made-up requests that differ only in an example of one shape, one is sent.

Schemathesis tries each field of a body with every wrong type, and each bound with several values. Here each
operation still meets every kind of fault at every place of it (field, parameter, header), and every wrong
type somewhere in its body; but not every wrong type at every field. The slow run sends them all.
"""

from typing import Any

import schemathesis
from schemathesis.generation.meta import CoveragePhaseData

_sent: set[tuple[str, ...]] = set()


@schemathesis.hook  # type: ignore[untyped-decorator]
def filter_case(context: Any, case: Any) -> bool:
    """Say whether a case has a shape that was not sent before."""
    data = case.meta.phase.data if case.meta is not None else None
    if not isinstance(data, CoveragePhaseData):
        return True
    told = (str(part) for part in (data.scenario, data.parameter_location, data.parameter))
    operation = str(case.operation.label)
    shapes = {
        (operation, *told, str(data.location), str(data.description)),
        (operation, str(data.scenario), _name_wrong_type(data, case.body)),
    }
    new = not shapes <= _sent
    _sent.update(shapes)
    return new


def _name_wrong_type(data: CoveragePhaseData, body: Any) -> str:
    """Return the JSON type at the place of a body that has the wrong one, "" where that says nothing."""
    if str(data.scenario) != "incorrect_type" or "BODY" not in str(data.parameter_location):
        return ""
    found = body
    for step in str(data.location).split("/"):
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and found and step == "items":
            found = found[0]
    return type(found).__name__
