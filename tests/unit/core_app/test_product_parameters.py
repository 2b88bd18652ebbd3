"""No decorative parameters: each one is documented and read by the module it names."""

import ast
from functools import cache
from pathlib import Path

import pytest

from core_app.products.model import Parameter, list_parameters

ROOT = Path(__file__).parents[3]
PARAMETERS = tuple(list_parameters())
LATER = frozenset(
    {
        "core_app.insight.ratios",
        "core_app.servicing.documents",
    }
)
"""Modules that are not built yet. When one is there, it has to read what is listed for it."""


def files_of(module: str) -> list[Path]:
    """Return the sources of a module or package, none when it is not there."""
    path = ROOT / module.replace(".", "/")
    if path.is_dir():
        return sorted(path.rglob("*.py"))
    return [path.with_suffix(".py")] if path.with_suffix(".py").exists() else []


@cache
def attributes_read(module: str) -> frozenset[str]:
    """Return the names of all attributes that the module reads."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files_of(module)]
    return frozenset(
        node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    )


def leaf(parameter: Parameter) -> str:
    return parameter.path.rsplit(".", 1)[-1]


def test_there_are_more_than_a_hundred_parameters_and_each_says_what_it_means() -> None:
    paths = [parameter.path for parameter in PARAMETERS]
    assert len(paths) == len(set(paths)) > 100
    assert [p.path for p in PARAMETERS if len(p.text) < 10 or not p.text.endswith(".")] == []
    assert [p.path for p in PARAMETERS if not p.read_by.startswith("core_app.")] == []


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.path)
def test_a_parameter_is_read_by_the_module_it_names(parameter: Parameter) -> None:
    if files_of(parameter.read_by):
        assert leaf(parameter) in attributes_read(parameter.read_by)
    else:
        assert parameter.read_by in LATER


def test_most_parameters_have_their_effect_in_this_tree() -> None:
    read = [parameter for parameter in PARAMETERS if files_of(parameter.read_by)]
    assert len(read) >= 75


def test_a_parameter_nobody_reads_would_be_found() -> None:
    planted = Parameter("pricing.colour", "A colour.", "core_app.rules.measure", required=True)
    assert leaf(planted) not in attributes_read(planted.read_by)
    assert files_of("core_app.rules.nothing") == []
