"""The whole stand, agents and entrances included."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import psutil
import pytest

from infra.workloads.keys import GIVEN
from replication.model import DATA_SITES, Site
from replication.postgres.observe import connect_admin
from replication.settings import read_site_settings
from replication.tls import CURRENT, Identity
from runbooks.stand.certificates import tls_dir
from runbooks.stand.doors import context_for, doors_of, knock
from runbooks.stand.home import UpOptions
from runbooks.stand.processes import find_marked
from runbooks.stand.sites import data_directories, kill_site, live_processes
from runbooks.stand.status import read_status
from runbooks.stand.topology import StandError, read_stand, socket_of
from runbooks.stand.up import down, start_site, up
from tests.integration.postgres.places import until
from tests.integration.stand.strangers import (
    NOT_AN_ANSWER,
    expired,
    of_another_authority,
    old_protocol,
    said_in_clear,
    trusting,
    weak_cipher,
)


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


def test_every_tcp_listener_is_a_known_door_and_every_other_a_private_socket(home: Path):
    asyncio.run(up(home, UpOptions(backups=False)))
    stand = read_stand(home)
    directories = [directory for site in Site for directory in data_directories(home, site)]
    pids = {each.pid for each in find_marked(f"{home}|", directories)}
    listeners = {
        found.laddr.port: found.laddr.ip
        for found in psutil.net_connections("inet")
        if found.status == psutil.CONN_LISTEN and found.pid in pids
    }
    assert set(listeners) == {door.port for door in doors_of(stand)}
    assert set(listeners.values()) == {"127.0.0.1"}
    sockets = {found.laddr for found in psutil.net_connections("unix") if found.pid in pids and found.laddr}
    folders = {str(stand.sockets_dir(site)) for site in Site}
    named = {path for path in sockets if path.startswith("/")}
    assert {os.path.dirname(path) for path in named} == folders
    assert all(os.stat(folder).st_mode & 0o077 == 0 for folder in folders)
    at_sockets = ["idc/copy:a-idc-0"] + ["cloud/valkey"] * (stand.valkey_tls_bin is None)
    assert {str(socket_of(stand, name)) for name in at_sockets} <= named
    assert any("valkey" in path for path in named) is (stand.valkey_tls_bin is None)


PROCESS_OF = {
    "biyi-agent": "copy",
    "biyi-exposure": "copy",
    "biyi-core": "api",
    "biyi-payer": "payer",
    "biyi-notices": "payer",
    "biyi-notary": "notary",
    "biyi-projector": "projector",
    "biyi-watcher": "watcher",
}
"""Who calls itself so at a copy; whatever else there is are copies that stream."""


async def test_each_process_logs_in_as_no_role_but_those_that_a_cluster_gives_it(home: Path):
    """On the stand all share a file of passwords, so that it is only seen here what each of them takes."""
    await up(home, UpOptions(backups=False))
    settings = {site: read_site_settings(home / site / "site.json") for site in DATA_SITES}
    seen: set[tuple[str, str]] = set()

    async def all_seen() -> bool:
        for site in settings.values():
            for place in (place for place in site.own_places() if place.data_dir):
                async with await connect_admin(place, site.passfile, timeout_seconds=5) as connection:
                    rows = await connection.execute(
                        "select application_name, usename from pg_stat_activity where usename is not null"
                    )
                    for application, role in await rows.fetchall():
                        seen.add((PROCESS_OF.get(application, "copy"), role))
        return {process for process, _ in seen} == set(PROCESS_OF.values())

    await until(all_seen, "every process has logged in somewhere", 60)
    assert [(process, role) for process, role in seen if role not in GIVEN[process].roles] == []


async def test_each_door_lets_in_whom_it_is_for(home: Path):
    stand = read_stand(home)
    knocks = {door.name: await knock(door, context_for(stand, door)) for door in doors_of(stand)}
    assert {name: seen.refused for name, seen in knocks.items() if seen.refused} == {}
    assert {seen.version for seen in knocks.values()} == {"TLSv1.2", "TLSv1.3"}
    assert all("etcd" in name for name, seen in knocks.items() if seen.version == "TLSv1.2")


async def test_no_door_answers_in_clear(home: Path):
    for door in doors_of(read_stand(home)):
        said = await said_in_clear(door)
        assert said == b"" or said.startswith(NOT_AN_ANSWER), door.name


async def test_nobody_gets_in_without_a_certificate_or_with_one_of_another_authority(
    home: Path, tmp_path: Path
):
    for door in doors_of(read_stand(home)):
        if door.caller is not None:
            assert (await knock(door, trusting())).refused, door.name
            assert (await knock(door, of_another_authority(tmp_path, door))).refused, door.name


async def test_nobody_gets_in_with_an_old_protocol_or_a_weak_cipher(home: Path):
    stand = read_stand(home)
    for door in doors_of(stand):
        place, kind = door.caller or ("idc", "operator")
        own = tls_dir(home, place) / CURRENT / f"{kind}.crt"
        assert not (await knock(door, trusting(own))).refused, (
            f"{door.name}: nothing is shown by its refusals"
        )
        assert (await knock(door, old_protocol(own))).refused, door.name
        assert (await knock(door, weak_cipher(own))).refused, door.name


async def test_an_expired_certificate_is_refused_and_the_caller_is_told(home: Path, tmp_path: Path):
    stand = read_stand(home)
    for door in doors_of(stand):
        if door.caller is not None:
            refused = (await knock(door, expired(stand, tmp_path, door))).refused
            # etcd's Go says no more than that the certificate is bad; Valkey hangs up, which may come first.
            assert ("EXPIRED" in refused) or (door.holder in ("etcd", "valkey") and refused), (
                door.name,
                refused,
            )
    logs = [path.read_text() for path in home.glob("*/logs/*.log")]
    assert sum("a caller was refused: certificate has expired" in text for text in logs) >= 10


@pytest.mark.parametrize(
    ("caller", "method", "path"),
    [
        ("api", "GET", "/v1/status"),
        ("etcd", "GET", "/v1/probe"),
        ("agent", "POST", "/v1/cells/a/move"),
        ("agent", "PUT", "/v1/hold"),
        ("console", "POST", "/v1/cells/a/move"),
        ("console", "PUT", "/v1/hold"),
        ("console", "GET", "/v1/cells/a/promote"),
        ("payer", "DELETE", "/v1/hold"),
        ("projector", "POST", "/v1/cells/a/promote"),
    ],
)
async def test_an_agent_does_only_what_the_caller_may_ask(home: Path, caller: str, method: str, path: str):
    stand = read_stand(home)
    url = f"https://127.0.0.1:{stand.port(Site.CLOUD, 'agent')}{path}"
    tls = Identity(tls_dir(home, Site.IDC), caller).to("agent")
    async with aiohttp.ClientSession() as http, http.request(method, url, ssl=tls) as answer:
        assert answer.status == 403
        assert f"{caller}.idc may not" in (await answer.json())["why"]


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
        with pytest.raises(StandError, match=r"(?s)\w+ of cloud ended.*the end of .*\.log.*key"):
            asyncio.run(up(home, UpOptions(backups=False)))
    finally:
        key.write_text(kept)
        down(home)
