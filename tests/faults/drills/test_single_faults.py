"""The drills of one fault each, on one stand, as a person would run them; their evidence is sealed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.drills.test_site_loss import biyi

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]

DRILLS = (
    ("link-cut",),
    ("witness-loss",),
    ("slot-move",),
    ("cache-loss", "--site", "cloud"),
    ("primary-crash", "--cell", "b"),
    ("peak-load",),
    ("restore", "--cell", "a"),
    ("site-isolation", "--site", "cloud"),
    ("site-evacuation", "--site", "idc"),
)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("one-fault-stand")
    try:
        up = biyi(home, "stand", "up")
        assert up.returncode == 0, up.stderr
        yield home
    finally:
        biyi(home, "stand", "down")


@pytest.mark.parametrize("words", DRILLS, ids=lambda words: words[0])
def test_the_drill_holds(stand: Path, words: tuple[str, ...]) -> None:
    done = biyi(stand, "drill", "run", *words, "--execute", "--json")
    assert done.stdout.count("\n") == 1, done.stderr
    plain = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(plain, indent=1)
    assert (plain["lost"], plain["overlapping_epochs"], plain["unknown_unresolved"]) == (0, 0, 0)
    assert plain["acknowledged"] > 100
    assert (Path(plain["evidence"]) / "report.html").stat().st_size > 10_000


def test_every_cell_is_moved_away_and_home_unnoticed(stand: Path) -> None:
    """How long writes pause is a figure of a quiet machine, so of `bench/planned_moves.py`, not of a test."""
    done = biyi(stand, "drill", "run", "planned-move", "--rounds", "1", "--execute", "--json")
    plain = json.loads(done.stdout)
    assert (plain["moves"], plain["moves_done"], plain["failed"], plain["lost"]) == (4, 4, 0, 0)
    assert {name for name, verdict in plain["checks"].items() if verdict != "holds"} <= {"pauses_in_limit"}


def test_their_evidence_is_sealed_and_in_the_calendar(stand: Path, tmp_path: Path) -> None:
    keys = tmp_path / "auditor-keys.json"
    keys.write_text(biyi(stand, "audit", "keys").stdout)
    verified = biyi(stand, "drill", "verify", "--keys", str(keys), "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert len(json.loads(verified.stdout)) == len(DRILLS) + 1
    schedule = json.loads(biyi(stand, "drill", "schedule", "--json").stdout)
    held = {due["drill"] for due in schedule if not due["overdue"]}
    assert held - {"planned-move"} == {words[0] for words in DRILLS}
