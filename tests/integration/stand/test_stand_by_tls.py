"""The whole stand with its caches by mutual TLS: read, written, renewed, and shut to everybody else."""

import asyncio
import datetime as dt
from pathlib import Path

import psutil
import pytest
import redis

from replication.model import DATA_SITES, Site
from replication.projection.valkey import open_valkey
from replication.settings import TlsAddress, read_site_settings
from replication.tls import OPERATOR
from runbooks.cache import read_caches
from runbooks.stand.binaries import find_valkey_by_tls
from runbooks.stand.certificates import serials_in_force
from runbooks.stand.doors import context_for, doors_of, knock
from runbooks.stand.home import UpOptions
from runbooks.stand.renewal import renew_certificates
from runbooks.stand.sites import live_processes
from runbooks.stand.status import read_status
from runbooks.stand.topology import read_stand
from runbooks.stand.up import up
from tests.integration.postgres.places import until

pytestmark = pytest.mark.skipif(
    find_valkey_by_tls() is None,
    reason="NOT TESTED: the stand's caches by TLS; no server whose build has it (BIYI_VALKEY_TLS_BIN)",
)


@pytest.fixture(scope="module", autouse=True)
def stand_is_up(home: Path) -> None:
    asyncio.run(up(home, UpOptions(backups=False)))


async def until_warm(home: Path) -> None:
    """Wait until each projector says that it can follow: it reads and writes its cache all the time."""
    settings = {site: read_site_settings(home / site / "site.json") for site in DATA_SITES}

    async def warm() -> bool:
        cells = [cell for cells in (await read_caches(settings)).values() for cell in (cells or {}).values()]
        return len(cells) == 4 and all(cell["state"] == "warm" for cell in cells)

    await until(warm, "all caches are warm", 60)


async def test_every_client_of_the_caches_comes_by_tls_and_none_is_left_at_a_socket(home: Path) -> None:
    await until_warm(home)
    stand = read_stand(home)
    assert "mutual TLS 1.3" in read_status(home).caches
    for site in DATA_SITES:
        living = live_processes(home, site)
        port = stand.port(site, "valkey")
        server = psutil.Process(living["valkey"].pid)
        assert [at.laddr.port for at in server.net_connections("tcp") if at.status == psutil.CONN_LISTEN] == [
            port
        ]
        assert server.net_connections("unix") == []
        for program in ("projector", "watcher"):
            callers = psutil.Process(living[program].pid).net_connections("tcp")
            assert port in {at.raddr.port for at in callers if at.raddr}, f"{site} {program}"


def test_the_password_alone_opens_nothing(home: Path) -> None:
    stand = read_stand(home)
    password = stand.key_path("valkey").read_text().strip()
    at = {
        "host": "127.0.0.1",
        "port": stand.port(Site.IDC, "valkey"),
        "password": password,
        "socket_timeout": 2,
    }
    for words in ({}, {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False}):
        with pytest.raises(redis.exceptions.ConnectionError), redis.Redis(**at, **words) as stranger:
            stranger.ping()


async def test_a_renewal_reaches_the_caches_before_the_old_certificates_are_revoked(home: Path) -> None:
    stand = read_stand(home)
    doors = [door for door in doors_of(stand) if door.holder == "valkey"]
    site = read_site_settings(home / Site.CLOUD / "site.json")
    at = site.valkey_address(OPERATOR)
    assert isinstance(at, TlsAddress)
    assert site.valkey_passfile is not None
    async with open_valkey(at, site.valkey_passfile, 5.0) as session:
        number = await session.client_id()
        renewal = await asyncio.to_thread(renew_certificates, home, dt.datetime.now(dt.UTC), lambda _: None)
        assert {"idc valkey", "cloud valkey"} <= set(renewal.confirmed)
        assert await session.client_id() == number, "whoever was connected stays so"
    knocks = [await knock(door, context_for(stand, door)) for door in doors]
    assert [(seen.refused, seen.version) for seen in knocks] == [("", "TLSv1.3")] * 2
    assert {seen.serial for seen in knocks} <= serials_in_force(home)
    await until_warm(home)
