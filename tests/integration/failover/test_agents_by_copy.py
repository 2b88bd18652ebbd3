"""Each copy of idc has an agent of its own, as in a pod; cloud has one agent for all of its copies.

Both cells are written at idc, so whatever befalls one pod has a neighbour whose primary must not notice.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from replication.failover.states import Step, Why
from replication.model import Mode, Site
from runbooks.stand.home import UpOptions
from runbooks.stand.sites import kill_site
from runbooks.stand.up import down, up
from tests.integration.failover.pods import (
    Pods,
    end_agent_of_site,
    give_each_copy_an_agent,
    start_agent_of_site,
)
from tests.integration.failover.town import (
    Grants,
    Writers,
    biyi,
    find_lost,
    is_healthy,
    read_decisions_of,
    wait_for_grants,
    writing,
)
from tests.integration.frozen import freeze

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first also waits for the stand
MINE, NEIGHBOUR = "a-idc-0", "b-idc-0"


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    home = tmp_path_factory.mktemp("pods")
    try:
        asyncio.run(up(home, UpOptions(backups=False)))
        pods = asyncio.run(give_each_copy_an_agent(home, Site.IDC))
        yield pods
        asyncio.run(pods.stop())
    finally:
        down(home)


@pytest.fixture
async def both_at_idc(pods: Pods) -> Grants:
    """Each cell is written at idc and in sync with cloud; b stays there until it is moved."""
    pods.start()
    grants = await wait_for_grants(pods.home, lambda g: all(each.mode is Mode.SYNC for each in g.values()))
    if grants["b"].primary.site is Site.CLOUD:
        await wait_for_grants(pods.home, is_healthy)
        moved = await asyncio.to_thread(biyi, pods.home, "move", "b", "--to", "idc")
        assert moved.returncode == 0, moved.stdout + moved.stderr
    return await wait_for_grants(pods.home, are_both_at_idc)


def are_both_at_idc(grants: Grants) -> bool:
    return all(g.primary.site is Site.IDC and g.mode is Mode.SYNC for g in grants.values())


def cloud_writes_a(before: Grants):
    return lambda g: g["a"].epoch > before["a"].epoch and g["a"].primary.site is Site.CLOUD


async def nothing_lost(pods: Pods, writers: Writers) -> bool:
    return (writers.failed, await find_lost(pods.home, writers)) == ([], set())


def taken_for(home: Path, place: str) -> set[str]:
    """Return the reasons for which a place ever took its cell over."""
    return {why for step, why in read_decisions_of(home, place) if step == Step.TAKE}


async def test_a_copy_whose_agent_is_killed_is_taken_over_and_its_neighbour_does_not_move(
    pods: Pods, both_at_idc: Grants
):
    neighbour = pods.postmaster(NEIGHBOUR)
    async with writing(pods.home) as writers:
        await writers.write_on({"a", "b"})
        pods.agent(MINE).kill()
        taken = await wait_for_grants(pods.home, cloud_writes_a(both_at_idc))
        await writers.write_on({"a", "b"})
        pods.start(MINE)
        after = await wait_for_grants(pods.home, are_both_at_idc)
        await writers.write_on({"a", "b"})
    assert Why.PRIMARY_AGENT_SILENT in taken_for(pods.home, "a-cloud-0")
    assert taken["b"].epoch == after["b"].epoch == both_at_idc["b"].epoch
    assert pods.postmaster(NEIGHBOUR) == neighbour
    assert await nothing_lost(pods, writers)


async def test_a_lost_pod_of_a_primary_is_taken_over_and_its_neighbour_does_not_move(
    pods: Pods, both_at_idc: Grants
):
    neighbour = pods.postmaster(NEIGHBOUR)
    async with writing(pods.home) as writers:
        await writers.write_on({"a", "b"})
        pods.kill(MINE)
        taken = await wait_for_grants(pods.home, cloud_writes_a(both_at_idc))
        await writers.write_on({"a", "b"})
        pods.start(MINE)
        after = await wait_for_grants(pods.home, are_both_at_idc)
        await writers.write_on({"a", "b"})
    assert taken["b"].epoch == after["b"].epoch == both_at_idc["b"].epoch
    assert pods.postmaster(NEIGHBOUR) == neighbour
    assert await nothing_lost(pods, writers)


async def test_a_frozen_agents_watchdog_ends_its_own_primary_and_no_other(pods: Pods, both_at_idc: Grants):
    frozen, mine, neighbour = pods.agent(MINE), pods.postmaster(MINE), pods.postmaster(NEIGHBOUR)
    assert mine is not None
    async with writing(pods.home) as writers:
        await writers.write_on({"a", "b"})
        freeze(frozen.pid)
        try:
            taken = await wait_for_grants(pods.home, cloud_writes_a(both_at_idc))
            await writers.write_on({"a", "b"})
            _, alive = await asyncio.to_thread(psutil.wait_procs, [mine], 30)
            assert not alive
        finally:
            frozen.resume()
        after = await wait_for_grants(pods.home, are_both_at_idc)
        await writers.write_on({"a", "b"})
    assert taken["b"].epoch == after["b"].epoch == both_at_idc["b"].epoch
    assert pods.postmaster(NEIGHBOUR) == neighbour
    assert await nothing_lost(pods, writers)


async def test_a_lost_site_of_agents_by_copy_is_taken_over_whole(pods: Pods, both_at_idc: Grants):
    async with writing(pods.home) as writers:
        await writers.write_on({"a", "b"})
        await asyncio.to_thread(kill_site, pods.home, Site.IDC)
        assert not pods.lives(MINE)
        assert not pods.lives(NEIGHBOUR)
        await wait_for_grants(
            pods.home,
            lambda g: all(
                each.epoch > both_at_idc[cell].epoch
                and each.primary.site is Site.CLOUD
                and not each.candidate
                for cell, each in g.items()
            ),
        )
        await writers.write_on({"a", "b"})
        await pods.bring_back_site()
        await wait_for_grants(pods.home, is_healthy)
        await writers.write_on({"a", "b"})
    # The first of its two agents to be found silent may be found so alone; the second cannot.
    reasons = taken_for(pods.home, "a-cloud-0") | taken_for(pods.home, "b-cloud-0")
    assert Why.PRIMARY_SITE_SILENT in reasons
    assert await nothing_lost(pods, writers)


async def test_agents_that_all_end_and_start_again_find_their_cells_as_they_were(
    pods: Pods, both_at_idc: Grants
):
    async with writing(pods.home) as writers:
        await writers.write_on({"a", "b"})
    before = await wait_for_grants(pods.home, are_both_at_idc)
    await asyncio.gather(pods.stop(), end_agent_of_site(pods.home, Site.CLOUD))
    start_agent_of_site(pods.home, Site.CLOUD)
    pods.start()
    async with writing(pods.home) as again:
        await again.write_on({"a", "b"})
    after = await wait_for_grants(pods.home, lambda g: all(each.mode is Mode.SYNC for each in g.values()))
    assert set(after) == {"a", "b"}
    assert all(after[cell].epoch - before[cell].epoch <= 2 for cell in after)
    assert await find_lost(pods.home, writers) == set()
    assert await nothing_lost(pods, again)
