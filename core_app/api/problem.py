"""Errors as application/problem+json (RFC 9457) with the path of every bad field.

Values that a client sent are never repeated here: a wrong field may hold personal data.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from starlette.responses import JSONResponse

from core_app.errors import FieldProblem, Kind, RuleBroken

MEDIA_TYPE = "application/problem+json"
_STATUS: Mapping[Kind, int] = {
    Kind.MALFORMED: 400,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.KEY_REUSED: 409,
    Kind.TOO_LARGE: 413,
    Kind.INVALID: 422,
    Kind.RULE: 422,
}
_TITLE: Mapping[Kind, str] = {
    Kind.MALFORMED: "The request is malformed",
    Kind.NOT_FOUND: "Not found",
    Kind.CONFLICT: "The request conflicts with what is recorded",
    Kind.KEY_REUSED: "The idempotency key was used for another request",
    Kind.TOO_LARGE: "The request body is too large",
    Kind.INVALID: "A field of the request is not acceptable",
    Kind.RULE: "A rule forbids it",
}
# Names of ours have no three digits in a row; what has may be somebody's ID or phone number.
_PLAIN_NAME = re.compile(r"(?!.*[0-9]{3})[A-Za-z0-9_-]{1,64}")


def make_answer(status: int, title: str, kind: str, detail: str, **more: object) -> JSONResponse:
    """Return a problem document of any status."""
    document = {"type": f"urn:biyi:problem:{kind}", "title": title, "status": status, "detail": detail}
    return JSONResponse({**document, "errors": [], **more}, status_code=status, media_type=MEDIA_TYPE)


def make_problem(
    kind: Kind, detail: str, *errors: FieldProblem, rules: Sequence[RuleBroken] = ()
) -> JSONResponse:
    """Return the answer to a refused request; `rules` stand in it when rules refused it."""
    shown: dict[str, Any] = {"errors": [asdict(error) for error in errors]}
    if rules:
        shown["rules"] = [asdict(rule) for rule in rules]
    return make_answer(_STATUS[kind], _TITLE[kind], kind, detail, **shown)


def read_validation_errors(errors: Sequence[Mapping[str, Any]]) -> tuple[Kind, tuple[FieldProblem, ...]]:
    """Turn pydantic's findings into field problems without any input value, and the kind of refusal.

    A bad header or a body that is no JSON is malformed (400); a bad field is invalid (422).
    """
    malformed = any(e["loc"][0] == "header" or e["type"] == "json_invalid" for e in errors)
    problems = tuple(FieldProblem(_path(e), _found(e), _needed(e)) for e in errors)
    return (Kind.MALFORMED if malformed else Kind.INVALID), problems


def _path(error: Mapping[str, Any]) -> str:
    # Numbers are places in a list, or in a broken JSON text; odd names are the client's own and stay out.
    in_list = error["type"] != "json_invalid"
    return ".".join(
        str(part)
        for part in error["loc"]
        if (in_list if isinstance(part, int) else _PLAIN_NAME.fullmatch(part))
    )


def _found(error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "nothing"
    if error["type"] == "json_invalid":
        return "a text that is not JSON"
    if error["type"] == "extra_forbidden":
        return "an unknown field"
    value = error.get("input")
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int():
            return "an integer"
        case float():
            return "a number that is not an integer"
        case str():
            return "a text"
        case dict():
            return "an object"
        case list():
            return "a list"
    return "another kind of value"


def _needed(error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "this field"
    if error["type"] == "json_invalid":
        return "a JSON object"
    if error["type"] == "extra_forbidden":
        return "only the fields of the API's document"
    # Pydantic's sentences name the rule and its bound, never the input.
    message = str(error["msg"])
    return message.removeprefix("Value error, ").replace("Input should be", "a value that is")
