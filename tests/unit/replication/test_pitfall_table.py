"""The tables in replication/README.md: every pitfall and every fault has a test that exists, or a reason."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "replication" / "README.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
SHORTEST_REASON = 40


def table(heading: str) -> list[list[str]]:
    """Return the cells of each row of the table under a heading, without its head."""
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return rows[2:]  # the head and the line below it


def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def is_backed(proof: str) -> bool:
    """Say whether the last cell of a row names a test that exists, or tells why there is none."""
    named = NAMED.findall(proof)
    if not named:
        return proof.startswith("no test: ") and len(proof) >= SHORTEST_REASON
    return all((ROOT / path).exists() and name in functions(path) for path, name in named)


PITFALLS, FAULTS = table("Pitfalls and our answers"), table("Faults and what must hold")


def test_all_25_pitfalls_and_all_15_faults_are_there():
    assert [row[0] for row in PITFALLS] == [str(number) for number in range(1, 26)]
    assert len(FAULTS) == 15


@pytest.mark.parametrize("row", [*PITFALLS, *FAULTS], ids=lambda row: row[0][:30])
def test_each_row_names_tests_that_exist_or_a_reason(row: list[str]):
    assert is_backed(row[-1]), row[-1]


@pytest.mark.parametrize(
    "proof",
    ["", "soon", "no test: later", "`tests/unit/replication/test_pitfall_table.py::test_nothing_here`"],
)
def test_a_row_without_a_real_test_is_caught(proof: str):
    assert not is_backed(proof)
