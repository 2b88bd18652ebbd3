"""A site is lost while staff look at customers: both sites' scoring has each look once, none is lost."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.drills.test_site_loss import biyi

pytestmark = [pytest.mark.timeout(500), pytest.mark.slow]


WITHIN_S = 90
"""Generous: on a busy machine copies are still being moved and rewound after the drill."""


def states_of(stand: Path) -> set[str]:
    """Return what the watchers of both sites are doing with their cells."""
    shown = json.loads(biyi(stand, "ueba", "watch", "--json").stdout)
    return {cell["state"] for site in shown.values() if site for cell in site["cells"].values()}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home: Path = tmp_path_factory.mktemp("ueba-stand")
    try:
        up = biyi(home, "stand", "up", "--no-backups")
        assert up.returncode == 0, up.stderr
        yield home
    finally:
        biyi(home, "stand", "down")


@pytest.fixture(scope="module", params=["idc", "cloud"])
def drilled(request: pytest.FixtureRequest, stand: Path) -> dict[str, Any]:
    done = biyi(
        stand, "drill", "run", "ueba-loss", "--site", request.param, "--execute", "--json", within_s=240
    )
    assert done.stdout.count("\n") == 1, done.stderr
    plain: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(plain, indent=1)
    return plain


def test_no_look_is_lost_or_scored_twice_at_either_site(drilled: dict[str, Any]) -> None:
    assert drilled["lost"] == {"idc": 0, "cloud": 0}
    assert drilled["doubled"] == {"idc": 0, "cloud": 0}
    assert set(drilled["checks"].values()) == {"holds"}


def test_staff_looked_before_during_and_after(drilled: dict[str, Any]) -> None:
    assert drilled["looks_recorded"] >= drilled["looks_shown"] > 300


def test_what_names_no_customer_was_done_and_scored_too(drilled: dict[str, Any]) -> None:
    assert drilled["others_recorded"] >= drilled["searches_shown"] > 30
    assert drilled["logins_refused"] > 5


def test_both_watchers_say_where_they_stand_and_real_looks_come_into_a_home(
    drilled: dict[str, Any], stand: Path, tmp_path: Path
) -> None:
    end = time.monotonic() + WITHIN_S
    while (states := states_of(stand)) != {"following"} and time.monotonic() < end:
        time.sleep(1)
    assert states == {"following"}
    taken = biyi(stand, "ueba", "collect", "--today", "--home", str(tmp_path / "home"), "--json")
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["taken"] >= drilled["looks_recorded"]


def test_the_report_has_the_timeline_and_what_each_site_scored(drilled: dict[str, Any]) -> None:
    page = (Path(drilled["evidence"]) / "report.html").read_text(encoding="utf-8")
    assert "{{" not in page
    assert "<tr class=step>" in page
    assert "idc_scored_each_look" in page
    assert "cloud_scored_none_twice" in page
