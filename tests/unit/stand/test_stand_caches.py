"""How the stand reaches its caches: by mutual TLS where a build can, else by a private socket; it says."""

import stat
from pathlib import Path

import pytest

from replication.model import DATA_SITES, Site
from replication.settings import TlsAddress
from runbooks.stand.binaries import VALKEY_TLS_BIN, find_valkey, find_valkey_by_tls
from runbooks.stand.doors import doors_of
from runbooks.stand.programs import ServerBinaries, plan_programs, write_valkey_settings
from runbooks.stand.status import say_caches
from runbooks.stand.topology import StandError, site_settings
from tests.unit.stand.making import a_stand

SERVER = Path("/opt/redis-server")
WHEEL = ServerBinaries(Path("/bin/etcd"), (3, 6), Path("/bin/valkey-server"))


def script(path: Path, version: str, said: str) -> Path:
    """A program that answers as a server of the cache does when it is asked for TLS without a certificate."""
    asked = f'case "$1" in --version) echo "Redis server v={version}";; *) echo "{said}"; exit 1;; esac'
    path.write_text(f"#!/bin/sh\n{asked}\n")
    path.chmod(0o755)
    return path


def written(home: Path, valkey_tls_bin: Path | None) -> list[str]:
    """Return the lines of valkey.conf."""
    stand = a_stand(home=home, valkey_tls_bin=valkey_tls_bin)
    stand.key_path("").mkdir()
    stand.key_path("valkey").write_text("a-secret")
    write_valkey_settings(stand, Site.IDC)
    path = stand.site_dir(Site.IDC) / "valkey" / "valkey.conf"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text().splitlines()


def test_by_tls_it_listens_at_the_loopback_and_asks_for_certificates(tmp_path: Path) -> None:
    lines = written(tmp_path, SERVER)
    port = a_stand().port(Site.IDC, "valkey")
    for line in (
        "port 0",
        f"tls-port {port}",
        "bind 127.0.0.1",
        "tls-auth-clients yes",
        "tls-protocols TLSv1.3",
    ):
        assert line in lines
    assert not any("unixsocket" in line for line in lines)
    assert sum("tls/current/valkey." in line for line in lines) == 2


def test_without_tls_it_has_a_private_socket_and_no_port(tmp_path: Path) -> None:
    lines = written(tmp_path, None)
    assert {"port 0", "unixsocketperm 600"} <= set(lines)
    assert not any(line.startswith(("tls-", "bind")) for line in lines)


@pytest.mark.parametrize("server", [SERVER, None])
def test_whoever_asks_and_whoever_looks_go_where_it_listens(server: Path | None) -> None:
    stand = a_stand(valkey_tls_bin=server)
    doors = {door.name: door for door in doors_of(stand)}
    for site in DATA_SITES:
        at = site_settings(stand, site).valkey_address("api")
        by_tls = isinstance(at, TlsAddress)
        assert by_tls is (server is not None)
        assert (f"{site}/valkey" in doors) is by_tls
        assert isinstance(stand.address(f"{site}/valkey"), int) is by_tls
        assert plan_programs(stand, site, WHEEL)[2].command[0] == str(server or WHEEL.valkey)
    if server is not None:
        assert not doors["idc/valkey"].knows_revoked, "it takes no list of revocations"


def test_the_status_says_which_of_the_two_it_is() -> None:
    assert say_caches(a_stand(valkey_tls_bin=SERVER)) == f"mutual TLS 1.3 ({SERVER})"
    assert "not TLS" in say_caches(a_stand())
    assert VALKEY_TLS_BIN in say_caches(a_stand())


def test_a_build_with_tls_is_taken_from_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VALKEY_TLS_BIN, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    script(tmp_path / "valkey-server", "9.1.2", "Failed finding TLS support.")
    taken = script(tmp_path / "redis-server", "7.0.15", "Failed to configure TLS. Check logs for more info.")
    assert find_valkey_by_tls() == taken


def test_set_to_nothing_no_build_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "redis-server", "7.0.15", "Failed to configure TLS.")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(VALKEY_TLS_BIN, "")
    assert find_valkey_by_tls() is None


@pytest.mark.parametrize(
    ("version", "said"), [("6.2.14", "Failed to configure TLS."), ("8.1.8", "Failed finding TLS support.")]
)
def test_a_named_build_that_cannot_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, said: str
) -> None:
    monkeypatch.setenv(VALKEY_TLS_BIN, str(script(tmp_path / "redis-server", version, said)))
    with pytest.raises(StandError, match=rf"{VALKEY_TLS_BIN}=.*redis-server: needs valkey-server, .* 7.0\+"):
        find_valkey_by_tls()


def test_the_wheel_s_own_build_has_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The day it has, the sockets can go: docs/decisions/119."""
    monkeypatch.setenv(VALKEY_TLS_BIN, str(find_valkey()))
    with pytest.raises(StandError, match="built with TLS"):
        find_valkey_by_tls()
