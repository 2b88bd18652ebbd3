"""The table in core_app/README.md: each row of the survey has tests that exist, or says what is missing."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

from core_app.rules.read import read_rulebook

ROOT = Path(__file__).parents[3]
README = (ROOT / "core_app" / "README.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
RULE = re.compile(r"`(x\.[\w.-]+)`")
PORT = re.compile(r"port `(core_app\.[\w.]+)`, fake `(core_app\.[\w.]+)`")
SHORTEST_REASON = 12

# The ids of the survey's rows, which is not in the repository.
ROWS = {
    *map(str, range(1, 90)),
    *("49a", "49b", "49c", "55a", "60a", "72a", "72b", "77a", "84a", "84b"),
}
# Class by row, where it is not B alone.
OUTSIDE = {"6", "18", "23", "24", "26", "27", "39", "41", "49", "50", "58", "62", "78", "79", "82"} | {
    "84a", "84b", "88",
}  # fmt: skip
# What no request of the API reaches: models fitted and reported, documents checked before they are published,
# the registry at a scale that we do not have.
WITHOUT_A_REQUEST = {"12", "45", "57", "84"}
ADAPTERS = {"17", "29", "31", "37", "49b", "66", "77", "84a"}


def table() -> list[list[str]]:
    section = README.split("## Systems of the field\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


TABLE = table()


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in found)


PLACES = re.compile(
    "the (failover|protection) package|staff behaviour|infrastructure|filings|console|insight|benches"
)


def find_faults(proof: str) -> list[str]:
    """Return what is wrong with the last cell of a row: no such test, or a reason that says nothing."""
    named = TEST.findall(proof)
    faults = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).exists() or (name and name not in functions(path))
    ]
    reasons = re.findall(r"open: ([^`]*)|elsewhere: ([^`]*)", proof)
    for missing, other in reasons:
        if (missing and len(missing) < SHORTEST_REASON) or (other and not PLACES.search(other)):
            faults.append(f"says too little: {missing or other}")
    return faults if named or reasons else ["neither a test nor a reason"]


def test_every_row_of_the_survey_is_there_once() -> None:
    assert sorted(row[0] for row in TABLE) == sorted(ROWS)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_a_row_names_tests_that_exist_or_says_what_is_missing(row: list[str]) -> None:
    assert find_faults(row[4]) == []


@pytest.mark.parametrize("row", [row for row in TABLE if "B" in row[2]], ids=lambda row: row[0])
def test_what_is_built_is_shown_to_work_on_the_whole_core(row: list[str]) -> None:
    """Not only on a rule or a statement of it: on real servers, most over HTTP; the rest says `open`."""
    whole = any(path.startswith(("tests/integration/", "tests/faults/")) for path, _ in TEST.findall(row[4]))
    assert whole or "elsewhere: " in row[4] or "open: " in row[4] or row[0] in WITHOUT_A_REQUEST


def test_every_test_that_the_page_names_exists() -> None:
    assert "## At the same time\n" in README
    assert [fault for named in TEST.finditer(README) for fault in find_faults(named[0])] == []


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_a_row_outside_the_licence_names_its_rules(row: list[str]) -> None:
    assert ("X" in row[2]) == (row[0] in OUTSIDE)
    rules = {legal.key for legal in read_rulebook().rows if legal.research_row == row[0]}
    assert set(RULE.findall(row[3])) == rules
    assert bool(rules) == ("X" in row[2])


@pytest.mark.parametrize("row", [row for row in TABLE if row[0] in ADAPTERS], ids=lambda row: row[0])
def test_a_row_with_an_adapter_names_port_and_fake_or_says_what_is_missing(row: list[str]) -> None:
    assert "A" in row[2]
    assert any("_contract" in path for path, _ in TEST.findall(row[4])), "the test that both have to pass"
    ports = PORT.findall(row[3])
    for port, fake in ports:
        assert (ROOT / (port.replace(".", "/") + ".py")).exists()
        source = (ROOT / (fake.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        assert "class Fake" in source
    assert ports or re.search(r"open: |elsewhere: |row \d|rows \d", row[3] + row[4])


@pytest.mark.parametrize(
    "proof",
    [
        "",
        "soon",
        "open: later",
        "elsewhere: in some other place of it",
        "`tests/unit/core_app/test_system_table.py::test_nothing_here`",
    ],
)
def test_a_row_without_a_real_test_is_caught(proof: str) -> None:
    assert find_faults(proof)


def test_the_latency_of_decisions_is_measured_open_loop_and_holds() -> None:
    found = json.loads((ROOT / "bench" / "results" / "decisions.json").read_text(encoding="utf-8"))
    held = [one for one in found["rates"] if one["rate_per_second"] <= found["highest_rate_held"]]
    assert held, "no rate was held"
    for one in held:
        assert one["p99_ms"] <= found["limit_ms"] == 200
        # Every application that was scheduled counts, and each was decided.
        assert one["outcomes"] == {"approved": one["applications"]}
        assert one["shed"] == 0
