"""The fault matrix on a real stand: a short run holds, and the same run with a rule broken does not."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks.faults.model import Batch, FaultPlan, Schedule
from runbooks.faults.schedule import compose_schedule, read_schedule, write_schedule
from runbooks.stand.home import UpOptions
from runbooks.stand.up import down, up
from tests.integration.failover.town import LOWER_THE_DURABILITY, biyi, execute_at_primary_of_a

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEED, FAULTS = 11, 20
WITHIN_S = 600
CELLS = ("a", "b")

LOSS = Schedule(
    1,
    (),
    (
        Batch(
            0,
            (
                FaultPlan(0, "link-hole", "idc-cloud", 2.0, 4.0, 0.5),
                FaultPlan(1, "site-kill-silent", "idc", 3.5, 3.0, 0.5),
            ),
        ),
    ),
)
"""The site of cell a is lost while its copy has been cut off for 1.5 s: less than it takes to go on alone."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    down(tmp_path)


def test_twenty_faults_of_a_fixed_seed_lose_nothing(home: Path):
    words = ("faults", "run", "--faults", str(FAULTS), "--seed", str(SEED), "--stand", str(home), "--json")
    done = biyi(home, *words, within_s=WITHIN_S)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    plain = json.loads(done.stdout)
    assert plain["verdict"] == "holds"
    assert plain["faults"] + plain["faults_missed"] == FAULTS
    assert plain["faults"] >= FAULTS // 2
    evidence = Path(plain["evidence"])
    assert read_schedule(evidence / "schedule.json", CELLS) == compose_schedule(SEED, FAULTS, CELLS)
    for name in ("faults.jsonl", "history.jsonl", "timeline.svg", "verdict.json", "journals"):
        assert (evidence / name).exists(), name
    assert biyi(home, "stand", "status", "--json").stdout.count('"listening"') == 0


def run_loss(home: Path) -> tuple[int, dict[str, str]]:
    write_schedule(home / "loss.json", LOSS)
    words = ("faults", "run", "--schedule", str(home / "loss.json"), "--stand", str(home), "--json")
    done = biyi(home, *words, within_s=WITHIN_S)
    assert done.stdout, done.stderr[-3000:]
    return done.returncode, json.loads(done.stdout)["checks"]


def test_a_lowered_durability_turns_the_matrix_red_and_the_same_faults_hold_without_it(home: Path):
    asyncio.run(up(home, UpOptions(backups=False)))
    code, checks = run_loss(home)
    assert (code, {name for name, verdict in checks.items() if verdict != "holds"}) == (0, set())
    asyncio.run(up(home, UpOptions(backups=False)))
    execute_at_primary_of_a(home, *LOWER_THE_DURABILITY)
    code, checks = run_loss(home)
    assert code == 1
    broken = {name for name, verdict in checks.items() if verdict == "broken"}
    assert {"matrix_acknowledged_is_kept", "acknowledged_is_kept", "registers_are_linearizable"} & broken
