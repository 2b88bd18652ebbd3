"""A server process that is frozen (SIGSTOP): whatever it was, the cell goes on, and nothing is lost."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from replication.model import Mode, Site
from replication.postgres.copy import Copy
from replication.settings import FailoverSettings
from runbooks.stand.home import UpOptions
from runbooks.stand.up import down, up
from tests.integration.failover.injectors import server_process, stopped
from tests.integration.failover.town import (
    find_lost,
    is_healthy,
    read_decisions_of,
    settings_of,
    wait_for_grants,
    writing,
)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("frozen")
    try:
        asyncio.run(
            up(made, UpOptions(backups=False, failover=FailoverSettings(home_after_ms=1000), patience_s=300))
        )
        yield made
    finally:
        down(made)


def primary_of_a(home: Path) -> Copy:
    settings = settings_of(home, Site.IDC)
    return Copy.of_place(settings, settings.place("a-idc-0"))


async def test_a_frozen_postmaster_is_ended_and_the_cell_serves_new_clients_again(home: Path):
    """Its old sessions work on, so nothing but a knock at its door finds it."""
    before = await wait_for_grants(home, is_healthy)
    async with writing(home) as writers:
        await writers.write_on({"a"})
        postmaster = server_process(primary_of_a(home), "postmaster")
        with stopped(postmaster):
            gone, _ = await asyncio.to_thread(psutil.wait_procs, [postmaster], 60)
            assert gone
        await writers.write_on({"a", "b"})
        after = await wait_for_grants(home, is_healthy)
    assert after["a"].epoch == before["a"].epoch
    assert ("stop_hard", "server_mute") in read_decisions_of(home, "a-idc-0")
    assert await find_lost(home, writers) == set()


@pytest.mark.parametrize("kind", ["biyi_app", "walsender", "checkpointer", "walwriter"])
async def test_others_write_on_while_one_server_process_is_frozen(home: Path, kind: str):
    await wait_for_grants(home, is_healthy)
    async with writing(home) as writers:
        await writers.write_on({"a"})
        with stopped(server_process(primary_of_a(home), kind)):
            await writers.write_on({"a", "b"})
        await wait_for_grants(home, is_healthy)
    assert (writers.failed, await find_lost(home, writers)) == ([], set())


async def test_a_frozen_receiver_costs_the_copy_its_place_until_it_wakes(home: Path):
    """Commits wait for degrade_after, then go on without the copy; it joins again by itself."""
    settings = settings_of(home, Site.CLOUD)
    before = await wait_for_grants(home, is_healthy)
    async with writing(home) as writers:
        await writers.write_on({"a"})
        copy = Copy.of_place(settings, settings.place("a-cloud-0"))
        with stopped(server_process(copy, "walreceiver")):
            alone = await wait_for_grants(home, lambda grants: grants["a"].mode is Mode.ALONE)
            await writers.write_on({"a", "b"})
        after = await wait_for_grants(home, is_healthy)
    assert alone["a"].epoch == after["a"].epoch == before["a"].epoch
    assert await find_lost(home, writers) == set()
