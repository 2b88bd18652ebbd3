"""The registry: what a definition may say, what is computed only when asked for, a hundred thousand."""

import tracemalloc
from typing import Any

import pytest

from core_app.decisions.risk import read_risk
from core_app.decisions.variables.compile import compile_online
from core_app.decisions.variables.definition import Registry, RegistryInvalid, make_registry
from core_app.decisions.variables.evaluate import compute_values

MANY = 100_000


def taken(name: str, **aggregate: Any) -> dict[str, Any]:
    return {"name": name, "version": 1, "text": "A test.", "aggregate": aggregate}


def made(name: str, take: str, *of: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": 1, "text": "A test.", "compute": {"take": take, "of": list(of)}} | more


@pytest.mark.parametrize(
    ("definition", "wrong"),
    [
        (taken("vv", source="applications", take="sum"), "needs column"),
        (taken("vv", source="applications", take="count", column="periods"), "has no column"),
        (taken("vv", source="customers", take="count"), "aggregate.source"),
        (taken("vv", source="loans", take="sum", column="product"), "product, sum of loans has"),
        (taken("vv", source="loans", take="sum", column="balance_fen"), "balance_fen, sum of loans has"),
        (taken("vv", source="loans", take="count", days=0), "aggregate.days"),
        (
            taken("vv", source="loans", take="count", where=[{"column": "product", "least": 1}]),
            "a column of names",
        ),
        (taken("vv", source="loans", take="count", where=[{"column": "x; drop", "one_of": [1]}]), "column"),
        (made("vv", "divide", "aa"), "compute.of"),
        (made("vv", "power", "aa", "bb"), "compute.take"),
        ({"name": "vv", "version": 1, "text": "A test."}, "aggregate or compute"),
    ],
)
def test_a_bad_definition_is_named_when_it_is_asked_for(definition: dict[str, Any], wrong: str) -> None:
    registry = make_registry([definition])
    with pytest.raises(RegistryInvalid, match="variable vv") as refused:
        registry.resolve(["vv"])
    assert wrong in str(refused.value)


def test_a_variable_made_of_itself_is_refused() -> None:
    registry = make_registry([made("aa", "add", "bb", "bb"), made("bb", "add", "aa", "aa")])
    with pytest.raises(RegistryInvalid, match="made of itself, by aa -> bb -> aa"):
        registry.resolve(["aa"])
    with pytest.raises(RegistryInvalid, match="not in the registry"):
        registry.resolve(["cc"])
    with pytest.raises(RegistryInvalid, match="stands twice"):
        make_registry([made("aa", "add", "bb", "bb"), made("aa", "add", "bb", "bb")])


def test_every_value_of_a_definition_travels_as_a_parameter() -> None:
    evil = "x'); drop table core.loans; --"
    registry = make_registry(
        [taken("vv", source="loans", take="count", where=[{"column": "product", "one_of": [evil]}])]
    )
    statement = compile_online(registry, ["vv"])
    assert evil not in statement.text
    assert [evil] in statement.values.values()


def test_missing_parts_and_a_division_by_zero_are_missing_or_otherwise() -> None:
    registry = make_registry(
        [
            taken("aa", source="loans", take="count"),
            taken("bb", source="loans", take="sum", column="principal_fen"),
            made("share", "divide", "aa", "bb"),
            made("total", "add", "aa", "bb", otherwise=7),
        ]
    )
    names = ["share", "total"]
    assert compute_values(registry, names, {"aa": 3, "bb": None}) == {"share": None, "total": 7}
    assert compute_values(registry, names, {"aa": 3, "bb": 0}) == {"share": None, "total": 3}
    values = compute_values(registry, names, {"aa": 2, "bb": 3})
    assert str(values["share"]) == "0.66666667"


def many_definitions() -> list[dict[str, Any]]:
    """A hundred thousand definitions; every tenth is computed of two before it."""
    takes = [
        {"source": "applications", "take": "count"},
        {"source": "loans", "take": "sum", "column": "principal_fen"},
        {"source": "repayments", "take": "average", "column": "amount_fen"},
    ]
    definitions = []
    for number in range(MANY):
        if number % 10 == 9:
            definitions.append(made(f"v{number}", "add", f"v{number - 1}", f"v{number - 2}"))
        else:
            definitions.append(taken(f"v{number}", **takes[number % 3], days=1 + number % 365))
    return definitions


def test_of_a_hundred_thousand_definitions_only_those_asked_for_are_looked_at() -> None:
    """Figures of time and memory are in bench/decisions.py; here: what is not asked for costs nothing."""
    plain = many_definitions()
    tracemalloc.start()
    registry: Registry = make_registry(plain)
    statement = compile_online(registry, ["v19", "v500"])
    taken_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sorted(registry.checked) == ["v17", "v18", "v19", "v500"]
    assert set(statement.names) == {"v17", "v18", "v500"}
    assert taken_bytes < 200 * MANY, "besides the text itself, under 200 bytes a definition"


def test_the_shipped_registry_is_sound_down_to_the_last_definition() -> None:
    risk = read_risk()
    assert len(risk.registry.resolve(risk.registry.plain)) == len(risk.registry.plain)
