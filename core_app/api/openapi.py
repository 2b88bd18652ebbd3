"""Complete the OpenAPI document: what every route shares is written here once, examples are put together.

A route declares what is its own (its answer, its problems); limits, defects, headers and tags come from
here. An example of an answer is made of its fields' examples, so a new field cannot be forgotten in it.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from compliance.access.roles import Party
from core_app.api.bodies import ProblemAnswer
from core_app.api.guard import APPROVAL_HEADER, Allowed, allowed_of, walk_routes
from core_app.api.problem import MEDIA_TYPE
from core_app.api.rate_limit import CLIENT_HEADER

Json = dict[str, Any]

_DIGITS = "1f3-0123456789abcdef0123456789abcdef"
_BY_NAME: Json = {
    "customer_id": "C0123456789abcdef01234567",
    "application_id": f"A{_DIGITS}",
    "contract_id": f"K{_DIGITS}",
    "loan_id": f"L{_DIGITS}",
    "repayment_id": f"R{_DIGITS}",
    "look_id": f"S{_DIGITS}",
    "task_id": f"T{_DIGITS}",
    "contact_id": f"U{_DIGITS}",
    "complaint_id": f"G{_DIGITS}",
    "cell": "a",
    "product": "instalment-12",
    "rule": "cap.all_in",
    "source": "core_app/rules/parameters.yaml",
    "changed_at": "2026-01-15T02:03:04.000005+00:00",
    "next_due": "2026-02-15",
}
"""Values of fields that mean the same everywhere; a field's own example goes before."""
_BY_ENDING: Json = {"_sm3": "0123456789abcdef" * 4, "_on": "2026-01-15", "_fen": 110016, "_ms": 8200}

_SHARED = {
    401: "Who calls is not known: no token, or one that is over or not ours. Nothing was done.",
    403: "Who calls may not do this; `detail` says who may. Nothing was done.",
    408: "The body did not arrive in time. Nothing was done.",
    413: "The body is too large. Nothing was done.",
    429: "The client asked too often (token bucket by peer address, and by Biyi-Client within it). Nothing "
    "was done; ask again after Retry-After seconds.",
    500: "An error of ours; the outcome is not known. Repeat with the same Idempotency-Key to learn it.",
}
_PROBLEMS: dict[int, tuple[str, str, str, Json]] = {
    400: ("malformed-request", "The request is malformed", "header.Idempotency-Key: needs this field", {}),
    401: ("unauthenticated", "Who calls is not known", "Needs the header Authorization: Bearer <token>.", {}),
    403: ("forbidden", "Not allowed", "Needs one of the roles: supervisor.", {}),
    404: ("not-found", "Not found", "There is no such loan.", {}),
    408: ("body-too-slow", "The request body is too slow", "Nothing was done.", {"outcome": "not_done"}),
    409: ("conflict", "The request conflicts with what is recorded", "It was signed before.", {}),
    413: ("body-too-large", "The request body is too large", "The request body is too large.", {}),
    422: (
        "invalid-request",
        "A field of the request is not acceptable",
        "body.amount_fen: needs a value that is greater than 0",
        {},
    ),
    429: ("rate-limited", "Too many requests", "Ask again later.", {"outcome": "not_done"}),
    500: ("internal", "An error of ours", "The outcome is not known.", {"outcome": "unknown"}),
    503: ("cell-unavailable", "The customer's cell is not available", "Ask again.", {"outcome": "not_done"}),
}
_FOUND = {
    400: {"path": "header.Idempotency-Key", "found": "nothing", "needed": "this field"},
    409: {"path": "body.application_id", "found": "it was signed before", "needed": "another application"},
    413: {"path": "body", "found": "a larger body", "needed": "at most 65536 bytes"},
    422: {"path": "body.amount_fen", "found": "an integer", "needed": "a value that is greater than 0"},
}
_RETRY = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
_PLACE = {
    "Biyi-Cell": {"description": "The cell that answered.", "schema": {"type": "string"}},
    "Biyi-Epoch": {"description": "The epoch it answered in.", "schema": {"type": "integer"}},
}
_CLIENT_PARAMETER = {
    "name": CLIENT_HEADER,
    "in": "header",
    "required": False,
    "description": "Which client of this address asks, in at most 64 letters, digits, - and _: it is limited "
    "by itself within its address's limit. Anything else counts as no name.",
    "schema": {"type": "string"},
    "example": "app-ios",
}


