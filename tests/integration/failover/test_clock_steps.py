"""A wall clock that steps by five minutes, both ways, under a whole site: nobody notices."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from replication.model import Site
from runbooks.stand.home import UpOptions
from runbooks.stand.sites import live_processes
from runbooks.stand.up import down, up
from tests.integration.failover.injectors import build_shim, needs_compiler, shim_room, shimmed_programs
from tests.integration.failover.town import (
    find_lost,
    is_healthy,
    read_stages,
    settings_of,
    wait_for_grants,
    writing,
)

pytestmark = [needs_compiler, pytest.mark.timeout(600)]
MINUTES = 5 * 60


@pytest.fixture(scope="module")
def room() -> Iterator[Path]:
    with shim_room() as made:
        yield made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, room: Path) -> Iterator[Path]:
    """A stand whose idc (its servers, agent, API and projector) has a clock of its own."""
    made = tmp_path_factory.mktemp("clocks")
    library = build_shim("clock", room)
    with pytest.MonkeyPatch.context() as patch:
        environment = {"LD_PRELOAD": str(library), "BIYI_CLOCK_FILE": str(room / "shift")}
        patch.setenv("BIYI_PG_BIN", str(shimmed_programs(room, "/idc/copies/", environment)))
        # The library shifts the clock of processes whose mark names idc, and of those told so above.
        patch.setenv("LD_PRELOAD", str(library))
        patch.setenv("BIYI_CLOCK_FILE_OF_IDC", str(room / "shift"))
        try:
            asyncio.run(up(made, UpOptions(backups=False, patience_s=300)))
            yield made
        finally:
            down(made)


def shift(room: Path, seconds: int) -> None:
    aside = room / "shift.tmp"
    aside.write_text(str(seconds))
    aside.replace(room / "shift")


def server_clock(home: Path, site: Site, place: str) -> float:
    settings = settings_of(home, site)
    at = settings.place(place)
    with psycopg.connect(
        host=at.host, port=at.port, user="biyi_admin", dbname="biyi", passfile=str(settings.passfile)
    ) as connection:
        row = connection.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
    assert row is not None
    return float(row[0])


def agents_clock(home: Path) -> float:
    """Read the wall clock as idc's agent does: the same interpreter in the agent's own environment."""
    environment = psutil.Process(live_processes(home, Site.IDC)["agent"].pid).environ()
    command = [sys.executable, "-c", "import time; print(time.time())"]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


async def test_a_clock_step_of_five_minutes_moves_nothing_and_stalls_nothing(home: Path, room: Path):
    """Under each clock for longer than the longest limit that could end a primary."""
    before = await wait_for_grants(home, is_healthy)
    longest = settings_of(home, Site.IDC).failover.watchdog_after_ms / 1000
    async with writing(home) as writers:
        for seconds in (MINUTES, -MINUTES, 0):
            shift(room, seconds)
            await writers.write_on({"a", "b"})
            for clock in (server_clock(home, Site.IDC, "a-idc-0"), agents_clock(home)):
                assert abs(clock - time.time() - seconds) < 60
            assert abs(server_clock(home, Site.CLOUD, "b-cloud-0") - time.time()) < 60
            end = time.monotonic() + longest
            while time.monotonic() < end:
                await writers.write_on({"a", "b"})
        after = await wait_for_grants(home, is_healthy)
    assert after == before
    assert await find_lost(home, writers) == set()
    assert {"fenced", "degraded"}.isdisjoint(read_stages(home, "a-idc-0"))
