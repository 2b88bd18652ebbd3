"""A primary that cannot write is found out within seconds, and hands over to the copy that has everything."""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from replication.model import Mode, Site
from replication.settings import FailoverSettings
from runbooks.stand.home import UpOptions, prepare_stand
from runbooks.stand.up import down, up
from tests.integration.failover.injectors import build_shim, needs_compiler, shim_room, shimmed_programs
from tests.integration.failover.town import (
    biyi,
    find_lost,
    is_healthy,
    read_decisions_of,
    wait_for_grants,
    writing,
)

pytestmark = pytest.mark.timeout(600)
HOME_SOON = FailoverSettings(home_after_ms=1000)


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
            asyncio.run(up(made, UpOptions(backups=False, failover=HOME_SOON, patience_s=300)))
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
        await wait_for_grants(home, is_healthy)
    assert ("stop_hard", "disk_stalled") in read_decisions_of(home, "a-idc-0")
    assert await find_lost(home, writers) == set()


@needs_compiler
async def test_an_idle_primary_whose_disk_stalls_is_found_out_too(home: Path, room: Path):
    """Nobody writes, so nothing but the probe's own record can show it."""
    before = await wait_for_grants(home, is_healthy)
    (room / "stall").touch()
    try:
        await wait_for_grants(home, lambda grants: grants["a"].epoch > before["a"].epoch)
    finally:
        (room / "stall").unlink()
    await wait_for_grants(home, is_healthy)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A stand whose idc keeps its copies on a disk of its own of 900 MiB, which only root can make."""
    stand = prepare_stand(tmp_path, UpOptions(backups=False, failover=HOME_SOON, patience_s=300))
    disk = stand.copies_dir(Site.IDC)
    owner = disk.stat()
    options = f"size=900m,mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    try:
        asyncio.run(up(tmp_path, UpOptions(backups=False, patience_s=300)))
        yield disk
    finally:
        down(tmp_path)
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte on the disk; returns what fills it."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
            file.flush()
    return ballast


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a disk that is really full needs a mount: root only")
async def test_a_full_disk_moves_its_cell_once_and_takes_nothing_back_until_there_is_room(
    small_disk: Path, tmp_path: Path
):
    before = await wait_for_grants(tmp_path, is_healthy)
    async with writing(tmp_path) as writers:
        await writers.write_on({"a", "b"})
        ballast = fill(small_disk)
        await wait_for_grants(
            tmp_path, lambda grants: grants["a"].primary.site is Site.CLOUD and not grants["a"].candidate
        )
        await writers.write_on({"a", "b"})
        moved = await wait_for_grants(
            tmp_path, lambda grants: all(g.mode is Mode.ALONE for g in grants.values())
        )
        said = await asyncio.to_thread(biyi, tmp_path, "cells")
        assert "disk is full" in said.stderr
        until_s = time.monotonic() + 5 * HOME_SOON.home_after_ms / 1000  # far beyond home_after: no way back
        while time.monotonic() < until_s:
            await writers.write_on({"a", "b"})
        assert await wait_for_grants(tmp_path, lambda grants: bool(grants)) == moved
        ballast.unlink()
        after = await wait_for_grants(tmp_path, is_healthy)
    assert after["a"].epoch == before["a"].epoch + 2
    whys = {why for _, why in read_decisions_of(tmp_path, "a-idc-0")}
    assert "disk_full" in whys
    assert await find_lost(tmp_path, writers) == set()
