"""The whole key-rotation drill on a stand of its own, as a person would run it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compliance.protection.fields import PROTECTED_COLUMNS
from tests.faults.drills.test_site_loss import biyi

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    home: Path = tmp_path_factory.mktemp("keys-stand")
    try:
        up = biyi(home, "stand", "up", "--no-backups")
        assert up.returncode == 0, up.stderr
        done = biyi(home, "drill", "run", "key-rotation", "--execute", "--json")
        assert done.stdout, done.stderr
        plain: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == 0, json.dumps(plain, indent=1)
        yield plain
    finally:
        biyi(home, "stand", "down")


def test_nobody_notices_that_the_key_changes(drilled: dict[str, Any]) -> None:
    assert (drilled["failed"], drilled["lost"], drilled["bad_reads"]) == (0, 0, 0)
    assert drilled["reads"] > 600
    assert set(drilled["checks"].values()) == {"holds"}


def test_every_row_is_under_the_new_version_in_every_cell(drilled: dict[str, Any]) -> None:
    assert drilled["versions"] == {"core.customers": 2, "access.accounts": 2}
    assert set(drilled["rows"]) == set(drilled["proofs"]) == {"a", "b"}
    for cell, rows in drilled["rows"].items():
        left = drilled["proofs"][cell]["left"]
        assert set(left) == {f"{column.table}.{column.name}" for column in PROTECTED_COLUMNS if column.sealed}
        assert set(left.values()) == {0}
        assert set(rows) == {"2"}
        assert rows["2"] > 100


def test_a_site_lost_its_primaries_and_its_agent_meanwhile_and_all_is_put_back(
    drilled: dict[str, Any],
) -> None:
    for check in ("keys_rotation_saw_a_move", "keys_rotation_saw_a_take_over", "keys_cells_went_home"):
        assert drilled["checks"][check] == "holds"
    assert drilled["checks"]["audit_chain_verifies"] == "holds"
