"""An agent that ends between any two effects: started again, it completes the step, and nothing is lost."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from replication.model import DATA_SITES, Mode, Site
from replication.settings import FailoverSettings
from runbooks.stand.home import UpOptions, prepare_stand
from runbooks.stand.sites import live_processes, start_missing
from runbooks.stand.up import down, find_binaries, up
from tests.integration.failover.crash_points import (
    BOOTSTRAP,
    POINTS,
    Way,
    kill_agent,
    order,
    orders_of,
    start_agent,
    wait_until_ended,
)
from tests.integration.failover.ending import Point
from tests.integration.failover.town import biyi, find_lost, is_healthy, wait_for_grants, writing

pytestmark = pytest.mark.timeout(900)
HOME_SOON = FailoverSettings(home_after_ms=1000)
FEW = {
    "after-swap-in-take",
    "after-promote-in-promote",
    "before-open_to_clients-in-finish_taking",
    "after-swap-in-leave",
    "before-swap-in-join",
    "during-rewind-in-rejoin",
    "after-stop_clean-in-drain_and_stop",
}
"""The points of `make test`; all of them are `make faults`."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stand whose agents end when ordered to."""
    made = tmp_path_factory.mktemp("ending")
    try:
        asyncio.run(up(made, UpOptions(backups=False, failover=HOME_SOON, patience_s=300)))
        for site in DATA_SITES:
            kill_agent(made, site)
        while any("agent" in live_processes(made, site) for site in DATA_SITES):
            time.sleep(0.02)
        for site in DATA_SITES:
            start_agent(made, site)
        yield made
    finally:
        down(made)


async def ends_and_goes_on(home: Path, way: Way, point: Point) -> None:
    await wait_for_grants(home, is_healthy)
    async with writing(home) as writers:
        await writers.write_on({"a"})
        beginning = asyncio.create_task(way.begin(home, point))  # type: ignore[arg-type]
        try:
            await wait_until_ended(home, point, beginning)
        finally:
            await asyncio.gather(beginning, return_exceptions=True)
            for site in DATA_SITES:
                start_agent(home, site)
        await writers.write_on({"a", "b"})
        settled = await wait_for_grants(
            home, lambda grants: all(g.mode is Mode.SYNC for g in grants.values())
        )
        if settled["a"].pinned:  # the move asked for came to its end: the cell stays where it was wanted
            await asyncio.to_thread(biyi, home, "move", "a", "--to", "idc")
        await wait_for_grants(home, is_healthy)
    assert await find_lost(home, writers) == set()


def names(points: list[tuple[Way, Point]]) -> list[str]:
    return [str(point) for _, point in points]


FAST = [(way, point) for way, point in POINTS if str(point) in FEW]
SLOW = [(way, point) for way, point in POINTS if str(point) not in FEW]


@pytest.mark.parametrize(("way", "point"), FAST, ids=names(FAST))
async def test_an_agent_that_ends_goes_on_where_it_was(home: Path, way: Way, point: Point):
    await ends_and_goes_on(home, way, point)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "point"), SLOW, ids=names(SLOW))
async def test_an_agent_that_ends_anywhere_goes_on_where_it_was(home: Path, way: Way, point: Point):
    await ends_and_goes_on(home, way, point)


@pytest.mark.slow
@pytest.mark.parametrize("point", BOOTSTRAP, ids=map(str, BOOTSTRAP))
async def test_a_new_cell_comes_up_although_the_agent_that_makes_it_ends(tmp_path: Path, point: Point):
    try:
        stand, binaries = prepare_stand(tmp_path, UpOptions(backups=False, patience_s=300)), find_binaries()
        for site in Site:
            start_missing(stand, site, binaries, ("border", "etcd", "valkey"))
        order(orders_of(tmp_path), point)
        for site in DATA_SITES:
            start_agent(tmp_path, site)
        await wait_until_ended(tmp_path, point)
        for site in DATA_SITES:
            start_agent(tmp_path, site)
        await up(tmp_path, UpOptions(backups=False, patience_s=300))
        async with writing(tmp_path) as writers:
            await writers.write_on({"a", "b"})
        assert await find_lost(tmp_path, writers) == set()
    finally:
        await asyncio.to_thread(down, tmp_path)
