"""Faults of whole sites and of the lines between them: nothing is lost, and one side serves."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from replication.etcd import Etcd, EtcdUnavailable
from replication.model import Mode, Site
from replication.settings import FailoverSettings
from replication.tls import calling
from runbooks.stand.etcd_leader import leader_site
from runbooks.stand.home import UpOptions
from runbooks.stand.links import HEALED, LinkMode, LinkState, link_name
from runbooks.stand.processes import signal_processes
from runbooks.stand.sites import kill_site, live_processes, set_links
from runbooks.stand.topology import read_stand
from runbooks.stand.up import down, start_site, up
from tests.integration.failover.crash_points import (
    kill_agent,
    order,
    orders_of,
    start_agent,
    wait_until_ended,
)
from tests.integration.failover.ending import Point
from tests.integration.failover.town import (
    WITHIN_SECONDS,
    biyi,
    find_lost,
    is_healthy,
    read_decisions_of,
    settings_of,
    wait_for_grants,
    writing,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("sites")
    try:
        asyncio.run(
            up(made, UpOptions(backups=False, failover=FailoverSettings(home_after_ms=1000), patience_s=300))
        )
        yield made
    finally:
        down(made)


@pytest.fixture
async def healthy(home: Path) -> Path:
    """The stand with each cell at home and in sync, whatever the test before left."""
    await asyncio.to_thread(asyncio.run, up(home, UpOptions(backups=False, patience_s=300)))
    await wait_for_grants(home, is_healthy)
    return home


async def test_the_second_of_two_site_losses_within_a_minute_waits_until_a_copy_has_everything(
    healthy: Path,
):
    """Cloud has taken over and is alone when it is lost too: idc may lack what cloud acknowledged."""
    before = await wait_for_grants(healthy, is_healthy)
    async with writing(healthy) as writers:
        await writers.write_on({"a", "b"})
        await asyncio.to_thread(kill_site, healthy, Site.IDC)
        taken = await wait_for_grants(
            healthy, lambda grants: grants["a"].epoch > before["a"].epoch and grants["a"].mode is Mode.ALONE
        )
        await writers.write_on({"a", "b"})
        await asyncio.to_thread(kill_site, healthy, Site.CLOUD)
        await asyncio.to_thread(start_site, healthy, Site.IDC)
        await wait_for_decision(healthy, "a-idc-0", "alone_never_promotes")
        held = await wait_for_grants(healthy, lambda grants: bool(grants), viewer=Site.IDC)
        assert held["a"] == taken["a"]
        await asyncio.to_thread(start_site, healthy, Site.CLOUD)
        await writers.write_on({"a", "b"})
        await wait_for_grants(healthy, is_healthy)
    assert await find_lost(healthy, writers) == set()


async def test_two_site_losses_in_turn_each_after_a_join_lose_nothing(healthy: Path):
    async with writing(healthy) as writers:
        await writers.write_on({"a", "b"})
        for lost, viewer in ((Site.IDC, Site.CLOUD), (Site.CLOUD, Site.IDC)):
            before = await wait_for_grants(
                healthy, lambda grants: all(g.mode is Mode.SYNC for g in grants.values()), viewer
            )
            await asyncio.to_thread(kill_site, healthy, lost)
            await wait_for_grants(
                healthy,
                lambda grants, lost=lost: all(g.primary.site is not lost for g in grants.values()),
                viewer,
            )
            await writers.write_on({"a", "b"})
            await asyncio.to_thread(start_site, healthy, lost)
            assert before
        await wait_for_grants(healthy, is_healthy)
    assert await find_lost(healthy, writers) == set()


async def test_the_loss_of_a_site_with_etcds_leader_in_it_costs_one_election_more(healthy: Path):
    before = await wait_for_grants(healthy, is_healthy)
    stand = read_stand(healthy)
    async with writing(healthy) as writers, aiohttp.ClientSession() as http:
        await writers.write_on({"a", "b"})
        settings = settings_of(healthy, Site.IDC)
        etcd = Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd"))
        async with etcd, asyncio.timeout(WITHIN_SECONDS):
            while await leader_site(http, stand) is not Site.IDC:
                try:
                    await etcd.lead_at(Site.IDC)
                except EtcdUnavailable:
                    await asyncio.sleep(0.1)
        await asyncio.to_thread(kill_site, healthy, Site.IDC)
        await wait_for_grants(
            healthy, lambda grants: grants["a"].epoch > before["a"].epoch and not grants["a"].candidate
        )
        await writers.write_on({"a", "b"})
        await asyncio.to_thread(start_site, healthy, Site.IDC)
        await wait_for_grants(healthy, is_healthy)
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def test_without_the_witness_nothing_happens_but_an_alarm(healthy: Path):
    before = await wait_for_grants(healthy, is_healthy)
    async with writing(healthy) as writers:
        await asyncio.to_thread(kill_site, healthy, Site.WITNESS)
        await writers.write_on({"a", "b"})
        async with asyncio.timeout(WITHIN_SECONDS):
            while (
                "no failover protection"
                not in (said := await asyncio.to_thread(biyi, healthy, "cells")).stderr
            ):
                await asyncio.sleep(0.5)
        assert "witness" in said.stderr
        await writers.write_on({"a", "b"})
        during = await wait_for_grants(healthy, is_healthy)
        await asyncio.to_thread(start_site, healthy, Site.WITNESS)
        async with asyncio.timeout(WITHIN_SECONDS):
            while (await asyncio.to_thread(biyi, healthy, "cells")).stderr:
                await asyncio.sleep(0.5)
    assert {c: g.epoch for c, g in during.items()} == {c: g.epoch for c, g in before.items()}
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def test_without_a_quorum_of_etcd_both_primaries_end_and_come_back_under_their_epochs(healthy: Path):
    """Policy `stop`: nobody knows any more who may serve, so nobody does (I5)."""
    before = await wait_for_grants(healthy, is_healthy)
    async with writing(healthy) as writers:
        await writers.write_on({"a", "b"})
        lost = [live_processes(healthy, site)["etcd"] for site in (Site.WITNESS, Site.CLOUD)]
        signal_processes(lost, signal.SIGKILL)
        for place in ("a-idc-0", "b-cloud-0"):
            await wait_for_step(healthy, place, ("stop_hard", "grant_unconfirmed"))
        for site in (Site.WITNESS, Site.CLOUD):
            await asyncio.to_thread(start_site, healthy, site)
        await writers.write_on({"a", "b"})
        after = await wait_for_grants(healthy, is_healthy)
    assert {c: g.epoch for c, g in after.items()} == {c: g.epoch for c, g in before.items()}
    assert await find_lost(healthy, writers) == set()


@pytest.mark.parametrize("name", [link_name("idc", "cloud"), link_name("cloud", "idc")])
async def test_one_direction_lost_in_silence_moves_no_primary(healthy: Path, name: str):
    before = await wait_for_grants(healthy, is_healthy)
    async with writing(healthy) as writers:
        set_links(healthy, {name: LinkState(LinkMode.HOLE)})
        try:
            await wait_for_grants(healthy, lambda grants: grants["a"].mode is Mode.ALONE)
            await writers.write_on({"a", "b"})
        finally:
            set_links(healthy, {name: HEALED})
        after = await wait_for_grants(healthy, is_healthy)
    assert {c: g.epoch for c, g in after.items()} == {c: g.epoch for c, g in before.items()}
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


@pytest.mark.parametrize("site", [Site.IDC, Site.CLOUD])
async def test_a_site_that_lost_only_its_line_to_the_witness_stays_as_it_is(healthy: Path, site: Site):
    """Its own etcd member and the other site's are a majority: the grant is still confirmed."""
    before = await wait_for_grants(healthy, is_healthy)
    names = (link_name(site, "witness"), link_name("witness", site))
    async with writing(healthy) as writers:
        set_links(healthy, dict.fromkeys(names, LinkState(LinkMode.CUT)))
        try:
            for _ in range(5):
                await writers.write_on({"a", "b"})
        finally:
            set_links(healthy, dict.fromkeys(names, HEALED))
        after = await wait_for_grants(healthy, is_healthy)
    assert {c: g.epoch for c, g in after.items()} == {c: g.epoch for c, g in before.items()}
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def test_fifty_milliseconds_between_the_sites_change_no_grant(healthy: Path):
    before = await wait_for_grants(healthy, is_healthy)
    slow = {link_name(a, b): LinkState(delay_ms=25) for a, b in (("idc", "cloud"), ("cloud", "idc"))}
    async with writing(healthy) as writers:
        set_links(healthy, slow)
        try:
            for _ in range(5):
                await writers.write_on({"a", "b"})
            during = await wait_for_grants(healthy, is_healthy)
        finally:
            set_links(healthy, dict.fromkeys(slow, HEALED))
    assert during == before
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def test_the_old_primary_that_returns_amid_a_failover_serves_only_under_an_epoch_of_its_own(
    healthy: Path,
):
    """The candidate has the grant but dies before it promotes: the old primary takes the epoch after."""
    before = await wait_for_grants(healthy, is_healthy)
    point = Point("a-cloud-0", "take", "swap", "after")
    async with writing(healthy) as writers:
        await writers.write_on({"a"})
        kill_agent(healthy, Site.CLOUD)
        await wait_until_dead(healthy, Site.CLOUD)
        start_agent(healthy, Site.CLOUD)
        await wait_for_grants(healthy, is_healthy)
        before = await wait_for_grants(healthy, is_healthy)
        order(orders_of(healthy), point)
        kill_agent(healthy, Site.IDC)
        await wait_until_ended(healthy, point)
        taking = await wait_for_grants(healthy, lambda grants: grants["a"].epoch > before["a"].epoch)
        assert taking["a"].mode is Mode.TAKING
        start_agent(healthy, Site.IDC)
        again = await wait_for_grants(
            healthy,
            lambda grants: grants["a"].primary.site is Site.IDC and grants["a"].epoch > taking["a"].epoch,
        )
        assert again["a"].epoch == before["a"].epoch + 2
        start_agent(healthy, Site.CLOUD)
        await writers.write_on({"a", "b"})
        await wait_for_grants(healthy, is_healthy)
    assert ("take", "candidate_failed") in read_decisions_of(healthy, "a-idc-0")
    assert (writers.failed, await find_lost(healthy, writers)) == ([], set())


async def wait_until_dead(home: Path, site: Site) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while "agent" in live_processes(home, site):
            await asyncio.sleep(0.02)


async def wait_for_decision(home: Path, place: str, why: str) -> None:
    """Wait until the copy decides something for that reason after all it has decided before."""
    seen = len(read_decisions_of(home, place))
    async with asyncio.timeout(WITHIN_SECONDS):
        while why not in [reason for _, reason in read_decisions_of(home, place)[seen:]]:
            await asyncio.sleep(0.1)


async def wait_for_step(home: Path, place: str, decision: tuple[str, str]) -> None:
    """Wait until the copy has ever decided that."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while decision not in read_decisions_of(home, place):
            await asyncio.sleep(0.1)
