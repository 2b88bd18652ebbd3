"""Three sites with border, etcd and Valkey (no agents): links, loss and return of a site."""

import asyncio
import socket
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from compliance.protection.ring_file import read_ring
from replication.etcd import Etcd, EtcdUnavailable
from replication.model import DATA_SITES, Site
from runbooks.stand.binaries import VALKEY_TLS_BIN, find_valkey_by_tls
from runbooks.stand.etcd_leader import lead_at_witness, leader_site
from runbooks.stand.home import UpOptions, is_free, prepare_stand, relocated_root, wipe
from runbooks.stand.links import HEALED, LinkMode, LinkState, links_of_site, read_links
from runbooks.stand.processes import find_marked
from runbooks.stand.sites import (
    kill_site,
    live_processes,
    pids_path,
    set_links,
    start_missing,
    stop_everything,
)
from runbooks.stand.status import read_status
from runbooks.stand.topology import Stand, StandError, socket_of
from runbooks.stand.up import find_binaries
from tests.integration.postgres.places import until

PROGRAMS = ("border", "etcd", "valkey")
CUT = LinkState(LinkMode.CUT)
HOLE = LinkState(LinkMode.HOLE)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Stand]:
    """A stand that was never started; what a test starts of it, even in part, is stopped."""
    home = tmp_path / "home"
    home.mkdir()
    yield prepare_stand(home, UpOptions())
    stop_everything(home)
    wipe(home)


@pytest.fixture
async def stand(made: Stand) -> AsyncIterator[Stand]:
    home = made.home
    try:
        for site in Site:
            start_missing(made, site, find_binaries(), PROGRAMS)
        async with aiohttp.ClientSession() as http:
            await until_leader_at_witness(http, made)
        yield made
    finally:
        stop_everything(home)
        assert find_marked(f"{home}|", [home]) == []


async def until_leader_at_witness(http: aiohttp.ClientSession, stand: Stand) -> None:
    end = time.monotonic() + 20
    while not await lead_at_witness(http, stand):
        assert time.monotonic() < end, "etcd never led at the witness"


