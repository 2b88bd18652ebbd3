"""The data standard: every row is complete, every way to break one is named by path, without the value."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from core_app.api.app import make_app
from core_app.partners.dictionary import FieldRow, Record, find_faults
from core_app.partners.scores import RECORD, check_record, read_dictionary
from core_app.settings import ApiSettings

NOBODY: Any = None
DOCUMENT: Any = make_app(NOBODY, ApiSettings()).state.document
GOOD = {
    "partner": "bank_east",
    "model": {"kind": "credit", "version": "base-3.1", "score": 655, "scored_on": "2026-01-10"},
}
TYPES = {"text": "string", "integer": "integer", "code": "string", "date": "string"}


def score_record() -> Record:
    found = read_dictionary().find(RECORD)
    assert found is not None
    return found


def changed(path: str, value: Any) -> dict[str, Any]:
    data = json.loads(json.dumps(GOOD))
    place, (*groups, name) = data, path.split(".")
    for group in groups:
        place = place[group]
    place[name] = value
    return dict(data)


def faults(data: Any) -> list[str]:
    return [one.path.removeprefix("body.data.") for one in find_faults(score_record(), data)]


def test_every_field_has_both_names_a_source_and_what_its_type_needs() -> None:
    rows = [row for record in read_dictionary().records for row in record.fields]
    assert len(rows) >= 10
    for row in rows:
        assert any("\u4e00" <= letter <= "\u9fff" for letter in row.name.zh)
        assert row.name.en.isascii()
        assert len(row.source) > 3
        assert row.text.endswith(".")


def test_records_of_our_own_requests_are_fields_of_them_with_the_same_type() -> None:
    schema = DOCUMENT["components"]["schemas"]["ApplicationRequest"]["properties"]
    record = read_dictionary().find("application")
    assert record is not None
    for row in record.fields:
        kinds = schema[row.path].get("anyOf", [schema[row.path]])
        assert TYPES[row.type] in [kind.get("type") for kind in kinds], row.path
    required = set(DOCUMENT["components"]["schemas"]["ApplicationRequest"]["required"])
    assert {row.path for row in record.fields if row.mandatory} == required
    for one in read_dictionary().records:
        assert one.taken_by.removeprefix("POST ") in DOCUMENT["paths"]


def test_a_good_record_keeps_to_the_standard() -> None:
    assert check_record(RECORD, GOOD) == {"record": RECORD, "standard": 1, "keeps": True, "faults": []}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("partner", "bank_north"), ("partner", 1), ("partner", None), ("model.kind", "Credit"),
        ("model.version", ""), ("model.version", "x" * 33), ("model.version", "base 3"),
        ("model.score", -1), ("model.score", 1001), ("model.score", "655"), ("model.score", True),
        ("model.score", 655.0), ("model.scored_on", "2026-02-30"), ("model.scored_on", "20260110"),
        ("model.scored_on", 20260110), ("model.scored_on", "2026-01-10T00:00:00"),
    ],
)  # fmt: skip
def test_a_field_that_does_not_fit_is_named_by_its_path_and_its_value_is_not_repeated(
    path: str, value: Any
) -> None:
    (fault,) = find_faults(score_record(), changed(path, value))
    assert fault.path == f"body.data.{path}"
    assert fault.needed
    if isinstance(value, str) and value:
        assert value not in fault.found


@pytest.mark.parametrize(
    ("path", "value"), [("model.score", 0), ("model.score", 1000), ("model.version", "x" * 32)]
)
def test_what_lies_on_a_bound_fits(path: str, value: Any) -> None:
    assert faults(changed(path, value)) == []


def test_every_fault_of_a_record_is_named_at_once() -> None:
    assert faults({}) == ["partner", "model.kind", "model.version", "model.score", "model.scored_on"]
    assert faults(changed("model.phone", "13800138000")) == ["model.phone"]
    assert faults(changed("id_number", "11010519491231002X")) == ["id_number"]
    assert faults(changed("model", [1])) == [
        "model.kind", "model.version", "model.score", "model.scored_on", "model",
    ]  # fmt: skip
    assert faults(changed("model", {}))[0] == "model.kind"
    assert faults(GOOD | {"partner": {"deep": [{}] * 3}}) == ["partner"]
    # A dotted name is no group, and a name that says something of somebody is not repeated.
    flat = {"partner": "bank_east"} | {f"model.{name}": value for name, value in GOOD["model"].items()}
    assert faults(flat) == ["model.kind", "model.version", "model.score", "model.scored_on", "*"]
    assert faults(GOOD | {"13800138000": 1, "张三": 1}) == ["*"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"type": "text"}, "a text has a pattern"),
        ({"type": "integer", "least": 0, "most": 1}, "an integer unit"),
        ({"type": "code"}, "a code a list"),
        ({"type": "date", "pattern": "x"}, "a date none"),
    ],
)
def test_a_row_without_what_its_type_needs_is_refused(row: dict[str, Any], why: str) -> None:
    whole = {"path": "a", "name": {"zh": "甲", "en": "a"}, "mandatory": True, "source": "s", "text": "T."}
    with pytest.raises(ValidationError, match=why):
        FieldRow.model_validate(whole | row)
