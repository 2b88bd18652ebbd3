"""A primary that cannot write is found out within seconds, and hands over to the copy that has everything."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from replication.model import Site
from runbooks.stand.home import UpOptions
from runbooks.stand.up import down, up
from tests.integration.failover.injectors import build_shim, needs_compiler, shim_room, shimmed_programs
from tests.integration.failover.town import (
    find_lost,
    is_healthy,
    read_decisions_of,
    wait_for_grants,
    writing,
)


@pytest.fixture(scope="module")
def room() -> Iterator[Path]:
    with shim_room() as made:
        yield made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, room: Path) -> Iterator[Path]:
    """A stand whose copy a-idc-0 stands on a disk that can be stalled."""
    made = tmp_path_factory.mktemp("disks")
    library = build_shim("disk", room)
    with pytest.MonkeyPatch.context() as patch:
        programs = shimmed_programs(
            room, "/a-idc-0", {"LD_PRELOAD": str(library), "BIYI_STALL_FILE": str(room / "stall")}
        )
        patch.setenv("BIYI_PG_BIN", str(programs))
        try:
            asyncio.run(up(made, UpOptions()))
            yield made
        finally:
            (room / "stall").unlink(missing_ok=True)
            down(made)


@needs_compiler
async def test_a_primary_whose_disk_stalls_hands_over_and_comes_back(home: Path, room: Path):
    before = await wait_for_grants(home, is_healthy)
    async with writing(home) as writers:
        await writers.write_on({"a"})
        (room / "stall").touch()
        taken = await wait_for_grants(
            home, lambda grants: grants["a"].epoch > before["a"].epoch and not grants["a"].candidate
        )
        assert taken["a"].primary.site is Site.CLOUD
        await writers.write_on({"a", "b"})
        (room / "stall").unlink()
        after = await wait_for_grants(home, is_healthy)
    assert after["b"].epoch == before["b"].epoch
    assert ("stop_hard", "disk_stalled") in read_decisions_of(home, "a-idc-0")
    assert (writers.failed, await find_lost(home, writers)) == ([], set())


@needs_compiler
async def test_an_idle_primary_whose_disk_stalls_is_found_out_too(home: Path, room: Path):
    before = await wait_for_grants(home, is_healthy)
    (room / "stall").touch()
    try:
        taken = await wait_for_grants(home, lambda grants: grants["a"].epoch > before["a"].epoch)
    finally:
        (room / "stall").unlink()
    assert taken["a"].primary.site is Site.IDC or taken["a"].candidate is None
    await wait_for_grants(home, is_healthy)
