"""Recorded attacks are data: what may stand in them, and what counts as stopped."""

from typing import Any

import pytest
from pydantic import ValidationError

from runbooks.attacks.recorded import ATTACK, Came, fill, read_stops
from runbooks.attacks.replay import read_attacks

REGISTER = {"method": "POST", "path": "/v1/customers", "person": 1}
STOPPED = {"path": "/v1/customers/{customer_id.1}", "as": "customer.1", "stopped_by": "not-found"}


def make(*requests: dict[str, Any]) -> dict[str, Any]:
    return {"id": "made", "name": {"zh": "测试", "en": "Made"}, "source": "test", "requests": list(requests)}


def test_the_shipped_attacks_are_the_four_kinds_and_each_has_something_that_stops_it() -> None:
    attacks = {one.id: one for one in read_attacks()}
    assert set(attacks) == {"device-velocity", "identity-ring", "night-burst", "stolen-token"}
    stops = {one.id: {r.stopped_by for r in one.requests} - {None} for one in attacks.values()}
    assert stops == {
        "device-velocity": {"window.device"},
        "identity-ring": {"gang"},
        "night-burst": {"window.wifi"},
        "stolen-token": {"not-found", "unauthenticated", "forbidden", "idempotency-key-reused"},
    }


@pytest.mark.parametrize(
    ("requests", "path"),
    [
        ([REGISTER, REGISTER], "requests"),
        ([REGISTER, STOPPED | {"as": "thief"}], "requests.1.as"),
        ([REGISTER, STOPPED | {"search_gangs": True}], "requests.1"),
        ([REGISTER | {"body": {}}, STOPPED], "requests.0"),
        ([REGISTER, STOPPED | {"when": "noon"}], "requests.1.when"),
    ],
)
def test_a_bad_field_is_named(requests: list[dict[str, Any]], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ATTACK.validate_python(make(*requests))
    where = ".".join(map(str, caught.value.errors()[0]["loc"]))
    assert where == path or (path == "requests" and where == "")


@pytest.mark.parametrize(
    ("wanted", "stopped", "holds"),
    [
        ("gang", ("gang", "window.ip"), True), ("gang", ("window.ip",), False), ("gang", (), False),
        (None, (), True), (None, ("gang",), False),
    ],
)  # fmt: skip
def test_a_request_holds_only_when_its_own_rule_stopped_it(
    wanted: str | None, stopped: tuple[str, ...], holds: bool
) -> None:
    assert Came(1, wanted, stopped, 201).holds is holds


def test_names_are_filled_in_and_an_unknown_one_is_an_error() -> None:
    body = {"a": ["{run}-x", 5], "b": {"c": "{customer_id.2}"}}
    assert fill(body, {"run": "r", "customer_id.2": "C2"}) == {"a": ["r-x", 5], "b": {"c": "C2"}}
    with pytest.raises(KeyError):
        fill("{customer_id.9}", {})
    assert read_stops(503, "not JSON") == ("status-503",)
