"""What a cluster tells of its cells counts while fresh and both agree; what it cannot tell has a reason."""

import copy
import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any, cast

import pytest

from compliance.access.desk import Desk
from compliance.controls import cells
from compliance.controls.catalogue import Scope, read_catalogue
from compliance.controls.gather import CLUSTER_PROBES, SITE_PROBES, SYSTEM_PROBES, gather_readings
from compliance.controls.ground import Ground, SiteGround, Trail
from compliance.controls.judge import State, judge_reading, worst
from replication.model import Site
from replication.settings import CellSettings, PlaceSettings, SiteSettings

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
CATALOGUE = read_catalogue()
PLACES = tuple(
    PlaceSettings(f"{cell}-{site}-{ordinal}", cell, Site(site), ordinal, "127.0.0.1", 1)
    for cell, home in (("a", "idc"), ("b", "cloud"))
    for site, ordinal in (("idc", 0), ("cloud", 0), (home, 1))
)


def seconds_ago(seconds: int) -> str:
    return (NOW - dt.timedelta(seconds=seconds)).isoformat()


def status(cell: str, primary: str, *sync: str, **changed: Any) -> dict[str, Any]:
    told = {"epoch": 4, "primary": primary, "mode": "SYNC", "syncCopies": list(sync), "lagBytes": 100,
            "seenAt": seconds_ago(9)}  # fmt: skip
    return {"metadata": {"name": cell}, "status": told | changed}


GOOD = [status("a", "a-idc-0", "a-cloud-0"), status("b", "b-cloud-0", "b-idc-0")]


def settings(site: str, folder: Path) -> SiteSettings:
    return SiteSettings(
        site=Site(site), home_dir=folder, etcd_urls=(), agent_urls={}, agent_port=1, api_port=1,
        valkey_port=1, cells=(CellSettings("a", Site.IDC), CellSettings("b", Site.CLOUD)), places=PLACES,
        pg_bin=folder, passfile=folder / "pgpass", key_file=folder / "ring.json",
    )  # fmt: skip


@dataclasses.dataclass
class Told:
    """An API server's answer, as it was read."""

    objects: list[dict[str, Any]]

    async def list(self, kind: str) -> list[dict[str, Any]]:
        if kind != "Cell":
            raise ConnectionError(f"no {kind} here")
        return self.objects


async def no_trail() -> Trail:
    raise AssertionError("nobody asks for the trail from outside")


async def nobody_approved() -> str | None:
    return None


def ground(folder: Path, idc: list[dict[str, Any]], cloud: list[dict[str, Any]]) -> Ground:
    sites = {
        name: SiteGround(settings(name, folder), (), (), list, frozenset(), folder, Told(objects))
        for name, objects in (("idc", idc), ("cloud", cloud))
    }
    return Ground(
        "cluster", sites, cast(Desk, None), folder, folder / "no-baseline.json", no_trail, nobody_approved,
        lambda: NOW,
    )  # fmt: skip


async def state_of(shown: Ground, name: str) -> State:
    narrow = dataclasses.replace(CATALOGUE, probes={name: CATALOGUE.probes[name]})
    readings = await gather_readings(shown, narrow)
    judged = [each for one in readings for each in judge_reading(CATALOGUE, name, one, NOW)]
    return worst(state for state, _, _ in judged)


async def test_cells_with_a_live_copy_at_the_other_site_are_met(tmp_path: Path) -> None:
    assert await state_of(ground(tmp_path, GOOD, copy.deepcopy(GOOD)), "replication") is State.MET


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (status("a", "a-idc-0", mode="ALONE"), State.NOT_MET),
        (status("a", "a-idc-0", "a-idc-1"), State.NOT_MET),
        (status("a", "a-idc-0", "a-cloud-0", mode="MOVING"), State.NOT_MET),
        (status("a", "a-idc-0", "a-cloud-0", lagBytes=1 << 30), State.NOT_MET),
        (status("a", "a-idc-0", "a-cloud-0", lagBytes=None), State.UNKNOWN),
        (status("a", "a-idc-0", "a-cloud-0", seenAt=seconds_ago(61)), State.UNKNOWN),
        (status("a", "a-idc-0", "a-cloud-0", seenAt=seconds_ago(-86_400)), State.UNKNOWN),
        ({"metadata": {"name": "a"}}, State.UNKNOWN),
        ({"metadata": {"name": "z"}}, State.UNKNOWN),
    ],
)  # fmt: skip
async def test_a_cell_that_is_told_to_stand_alone_behind_or_not_lately_is_seen(
    tmp_path: Path, changed: dict[str, Any], expected: State
) -> None:
    told = [changed, GOOD[1]]
    assert await state_of(ground(tmp_path, told, told), "replication") is expected


async def test_stewards_that_tell_different_primaries_of_one_epoch_prove_nothing(tmp_path: Path) -> None:
    forged = [status("a", "a-cloud-0", "a-idc-0"), GOOD[1]]
    assert await state_of(ground(tmp_path, GOOD, forged), "replication") is State.UNKNOWN
    older = [status("a", "a-cloud-0", "a-idc-0", epoch=3), GOOD[1]]
    assert await state_of(ground(tmp_path, GOOD, older), "replication") is State.MET, "it will hear of it"


def test_a_copy_that_should_follow_and_is_in_no_sync_set_is_listed(tmp_path: Path) -> None:
    told = cells.read_told(
        [status("a", "a-idc-0", mode="ALONE"), GOOD[1]], settings("idc", tmp_path).cells, NOW
    )
    assert cells.sum_told(told, settings("cloud", tmp_path))["not_streaming"] == ["a-cloud-0"]
    assert cells.sum_told(told, settings("idc", tmp_path))["not_streaming"] == []


async def test_every_probe_that_a_cluster_cannot_answer_says_why(tmp_path: Path) -> None:
    """Nothing of this machine is taken for the cluster's: not its disks, engines, packages."""
    assert CLUSTER_PROBES.keys() == CATALOGUE.probes.keys() == SITE_PROBES.keys() | SYSTEM_PROBES.keys()
    answered = {"ports", "baseline", "software", "replication"}
    readings = await gather_readings(ground(tmp_path, GOOD, GOOD), CATALOGUE)
    assert len(readings) == sum(2 if p.scope is Scope.SITE else 1 for p in CATALOGUE.probes.values())
    for one in readings:
        if one.probe not in answered:
            assert one.facts is None
            assert "not read from outside the cluster: " in one.failure


async def test_databases_are_asked_where_their_passwords_are(tmp_path: Path) -> None:
    (tmp_path / "pgpass").touch()
    narrow = dataclasses.replace(CATALOGUE, probes={"rights": CATALOGUE.probes["rights"]})
    for one in await gather_readings(ground(tmp_path, GOOD, GOOD), narrow):
        assert one.facts is None
        assert "outside" not in one.failure, "nobody listens there, but they were asked"
