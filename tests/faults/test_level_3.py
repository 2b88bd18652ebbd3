"""Level-3 evidence of a whole stand: probes ask real processes, and see when something is turned off."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.failover.town import biyi

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
AFTER_SOMEBODY_ACTED = {
    *("8.1.4.1.b", "8.1.4.1.d", "8.1.4.2.a", "8.1.4.2.b", "8.1.4.2.c", "8.1.4.2.d"),
    *("8.1.5.1.a", "8.1.5.2.a", "8.1.5.3.a", "8.1.4.9.a", "8.1.4.9.c", "8.2.4.6.a"),
    *("8.2.4.6.d", "8.1.10.8.a", "8.1.10.8.b", "8.1.10.11.b"),
}
"""Live items that a stand just made does not meet yet: no staff, no restore, no drill, no baseline."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("level-3-stand")
    try:
        up = biyi(made, "stand", "up")
        assert up.returncode == 0, up.stderr
        # An empty trail proves nothing: something has to have happened, and to be sealed and signed.
        names = ("--system", "an.bo", "--security", "chen.yu", "--audit", "deng.li")
        assert biyi(made, "staff", "init", *names).returncode == 0
        wait_until_signed(made)
        yield made
    finally:
        biyi(made, "stand", "down")


def wait_until_signed(home: Path) -> None:
    """Wait until both notaries have signed, and what happened first is sealed; 90 s at most."""
    for _ in range(30):
        told = json.loads(biyi(home, "audit", "status", "--json").stdout)
        if sum(one["sealed"] for one in told.values()) and all(one["checkpoint"] for one in told.values()):
            return
        time.sleep(3)
    raise AssertionError(f"not signed: {told}")


def look(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(biyi(home, "controls", "run", "--json").stdout)
    return found


def states(found: dict[str, Any], items: list[dict[str, Any]]) -> dict[str, str]:
    return {one["id"]: found["items"][one["id"]]["state"] for one in items}


def test_a_fresh_stand_meets_every_live_item_but_those_that_wait_for_somebody(home: Path) -> None:
    live = json.loads(biyi(home, "controls", "items", "--basis", "live", "--json").stdout)
    assert len(live) == 45
    found = look(home)
    assert [one["failure"] for one in found["readings"] if one["facts"] is None] == []
    open_items = {item for item, state in states(found, live).items() if state != "met"}
    unexpected = {item: found["items"][item] for item in open_items - AFTER_SOMEBODY_ACTED}
    assert unexpected == {}
    explained = {gap["item"] for gap in found["gaps"] if gap["stand"]}
    assert open_items <= explained


def test_a_dead_process_and_a_lost_site_turn_items_from_met(home: Path) -> None:
    before = look(home)["items"]
    assert before["8.1.5.4.c"]["state"] == "met"
    biyi(home, "site", "kill", "cloud")
    after = look(home)["items"]
    biyi(home, "site", "start", "cloud")
    assert after["8.1.5.4.c"]["state"] == "not_met", "monitoring: no process of the site answers"
    assert after["8.1.4.9.b"]["state"] != "met", "replication: no live copy at the other site"
    asked = ("8.1.4.7.b", "8.1.2.2.b", "8.1.4.3.a")
    known = {item: json.dumps(after[item]) for item in asked if after[item]["state"] != "unknown"}
    assert known == {}, "what cannot be asked is not known, and never green"


def test_a_pack_verifies_offline_and_a_changed_one_does_not(home: Path, tmp_path: Path) -> None:
    pack = Path(look(home)["pack"])
    keys = tmp_path / "keys.json"
    keys.write_text(biyi(home, "audit", "keys").stdout)
    good = biyi(tmp_path, "audit", "verify", str(pack), "--keys", str(keys), "--json")
    assert (good.returncode, json.loads(good.stdout)["holds"]) == (0, True)
    forged = tmp_path / "forged.pack"
    forged.write_bytes(pack.read_bytes().replace(b'"not_met"', b'"met"', 1))
    bad = biyi(tmp_path, "audit", "verify", str(forged), "--keys", str(keys), "--json")
    assert (bad.returncode, json.loads(bad.stdout)["holds"]) == (1, False)


def test_the_report_is_a_page_and_runs_are_remembered(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "level-3.html"
    told = biyi(home, "controls", "report", "--html", str(page))
    assert told.returncode == 0, told.stderr
    assert "not an assessment" in page.read_text(encoding="utf-8")
    runs = json.loads(biyi(home, "controls", "history", "--json").stdout)
    assert [one["number"] for one in runs] == list(range(len(runs), 0, -1))
    assert [one["previous_sm3"] for one in runs] == [*(one["pack_sm3"] for one in runs[1:]), None]
