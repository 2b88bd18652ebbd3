"""The OpenAPI document is complete: no operation without words, examples that fit, and what can go wrong."""

from typing import Any, get_args

import jsonschema_rs
import pytest

from core_app.api.app import make_app
from core_app.api.openapi import operations
from core_app.api.staff_bodies import PersonalField
from core_app.settings import ApiSettings
from core_app.staff.looks import PERSONAL

NOBODY: Any = None  # describing the routes asks no core
DOCUMENT: Any = make_app(NOBODY, ApiSettings()).state.document
OPERATIONS = {operation["operationId"]: operation for _, operation in operations(DOCUMENT)}


def fits(value: Any, schema: Any) -> bool:
    """Say whether `value` is valid against a schema of the document."""
    whole = schema | {"components": DOCUMENT["components"]}
    return bool(jsonschema_rs.is_valid(whole, value))


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_says_what_it_does_and_shows_examples_that_fit(operation: Any) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    for parameter in operation["parameters"]:
        assert fits(parameter["example"], parameter["schema"]), parameter["name"]
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    for part in (*bodies, *operation["responses"].values()):
        for media in part["content"].values():
            assert fits(media["example"], media["schema"]), media


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_names_every_problem_it_shares_with_all(operation: Any) -> None:
    shared = {"422", "429", "500"} | ({"400", "408", "413"} if "requestBody" in operation else set())
    if operation["tags"] != ["windows"]:  # shows what cells it can reach
        shared |= {"503"}
    answers = operation["responses"]
    assert shared <= set(answers)
    for status, answer in answers.items():
        if int(status) >= 400:
            assert list(answer["content"]) == ["application/problem+json"]
            assert answer["content"]["application/problem+json"]["example"]["status"] == int(status)
    assert answers["429"]["headers"]["Retry-After"]


def test_an_example_that_does_not_fit_would_be_found() -> None:
    schema = {"$ref": "#/components/schemas/RepaymentRequest"}
    assert fits({"loan_id": "L", "amount_fen": 1}, schema)
    assert not fits({"loan_id": "L", "amount_fen": 0}, schema)


def test_the_fields_that_staff_can_ask_for_are_the_protected_ones() -> None:
    assert get_args(PersonalField) == tuple(PERSONAL)
