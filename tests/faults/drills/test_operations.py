"""The runbooks of daily operation on one stand, as a person would run them: dry first, then for real."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.drills.test_site_loss import biyi

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]

DRILLS = (
    ("fail-back", "--site", "idc"),
    ("split-brain", "--cell", "a"),
    ("cloud-burst",),
    ("grey-release",),
)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("operations-stand")
    try:
        up = biyi(home, "stand", "up", "--no-backups")
        assert up.returncode == 0, up.stderr
        yield home
    finally:
        biyi(home, "stand", "down")


@pytest.mark.parametrize("words", DRILLS, ids=lambda words: words[0])
def test_the_drill_holds(stand: Path, words: tuple[str, ...]) -> None:
    before = sorted((stand / "evidence").glob("*Z-*"))
    dry = biyi(stand, "drill", "run", *words, "--json")
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert (json.loads(dry.stdout)["executed"], json.loads(dry.stdout)["ready"]) == (False, True)
    assert sorted((stand / "evidence").glob("*Z-*")) == before
    done = biyi(stand, "drill", "run", *words, "--execute", "--json")
    assert done.stdout.count("\n") == 1, done.stderr
    plain = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(plain, indent=1)
    assert (plain["lost"], plain["overlapping_epochs"], plain["unknown_unresolved"]) == (0, 0, 0)
    assert plain["acknowledged"] > 100
    assert (Path(plain["evidence"]) / "report.html").stat().st_size > 10_000


def test_servers_are_asked_who_claims_to_be_primary(stand: Path) -> None:
    asked = biyi(stand, "claims", "--json")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    claims: list[dict[str, Any]] = json.loads(asked.stdout)["claims"]
    assert sorted((claim["cell"], claim["admits"]) for claim in claims if claim["claims"]) == [
        ("a", True),
        ("b", True),
    ]
    assert {claim["admits"] for claim in claims if not claim["claims"]} == {False}


def test_a_killed_drill_is_put_back_before_the_next(stand: Path) -> None:
    command = [sys.executable, "-m", "runbooks.cli", "drill", "run", "link-cut", "--execute", "--json"]
    environment = {**os.environ, "BIYI_HOME": str(stand)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as drill:
        try:
            folder = _wait_until_broken(stand, drill)
        finally:
            drill.send_signal(signal.SIGKILL)
    refused = biyi(stand, "drill", "run", "witness-loss", "--execute")
    assert refused.returncode == 1
    assert "biyi drill resume" in refused.stderr
    resumed = biyi(stand, "drill", "resume", "--json")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    (one,) = json.loads(resumed.stdout)
    assert (one["whole"], one["evidence"]) == (True, str(folder))
    assert any("link-cut" in intent for intent in one["intended"])
    links = json.loads((stand / "links.json").read_text())
    assert {link["mode"] for link in links.values()} == {"ok"}
    ready = biyi(stand, "drill", "run", "witness-loss", "--json")
    assert json.loads(ready.stdout)["obstacles"] == []


def _wait_until_broken(home: Path, drill: subprocess.Popen[bytes]) -> Path:
    """Return the drill's folder once its history says that the line is cut; bounded."""
    end = time.monotonic() + 60
    while time.monotonic() < end and drill.poll() is None:
        for folder in sorted((home / "evidence").glob("*-link-cut-*"))[-1:]:
            if '"name":"fault"' in (folder / "history.jsonl").read_text():
                return folder
        time.sleep(0.1)
    raise AssertionError("the drill never cut the line")