async def writes(stand: Stand, viewer: Site, to: Site, patience_s: float = 8) -> bool:
    """True when `viewer` gets a write done through the member of `to` within the patience."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            url = f"https://127.0.0.1:{stand.port_from(viewer, to, 'etcd-client')}"
            async with Etcd([url], stand.calling("etcd")) as etcd:
                await etcd.put("/test", f"{viewer} through {to}")
            return True
        except EtcdUnavailable:
            await asyncio.sleep(0.05)
    return False


async def test_every_data_site_writes_through_every_member(stand: Stand):
    for viewer in (Site.IDC, Site.CLOUD):
        for to in Site:
            assert await writes(stand, viewer, to)


@pytest.mark.parametrize("state", [CUT, HOLE])
async def test_with_the_two_data_sites_apart_both_still_write_through_the_witness(
    stand: Stand, state: LinkState
):
    set_links(stand.home, {"idc>cloud": state, "cloud>idc": state})
    assert await writes(stand, Site.IDC, Site.WITNESS)
    assert await writes(stand, Site.CLOUD, Site.WITNESS)
    assert await writes(stand, Site.IDC, Site.IDC)  # its own member still hears the leader
    assert await writes(stand, Site.CLOUD, Site.CLOUD)
    assert not await writes(stand, Site.IDC, Site.CLOUD, patience_s=1)


async def test_a_site_without_any_link_cannot_write(stand: Stand):
    set_links(stand.home, dict.fromkeys(links_of_site("idc"), CUT))
    assert await writes(stand, Site.CLOUD, Site.CLOUD)
    assert not await writes(stand, Site.IDC, Site.IDC, patience_s=2)
    set_links(stand.home, dict.fromkeys(links_of_site("idc"), HEALED))
    assert await writes(stand, Site.IDC, Site.IDC)


async def test_killing_a_site_leaves_none_of_its_processes_and_all_others(stand: Stand):
    before = {site: live_processes(stand.home, site) for site in Site}
    asked_at = time.monotonic()
    lost_at = kill_site(stand.home, Site.IDC)
    assert asked_at <= lost_at <= time.monotonic()
    assert find_marked(f"{stand.home}|idc|", [stand.home / "idc"]) == []
    for site in (Site.CLOUD, Site.WITNESS):
        assert live_processes(stand.home, site) == before[site]
    assert read_links(stand.home / "links.json")["cloud>idc"] == HOLE
    assert await writes(stand, Site.CLOUD, Site.CLOUD)


async def test_a_kill_finds_what_no_record_knows(stand: Stand):
    pids_path(stand.home, Site.IDC).write_text("{}")
    kill_site(stand.home, Site.IDC, keep_links=True)
    assert find_marked(f"{stand.home}|idc|", [stand.home / "idc"]) == []
    assert read_links(stand.home / "links.json")["cloud>idc"] == HEALED


async def test_a_lost_site_comes_back_with_healed_links(stand: Stand):
    kill_site(stand.home, Site.IDC)
    set_links(stand.home, dict.fromkeys(links_of_site("idc"), HEALED))
    assert start_missing(stand, Site.IDC, find_binaries(), PROGRAMS) == list(PROGRAMS)
    assert await writes(stand, Site.IDC, Site.IDC, patience_s=15)


async def test_losing_a_site_does_not_move_the_leader_from_the_witness(stand: Stand):
    kill_site(stand.home, Site.CLOUD)
    assert await writes(stand, Site.IDC, Site.IDC)
    async with aiohttp.ClientSession() as http:
        assert await leader_site(http, stand) is Site.WITNESS


async def test_starting_what_runs_starts_nothing(stand: Stand):
    assert start_missing(stand, Site.IDC, find_binaries(), PROGRAMS) == []


async def test_a_process_that_an_interrupted_start_did_not_write_down_is_taken_over(stand: Stand):
    before = live_processes(stand.home, Site.IDC)
    pids_path(stand.home, Site.IDC).unlink()
    start_missing(stand, Site.IDC, find_binaries(), PROGRAMS)
    assert live_processes(stand.home, Site.IDC) == before


def test_a_port_taken_by_a_stranger_is_named_with_its_purpose(made: Stand):
    port = made.port(Site.IDC, "etcd-client")
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(StandError, match=rf"port {port} \(idc etcd-client\).*--fresh"),
    ):
        start_missing(made, Site.IDC, find_binaries(), PROGRAMS)


async def test_valkey_refuses_who_does_not_know_the_password(stand: Stand):
    if stand.valkey_tls_bin is None:
        reader, writer = await asyncio.open_unix_connection(socket_of(stand, "idc/valkey"))
    else:
        tls = stand.calling("valkey")
        reader, writer = await asyncio.open_connection("127.0.0.1", stand.port(Site.IDC, "valkey"), ssl=tls)
    password = stand.key_path("valkey").read_bytes().strip()
    writer.write(b"PING\r\nAUTH " + password + b"\r\nPING\r\n")
    assert (await reader.readline()).startswith(b"-NOAUTH")
    assert await reader.readline() == b"+OK\r\n"
    assert await reader.readline() == b"+PONG\r\n"
    writer.close()


async def test_without_a_build_that_has_tls_the_cache_is_at_a_private_socket_until_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, built = tmp_path / "home", find_valkey_by_tls()
    monkeypatch.setenv(VALKEY_TLS_BIN, "")
    home.mkdir()
    try:
        made = prepare_stand(home, UpOptions())
        start_missing(made, Site.IDC, find_binaries(), ("valkey",))
        at = socket_of(made, "idc/valkey")
        await until(lambda: asyncio.sleep(0, not is_free(at)), "Valkey listens", 10)
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (at, at.parent)]
        assert modes == [0o600, 0o700]
        reader, writer = await asyncio.open_unix_connection(at)
        writer.write(b"PING\r\n")
        assert (await reader.readline()).startswith(b"-NOAUTH")
        writer.close()
        (made.site_dir(Site.IDC) / "valkey" / "kept").touch()
        if built is not None:
            monkeypatch.setenv(VALKEY_TLS_BIN, str(built))
            assert prepare_stand(home, UpOptions()).valkey_tls_bin is None, "one that runs stays as it is"
            stop_everything(home)
            assert prepare_stand(home, UpOptions()).valkey_tls_bin == built
            kept = [path.name for path in (made.site_dir(Site.IDC) / "valkey").iterdir()]
            assert kept == ["valkey.conf"], "the other server may not be able to read what this one kept"
    finally:
        stop_everything(home)
        wipe(home)


def test_keys_and_description_are_private(made: Stand):
    keys = [path for path in made.key_path("").rglob("*") if path.name not in ("ca.crt", "audit-public.json")]
    secret = [*keys, *made.home.glob("*/tls/*/*.key"), made.home / "stand.json"]
    assert len(secret) > 20
    for path in secret:
        assert path.stat().st_mode & 0o077 == 0
    rings = {site: read_ring(made.ring_path(site)) for site in DATA_SITES}
    # The same data keys, each site's own root, key-encryption key and signing key.
    assert rings[Site.IDC].tables == rings[Site.CLOUD].tables
    assert rings[Site.IDC].secrets["signing"] != rings[Site.CLOUD].secrets["signing"]
    roots = {(made.ring_path(site).parent / "root.key").read_text() for site in DATA_SITES}
    assert len(roots) == 2


def test_a_lost_ring_is_never_made_anew(tmp_path: Path):
    home = tmp_path / "stand"
    stand = prepare_stand(home, UpOptions())
    try:
        kept = stand.ring_path(Site.CLOUD).read_bytes()
        prepare_stand(home, UpOptions())
        assert stand.ring_path(Site.CLOUD).read_bytes() == kept
        stand.ring_path(Site.CLOUD).unlink()
        with pytest.raises(StandError, match=r"cloud/ring\.json: the key ring is gone"):
            prepare_stand(home, UpOptions())
    finally:
        wipe(home)


async def test_status_tells_what_runs_and_what_was_killed_outside(stand: Stand):
    victim = live_processes(stand.home, Site.CLOUD)["valkey"]
    psutil.Process(victim.pid).kill()
    psutil.Process(victim.pid).wait()
    states = {(s.site, s.program): s.state for s in read_status(stand.home).processes}
    assert states[Site.CLOUD, "valkey"] == "dead"
    assert states[Site.IDC, "valkey"] == "listening"
    assert states[Site.IDC, "agent"] == "stopped"


def test_a_stand_is_not_made_over_the_data_of_another(made: Stand):
    (made.home / "stand.json").unlink()
    with pytest.raises(StandError, match="--fresh"):
        prepare_stand(made.home, UpOptions())


def test_data_that_a_deleted_home_left_elsewhere_are_named_and_not_taken_over(tmp_path: Path):
    left = relocated_root(tmp_path)
    left.mkdir(mode=0o755)
    try:
        with pytest.raises(StandError, match=rf"{left}.*--fresh"):
            prepare_stand(tmp_path, UpOptions())
    finally:
        left.rmdir()


def test_another_number_of_copies_needs_a_fresh_stand(made: Stand):
    with pytest.raises(StandError, match="--fresh"):
        prepare_stand(made.home, UpOptions(copies=3))


def test_a_fresh_stand_keeps_the_evidence(made: Stand):
    (made.home / "evidence").mkdir()
    wipe(made.home)
    assert {path.name for path in made.home.iterdir()} <= {"evidence", ".lock"}
