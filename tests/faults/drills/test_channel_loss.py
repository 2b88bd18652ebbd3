"""The whole channel-loss drill on a stand of its own, as a person would run it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.drills.test_site_loss import biyi

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    home: Path = tmp_path_factory.mktemp("channel-stand")
    try:
        up = biyi(home, "stand", "up")
        assert up.returncode == 0, up.stderr
        done = biyi(home, "drill", "run", "channel-loss", "--execute", "--json")
        assert done.stdout, done.stderr
        plain: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == 0, json.dumps(plain, indent=1)
        yield plain
    finally:
        biyi(home, "stand", "down")


def test_payouts_move_to_the_other_bank_within_ten_seconds_and_back(drilled: dict[str, Any]) -> None:
    assert drilled["switch_seconds"] <= 10
    assert drilled["paid_while_dead"] > 0
    assert drilled["returned"]


def test_nothing_is_paid_twice_or_lost(drilled: dict[str, Any]) -> None:
    assert (drilled["paid_twice"], drilled["lost"], drilled["failed"]) == (0, 0, 0)
    assert set(drilled["checks"].values()) == {"holds"}
