"""The whole site-loss drill on a stand of its own, as a person would run it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbooks.drills.history import read_history
from runbooks.drills.records import Outcome

pytestmark = pytest.mark.timeout(400)


def biyi(home: Path, *words: str, within_s: float = 180) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from runbooks.cli import main; main()", *words]
    environment = {**os.environ, "BIYI_HOME": str(home)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=within_s, check=False
    )


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("drill-stand")
    try:
        up = biyi(home, "stand", "up")
        assert up.returncode == 0, up.stderr
        yield home
    finally:
        biyi(home, "stand", "down")


@pytest.fixture(scope="module", params=["idc", pytest.param("cloud", marks=pytest.mark.slow)])
def drilled(request: pytest.FixtureRequest, stand: Path) -> dict[str, Any]:
    done = biyi(stand, "drill", "run", "site-loss", "--site", request.param, "--execute", "--json")
    assert done.stdout.count("\n") == 1, done.stderr
    plain: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(plain, indent=1)
    return plain


def test_nothing_acknowledged_was_lost(drilled: dict[str, Any]) -> None:
    assert (drilled["lost"], drilled["overlapping_epochs"], drilled["trial_balance_fen"]) == (0, 0, 0)


def test_every_unknown_outcome_was_resolved(drilled: dict[str, Any]) -> None:
    assert drilled["unknown_unresolved"] == 0


def test_the_cell_that_lost_its_primary_wrote_again_within_five_seconds(drilled: dict[str, Any]) -> None:
    hit = [cell for cell in drilled["cells"].values() if cell["lost_primary"]]
    assert [cell["home"] for cell in hit] == [drilled["site"]]
    assert all(cell["rto_seconds"] <= 5 and cell["epoch_after"] > cell["epoch_before"] for cell in hit)


def test_the_surviving_sites_customers_saw_no_failure(drilled: dict[str, Any]) -> None:
    others = [cell for cell in drilled["cells"].values() if not cell["lost_primary"]]
    assert others
    assert all(cell["failed"] == 0 and cell["pause_seconds"] <= 5 for cell in others)


def test_the_dead_site_came_back_and_its_cell_went_home(drilled: dict[str, Any]) -> None:
    assert drilled["rejoin_seconds"] <= 60
    assert drilled["failed_back"] is True


def test_the_evidence_is_complete(drilled: dict[str, Any]) -> None:
    folder = Path(drilled["evidence"])
    history = read_history(folder / "history.jsonl")
    acknowledged = sum(op.phase == "load" and op.outcome is Outcome.OK for op in history.ops)
    assert acknowledged == drilled["acknowledged"]
    assert "first write" in (folder / "report.html").read_text(encoding="utf-8")
    assert list((folder / "journals").glob("*.jsonl"))
    assert json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["findings"]


def test_no_stand_no_drill(tmp_path: Path) -> None:
    done = biyi(tmp_path, "drill", "run", "site-loss", "--site", "idc", within_s=30)
    assert done.returncode == 1
    assert "biyi stand up" in done.stderr
