"""Etcd loses its quorum: a cell whose policy is `peer` goes on, one whose policy is `stop` stops."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from replication.failover.states import Why
from replication.journal import read_decisions
from replication.model import Site
from replication.postgres.copy import Copy
from replication.postgres.processes import read_postmaster
from runbooks.stand.home import UpOptions, prepare_stand
from runbooks.stand.sites import live_processes
from runbooks.stand.topology import read_stand, write_stand
from runbooks.stand.up import down, up
from tests.integration.failover.town import (
    WITHIN_SECONDS,
    find_lost,
    is_healthy,
    settings_of,
    wait_for_grants,
    writing,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stand whose cell a may outlive etcd."""
    made = tmp_path_factory.mktemp("kept")
    try:
        prepare_stand(made.resolve(), UpOptions(backups=False))
        stand = read_stand(made)
        a, b = stand.cells
        write_stand(replace(stand, cells=(replace(a, without_etcd="peer"), b)))
        asyncio.run(up(made, UpOptions(backups=False)))
        yield made
    finally:
        down(made)


def reasons(home: Path, place: str) -> set[Why]:
    journal = home / place.split("-")[1] / "journal" / f"{place}.jsonl"
    return {decision.why for _, decision in read_decisions(journal)}


async def test_a_cell_kept_by_its_peer_writes_on_while_the_other_stops(home: Path):
    cloud = settings_of(home, Site.CLOUD)
    stopping = read_postmaster(Copy.of_place(cloud, cloud.place("b-cloud-0")))
    assert stopping is not None
    await wait_for_grants(home, is_healthy)
    async with writing(home) as writers:
        await writers.write_on({"a", "b"})
        for site in (Site.WITNESS, Site.CLOUD):
            os.kill(live_processes(home, site)["etcd"].pid, signal.SIGKILL)
        await asyncio.to_thread(psutil.wait_procs, [stopping], WITHIN_SECONDS)
        assert not stopping.is_running()
        async with asyncio.timeout(WITHIN_SECONDS):
            while Why.KEPT_BY_PEER not in reasons(home, "a-idc-0"):
                await asyncio.sleep(0.2)
        for _ in range(5):
            await writers.write_on({"a"})
        await asyncio.to_thread(asyncio.run, up(home, UpOptions(backups=False)))
        await wait_for_grants(home, is_healthy)
        await writers.write_on({"a", "b"})
    assert Why.GRANT_UNCONFIRMED in reasons(home, "b-cloud-0")
    assert await find_lost(home, writers) == set()
