"""The whole stand, agents and entrances included, brought up once for this module."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from replication.model import Site
from runbooks.stand.home import UpOptions, wipe
from runbooks.stand.processes import find_marked
from runbooks.stand.sites import data_directories, kill_site, live_processes
from runbooks.stand.status import read_status
from runbooks.stand.topology import StandError
from runbooks.stand.up import down, start_site, up


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("stand")
    try:
        asyncio.run(up(made, UpOptions(backups=False)))
        yield made
    finally:
        down(made)
        left = [each for site in Site for each in find_marked(f"{made}|", data_directories(made, site))]
        wipe(made)
        assert left == []


def test_a_stand_that_is_up_has_every_process_listening(home: Path):
    asyncio.run(up(home, UpOptions(backups=False)))
    assert read_status(home).whole


def test_up_once_more_starts_nothing(home: Path):
    asyncio.run(up(home, UpOptions(backups=False)))
    assert asyncio.run(up(home, UpOptions(backups=False))).started == ()


def test_the_next_up_starts_again_what_has_crashed(home: Path):
    os.kill(live_processes(home, Site.IDC)["api"].pid, signal.SIGKILL)
    assert asyncio.run(up(home, UpOptions(backups=False))).started == ("idc api",)


def test_an_up_that_was_interrupted_is_finished_by_the_next(home: Path):
    down(home)
    command = [sys.executable, "-c", "from runbooks.stand.cli import stand; stand()", "up", "--json"]
    # A shell that runs the tests in the background has SIGINT ignored, and programs inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupted = subprocess.Popen(
            command, env={**os.environ, "BIYI_HOME": str(home)}, stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGINT, before)
    end = time.monotonic() + 30
    while "agent" not in live_processes(home, Site.IDC):
        assert time.monotonic() < end, "the agent was never started"
    interrupted.send_signal(signal.SIGINT)
    _, said = interrupted.communicate(timeout=30)
    assert (interrupted.returncode, b"interrupted" in said) == (1, True)
    asyncio.run(up(home, UpOptions(backups=False)))
    assert read_status(home).whole


def test_a_killed_site_leaves_no_process_of_its_databases(home: Path):
    asyncio.run(up(home, UpOptions(backups=False)))
    kill_site(home, Site.IDC)
    try:
        assert find_marked(f"{home}|idc|", data_directories(home, Site.IDC)) == []
        assert find_marked(f"{home}|cloud|", data_directories(home, Site.CLOUD)) != []
    finally:
        start_site(home, Site.IDC)


def test_down_ends_even_databases_whose_agent_was_killed(home: Path):
    asyncio.run(up(home, UpOptions(backups=False)))
    for site in (Site.IDC, Site.CLOUD):
        os.kill(live_processes(home, site)["agent"].pid, signal.SIGKILL)
    down(home)
    assert [each for site in Site for each in find_marked(f"{home}|", data_directories(home, site))] == []


def test_down_of_what_is_down_does_nothing(home: Path):
    down(home)
    assert down(home) == []


def test_a_start_that_fails_says_which_program_ended_and_shows_its_last_words(home: Path):
    down(home)
    key = home / "keys" / "cloud" / "ring.json"
    kept = key.read_text()
    key.write_text("{}")
    try:
        with pytest.raises(
            StandError, match=r"(?s)(api|payer) of (idc|cloud) ended.*the end of .*\.log.*key"
        ):
            asyncio.run(up(home, UpOptions(backups=False)))
    finally:
        key.write_text(kept)
        down(home)
