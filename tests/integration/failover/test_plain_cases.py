"""The plain cases, which must work every time, on a whole stand under writing customers.

The loss of a whole site is the drill's (tests/faults/drills).
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from replication.model import Mode, Site
from replication.postgres.copy import Copy
from replication.postgres.processes import read_postmaster
from runbooks.stand.etcd_leader import leader_site
from runbooks.stand.home import UpOptions
from runbooks.stand.links import HEALED, LinkMode, LinkState, link_name
from runbooks.stand.sites import kill_site, live_processes, set_link
from runbooks.stand.topology import read_stand
from runbooks.stand.up import down, start_site, up
from tests.integration.failover.town import (
    WITHIN_SECONDS,
    biyi,
    find_lost,
    is_healthy,
    read_stages,
    settings_of,
    wait_for_grants,
    writing,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("town")
    try:
        asyncio.run(up(made, UpOptions(backups=False)))
        yield made
    finally:
        down(made)


@pytest.fixture
async def healthy(home: Path) -> Path:
    """The stand with each cell at home and in sync, whatever the test before left."""
    await asyncio.to_thread(asyncio.run, up(home, UpOptions(backups=False)))
    await wait_for_grants(home, is_healthy)
    return home


async def test_a_killed_primary_comes_back_in_place_under_the_same_epoch(healthy: Path):
    settings = settings_of(healthy, Site.IDC)
    before = await wait_for_grants(healthy, is_healthy)
    async with writing(healthy) as writers:
        await writers.write_on({"a"})
        postmaster = read_postmaster(Copy.of_place(settings, settings.place("a-idc-0")))
        assert postmaster is not None
        for process in [postmaster, *postmaster.children(recursive=True)]:
            process.kill()
        await writers.write_on({"a", "b"})
    grants = await wait_for_grants(healthy, is_healthy)
    assert grants["a"].epoch == before["a"].epoch
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def test_a_killed_copy_is_left_and_joins_again(healthy: Path):
    settings = settings_of(healthy, Site.CLOUD)
    async with writing(healthy) as writers:
        await writers.write_on({"a"})
        postmaster = read_postmaster(Copy.of_place(settings, settings.place("a-cloud-0")))
        assert postmaster is not None
        for process in [postmaster, *postmaster.children(recursive=True)]:
            process.kill()
        await writers.write_on({"a", "b"})
        await wait_for_grants(healthy, is_healthy)
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def test_a_cut_link_is_no_death_both_primaries_go_on_alone(healthy: Path):
    before = await wait_for_grants(healthy, is_healthy)
    both = (link_name("idc", "cloud"), link_name("cloud", "idc"))
    try:
        async with writing(healthy) as writers:
            for name in both:
                set_link(healthy, name, LinkState(LinkMode.CUT))
            alone = await wait_for_grants(
                healthy, lambda grants: all(g.mode is Mode.ALONE for g in grants.values())
            )
            await writers.write_on({"a", "b"})
            for name in both:
                set_link(healthy, name, HEALED)
            after = await wait_for_grants(healthy, is_healthy)
    finally:
        for name in both:
            set_link(healthy, name, HEALED)
    for grants in (alone, after):
        assert {cell: g.epoch for cell, g in grants.items()} == {c: g.epoch for c, g in before.items()}
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def test_a_primary_without_its_agent_cannot_acknowledge_once_it_is_superseded(healthy: Path):
    """The agent dies, its PostgreSQL lives on: the fence is replication itself (I4)."""
    settings = settings_of(healthy, Site.IDC)
    before = await wait_for_grants(healthy, is_healthy)
    async with writing(healthy) as writers:
        await writers.write_on({"a"})
        os.kill(live_processes(healthy, Site.IDC)["agent"].pid, signal.SIGKILL)
        taken = await wait_for_grants(
            healthy, lambda grants: grants["a"].epoch > before["a"].epoch and not grants["a"].candidate
        )
        assert taken["a"].primary.site is Site.CLOUD
        orphan = read_postmaster(Copy.of_place(settings, settings.place("a-idc-0")))
        assert orphan is not None
        await writers.write_on({"a", "b"})
        await asyncio.to_thread(asyncio.run, up(healthy, UpOptions(backups=False)))
        await asyncio.to_thread(psutil.wait_procs, [orphan], 30)
        assert not orphan.is_running()
        await wait_for_grants(healthy, is_healthy)
    assert {"rewound", "following", "cloned"} & set(read_stages(healthy, "a-idc-0"))
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def test_a_frozen_agents_primary_is_ended_by_the_watchdog(healthy: Path):
    """SIGSTOP: the agent cannot fence itself, another copy takes over, and on waking it looks first."""
    settings = settings_of(healthy, Site.IDC)
    before = await wait_for_grants(healthy, is_healthy)
    agent = psutil.Process(live_processes(healthy, Site.IDC)["agent"].pid)
    async with writing(healthy) as writers:
        await writers.write_on({"a"})
        agent.suspend()
        try:
            orphan = read_postmaster(Copy.of_place(settings, settings.place("a-idc-0")))
            assert orphan is not None
            await wait_for_grants(
                healthy, lambda grants: grants["a"].epoch > before["a"].epoch and not grants["a"].candidate
            )
            await writers.write_on({"a", "b"})
            await asyncio.to_thread(psutil.wait_procs, [orphan], 30)
            assert not orphan.is_running()
        finally:
            agent.resume()
        await wait_for_grants(healthy, is_healthy)
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def test_a_cell_moves_away_and_home_without_a_failed_request(healthy: Path):
    async with writing(healthy) as writers:
        for site in (Site.CLOUD, Site.IDC):
            done = await asyncio.to_thread(biyi, healthy, "move", "a", "--to", str(site))
            assert done.returncode == 0, done.stdout + done.stderr
            grants = await wait_for_grants(healthy, lambda grants: grants["a"].mode is Mode.SYNC)
            assert grants["a"].primary.site is site
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def test_the_agents_bring_etcds_leader_back_to_the_witness(healthy: Path):
    before = await wait_for_grants(healthy, is_healthy)
    async with writing(healthy) as writers:
        await asyncio.to_thread(kill_site, healthy, Site.WITNESS)
        await writers.write_on({"a", "b"})
        await asyncio.to_thread(start_site, healthy, Site.WITNESS)
        stand = read_stand(healthy)
        async with aiohttp.ClientSession() as http, asyncio.timeout(WITHIN_SECONDS):
            while await leader_site(http, stand) is not Site.WITNESS:
                await asyncio.sleep(0.2)
    after = await wait_for_grants(healthy, is_healthy)
    assert {c: g.epoch for c, g in after.items()} == {c: g.epoch for c, g in before.items()}
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def test_a_move_to_a_copy_out_of_sync_is_refused(healthy: Path):
    name = link_name("idc", "cloud")
    set_link(healthy, name, LinkState(LinkMode.CUT))
    try:
        await wait_for_grants(healthy, lambda grants: grants["a"].mode is Mode.ALONE)
        done = await asyncio.to_thread(biyi, healthy, "move", "a", "--to", "cloud")
    finally:
        set_link(healthy, name, HEALED)
    assert done.returncode == 1
    assert "sync set" in done.stdout


async def test_a_stand_stopped_and_started_again_has_everything(healthy: Path):
    async with writing(healthy) as writers:
        await writers.write_on({"a", "b"})
    before = await wait_for_grants(healthy, is_healthy)
    await asyncio.to_thread(down, healthy)
    await asyncio.to_thread(asyncio.run, up(healthy, UpOptions(backups=False)))
    after = await wait_for_grants(healthy, is_healthy)
    assert {c: g.epoch for c, g in after.items()} == {c: g.epoch for c, g in before.items()}
    assert await find_lost(healthy, writers) == set()