_APPROVAL_PARAMETER = {
    "name": APPROVAL_HEADER,
    "in": "header",
    "required": False,
    "description": "Id of the approval of exactly this request, granted to who sends it.",
    "schema": {"type": "string"},
    "example": "0123456789abcdef0123456789abcdef",
}
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "Of staff: the session's token from POST /v1/staff/sessions. Of channels and customers: a "
    "signed token (`biyi token channel`, `biyi token customer`).",
}


def describe(app: FastAPI) -> Json:
    """Return the OpenAPI document of the application's routes, complete with examples."""
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    schemas: Json = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = ProblemAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["ProblemAnswer"] = problem
    document["components"]["securitySchemes"] = {"bearer": _BEARER}
    declared = {
        (route.path, method.lower()): allowed_of(route)
        for route in walk_routes(app)
        for method in route.methods or ()
    }
    for path, item in document["paths"].items():
        for method, operation in item.items():
            _complete(path, operation, schemas)
            _say_who(operation, declared[path, method])
            operation["responses"] = dict(sorted(operation["responses"].items()))
    return document


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    """Yield each operation with its path."""
    for path, item in document["paths"].items():
        for operation in item.values():
            yield path, operation


def _complete(path: str, operation: Json, schemas: Json) -> None:
    operation["tags"] = [path.split("/")[2]]
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        parameter.setdefault("example", make_example(parameter["schema"], schemas, parameter["name"]))
    parameters.append(_CLIENT_PARAMETER)
    shared = {429, 500}
    if "requestBody" in operation:
        shared |= {408, 413}
        content = operation["requestBody"]["content"]["application/json"]
        content["example"] = make_example(content["schema"], schemas, "")
    answers = operation["responses"]
    for status in shared:
        answers[str(status)] = {
            "description": _SHARED[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}},
        }
    for status, answer in answers.items():
        if int(status) < 400:
            shown = answer["content"]["application/json"]
            shown["example"] = make_example(shown["schema"], schemas, "")
            answer["headers"] = {**_PLACE, **answer.get("headers", {})}
        else:
            answer["content"][MEDIA_TYPE]["example"] = _problem_example(int(status))
            if status in {"429", "503"}:
                answer["headers"] = _RETRY


def _say_who(operation: Json, declared: Allowed | None) -> None:
    """Write down who may call, as declared at the route; nothing but a login is for anyone."""
    callers = sorted(declared.callers) if declared is not None else []
    operation["x-biyi-callers"] = callers
    operation["description"] += f"\n\nFor: {', '.join(callers)}."
    shared = {401}
    if Party.ANYONE not in callers:
        operation["security"] = [{"bearer": []}]
        shared |= {403}
    if declared is not None and declared.approved_by is not None:
        operation["parameters"].append(_APPROVAL_PARAMETER)
        more = "" if declared.always else " once the day's limit is reached"
        operation["description"] += f" Takes two people{more}: a {declared.approved_by} approves it."
    for status in shared:
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}}
        content[MEDIA_TYPE]["example"] = _problem_example(status)
        operation["responses"][str(status)] = {"description": _SHARED[status], "content": content}


def _problem_example(status: int) -> Json:
    kind, title, detail, more = _PROBLEMS[status]
    errors = [_FOUND[status]] if status in _FOUND else []
    return {
        "type": f"urn:biyi:problem:{kind}",
        "title": title,
        "status": status,
        "detail": detail,
        "errors": errors,
        **more,
    }


def make_example(schema: Json, schemas: Json, name: str) -> Any:
    """Return a value that `schema` allows; `name` is the field's, "" at the top."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]] | {k: v for k, v in schema.items() if k != "$ref"}
    if "examples" in schema:
        return schema["examples"][0]
    if "default" in schema and schema["default"] is not None:
        return schema["default"]
    value = _BY_NAME.get(name, next((v for ending, v in _BY_ENDING.items() if name.endswith(ending)), None))
    if {str: "string", int: "integer"}.get(type(value)) == schema.get("type", "any"):
        return value
    return _by_type(schema, schemas, name)


def _by_type(schema: Json, schemas: Json, name: str) -> Any:
    for keyword in ("const", "enum"):
        if keyword in schema:
            return schema[keyword] if keyword == "const" else schema[keyword][0]
    if "anyOf" in schema:
        return make_example(schema["anyOf"][0], schemas, name)
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            return {field: make_example(inner, schemas, field) for field, inner in fields.items()}
        case "array":
            return [make_example(schema["items"], schemas, name)]
        case "integer" | "number":
            return max(schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
        case "boolean":
            return False
        case "null":
            return None
    return name
