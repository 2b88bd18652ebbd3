"""A copy beside the primary stands in for the one at the lost site, and covers the loss of a server then."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from replication.failover.states import Step
from replication.journal import read_decisions
from replication.model import Site
from replication.postgres.copy import Copy
from replication.postgres.processes import read_postmaster
from runbooks.stand.home import UpOptions
from runbooks.stand.sites import kill_site
from runbooks.stand.up import down, start_site, up
from tests.integration.failover.town import (
    Grants,
    find_lost,
    is_healthy,
    settings_of,
    wait_for_grants,
    writing,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("three")
    try:
        asyncio.run(up(made, UpOptions(backups=False, copies=3)))
        yield made
    finally:
        down(made)


def places_in_sync(grants: Grants, cell: str) -> set[str]:
    return {copy.place for copy in grants[cell].sync_set}


def is_covered(grants: Grants) -> bool:
    """Each cell at home, in sync with the other site and with nobody else."""
    far = all(
        {c.site for c in g.sync_set} == {Site.CLOUD, Site.IDC} - {g.primary.site} for g in grants.values()
    )
    return is_healthy(grants) and far and all(len(g.sync_set) == 1 for g in grants.values())


async def test_the_copy_beside_stands_in_and_is_promoted_when_the_server_is_lost_too(home: Path):
    settings = settings_of(home, Site.IDC)
    lost = Copy.of_place(settings, settings.place("a-idc-0"))
    await wait_for_grants(home, is_covered)
    async with writing(home) as writers:
        await writers.write_on({"a", "b"})
        await asyncio.to_thread(kill_site, home, Site.CLOUD)
        await wait_for_grants(home, lambda g: places_in_sync(g, "a") == {"a-idc-1"}, Site.IDC)
        await writers.write_on({"a", "b"})

        postmaster = read_postmaster(lost)
        assert postmaster is not None
        for process in [postmaster, *postmaster.children(recursive=True)]:
            process.kill()
        lost.data_dir.rename(lost.data_dir.with_suffix(".lost"))
        await wait_for_grants(
            home, lambda g: g["a"].primary.place == "a-idc-1" and not g["a"].candidate, Site.IDC
        )
        await writers.write_on({"a", "b"})

        await asyncio.to_thread(start_site, home, Site.CLOUD)
        await wait_for_grants(home, is_covered, Site.IDC)
        await writers.write_on({"a", "b"})
    shutil.rmtree(lost.data_dir.with_suffix(".lost"), ignore_errors=True)
    assert (writers.failed, await find_lost(home, writers)) == ([], set())
    steps = [d for _, d in read_decisions(home / "idc" / "journal" / "a-idc-0.jsonl")]
    assert any(d.step is Step.JOIN and d.copy and d.copy.place == "a-idc-1" for d in steps)
