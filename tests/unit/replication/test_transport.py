"""How a copy is reached: by a Unix socket, by TCP that stays on the machine, else by mutual TLS."""

import asyncio
import dataclasses
import datetime as dt
import re
import shutil
import ssl
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from cryptography import x509

import replication
from replication.model import CopyId, Site
from replication.postgres import conf, hba
from replication.postgres.copy import Copy
from replication.postgres.observe import connect_admin
from replication.projection.valkey import open_valkey
from replication.settings import PlaceSettings, TlsAddress
from replication.tls import CURRENT, Identity
from replication.transport import Transport, decide_transport, plan_calling, plan_listening, plan_rule
from runbooks.stand.certificates import (
    authority_file,
    ensure_certificates,
    issue,
    put_in_force,
    revoke_older,
    tls_dir,
)
from tests.integration.postgres.places import PG_BIN
from tests.unit.replication.test_observe import SETTINGS

REPOSITORY = Path(replication.__file__).parent.parent
CLUSTER: dict[str, Any] = {"host": "a-cloud-0.biyi.internal", "tls_dir": Path("/run/biyi/identity")}
STAND: dict[str, Any] = {"host": "/run/user/biyi/sockets"}
ALONE: dict[str, Any] = {"host": "127.0.0.1"}
OWN_ID = CopyId("a", Site.IDC, 0, "00000000")


def place(form: dict[str, Any], data_dir: Path | None = None) -> PlaceSettings:
    return PlaceSettings("a-cloud-0", "a", Site.CLOUD, 0, port=5432, data_dir=data_dir, **form)


def rendered(form: dict[str, Any], tmp_path: Path) -> tuple[dict[str, str], str]:
    """Return biyi.conf as it reads back, and the open pg_hba.conf, of a copy that follows its like."""
    passfile, data_dir = tmp_path / "pgpass", tmp_path / "d"
    passfile.write_text("*:*:*:biyi_repl:secret\n")
    data_dir.mkdir()
    copy = Copy(place(form, data_dir), Path("/bin"), None, passfile)
    conf.write_conf(copy, {conf.UPSTREAM: conf.upstream_value(copy, place(form), OWN_ID)})
    hba.write_open(copy)
    return conf.read_conf(copy), (data_dir / "pg_hba.conf").read_text()


def test_a_cluster_s_copy_has_no_plain_listener_and_lets_nobody_in_without_tls(tmp_path: Path) -> None:
    settings, rules = rendered(CLUSTER, tmp_path)
    assert (settings["ssl"], settings["ssl_min_protocol_version"]) == ("on", "TLSv1.3")
    assert settings["unix_socket_directories"] == ""
    for name in ("ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_crl_file"):
        assert settings[name].startswith("/run/biyi/identity/"), name
    admitting = [line for line in rules.splitlines() if "reject" not in line and not line.startswith("#")]
    assert len(admitting) == 4
    for line in admitting:
        assert re.fullmatch(r"hostssl \S+ \S+ all scram-sha-256 clientcert=verify-ca", line)
    assert rules.splitlines()[-2:] == ["local all all reject", "host all all all reject"]
    assert "sslmode=verify-full" in settings[conf.UPSTREAM]
    assert "channel_binding=require" in settings[conf.UPSTREAM]


def test_a_stand_s_copy_has_no_tcp_listener_at_all(tmp_path: Path) -> None:
    settings, rules = rendered(STAND, tmp_path)
    assert settings["listen_addresses"] == ""
    assert settings["unix_socket_permissions"] == "0700"
    assert "ssl" not in settings
    for line in rules.splitlines():
        assert line.startswith(("#", "local ")) or line.endswith(" reject"), line


def test_a_server_of_a_test_does_not_listen_beyond_the_machine(tmp_path: Path) -> None:
    settings, rules = rendered(ALONE, tmp_path)
    assert settings["listen_addresses"] == "127.0.0.1"
    assert "0.0.0.0" not in rules


@pytest.mark.parametrize("host", ["10.48.0.3", "a-cloud-0.biyi.internal", "localhost", "::1", ""])
def test_beyond_the_machine_there_is_nothing_without_certificates(host: str) -> None:
    found = place({"host": host})
    for plan in (decide_transport, plan_listening, plan_calling, lambda one: plan_rule(one, "all all")):
        with pytest.raises(ValueError, match=r"places\.a-cloud-0: .* tls_dir is not set"):
            plan(found)


@pytest.mark.parametrize("form", [STAND, ALONE, CLUSTER])
def test_a_client_asks_for_tls_exactly_where_the_server_offers_it(form: dict[str, Any]) -> None:
    by_tls = decide_transport(place(form)) is Transport.TLS
    assert (plan_listening(place(form)).get("ssl") == "on") is by_tls
    assert (plan_calling(place(form))["sslmode"] == "verify-full") is by_tls
    assert plan_rule(place(form), "all all").startswith("hostssl") is by_tls


def test_nobody_calls_a_copy_but_as_its_transport_says() -> None:
    """No other module writes a copy's host or an sslmode into a connection of its own."""
    bypass = re.compile(r"""host=\w*\.?(place|upstream)\.host|"host": place\.host|sslmode=["']""")
    found = [
        path.relative_to(REPOSITORY)
        for package in ("replication", "core_app", "compliance", "ueba", "runbooks")
        for path in (REPOSITORY / package).rglob("*.py")
        if path.name != "transport.py" and bypass.search(path.read_text())
    ]
    assert found == []


async def test_a_man_in_the_middle_who_says_that_there_is_no_tls_gets_nothing(tmp_path: Path) -> None:
    heard: list[bytes] = []
    over = asyncio.Event()

    async def deny(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readexactly(8))
        writer.write(b"N")  # of the protocol: this server speaks no TLS
        heard.append(await reader.read())
        writer.close()
        await writer.wait_closed()
        over.set()

    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:biyi_admin:a-secret\n")
    passfile.chmod(0o600)
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / "ca.crt").touch()
    thief = await asyncio.start_server(deny, "127.0.0.1", 0)
    async with thief:
        port = thief.sockets[0].getsockname()[1]
        victim = PlaceSettings("a-cloud-0", "a", Site.CLOUD, 0, "127.0.0.1", port, tls_dir=tmp_path)
        with pytest.raises(psycopg.OperationalError, match="server does not support SSL"):
            await connect_admin(victim, passfile, dbname="biyi", timeout_seconds=5)
        await asyncio.wait_for(over.wait(), 5)
    assert heard == [b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b""], "an SSLRequest, and not one byte more"


async def test_a_build_without_openssl_refuses_to_start_for_tls(tmp_path: Path) -> None:
    (tmp_path / "postgresql.conf").touch()
    settings = plan_listening(place(CLUSTER))
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = await asyncio.create_subprocess_exec(
        PG_BIN / "postgres", "-C", "ssl", "-D", str(tmp_path), *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, said = await process.communicate()
    assert (process.returncode != 0, b"SSL is not supported by this build" in said) == (True, True), out


class FakeValkey:
    """Outside our machines' code: speaks just enough of the Redis protocol to say who was let in.

    The wheel's Valkey has no TLS. What a real one is told is in the manifests; this is the client's half.
    """

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1) == b"*":
            line = await reader.readline()
            words = [(await reader.readline(), await reader.readline())[1] for _ in range(int(line))]
            self.commands.append(b" ".join(word.strip() for word in words))
            known = {b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n", b"PING": b"+PONG\r\n"}
            writer.write(known.get(words[0].strip().upper(), b"+OK\r\n"))
        writer.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("house")
    ensure_certificates(home, dt.datetime.now(dt.UTC))
    return home


async def ping(
    house: Path, tmp_path: Path, server: str, *, tls: bool = True, times: int = 1
) -> tuple[str, list[bytes]]:
    """Ask a server with the certificate of `server`, as a payer; return what was heard on both ends."""
    fake = FakeValkey()
    serving = Identity(tls_dir(house, "idc"), server).serving() if tls else None
    own = tls_dir(house, "cloud") / "current"
    (tmp_path / "current").symlink_to(own.resolve())
    (tmp_path / "crl.pem").symlink_to(tls_dir(house, "cloud") / "crl.pem")
    (tmp_path / "password").write_text("a-secret")
    listening = await asyncio.start_server(fake.answer, "127.0.0.1", 0, ssl=serving)
    async with listening:
        at = TlsAddress("127.0.0.1", listening.sockets[0].getsockname()[1], tmp_path, "payer")
        async with open_valkey(at, tmp_path / "password", 5.0) as client:
            try:
                for _ in range(times):
                    said = str(await client.ping())
            except redis.exceptions.RedisError as error:
                said = str(error)
    return said, fake.commands


async def test_a_session_of_valkey_begun_after_a_renewal_shows_the_renewed_certificate(
    tmp_path: Path,
) -> None:
    """redis-py would go on with what it read at the first connection, until it runs out."""
    ensure_certificates(tmp_path, dt.datetime.now(dt.UTC))
    shown: list[int] = []

    class Fake(FakeValkey):
        async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            shown.append(x509.load_der_x509_certificate(der).serial_number)
            await super().answer(reader, writer)

    serving = Identity(tls_dir(tmp_path, "idc"), "api").serving()
    own = tls_dir(tmp_path, "cloud")
    (tmp_path / "password").write_text("a-secret")
    in_force = []
    async with await asyncio.start_server(Fake().answer, "127.0.0.1", 0, ssl=serving) as listening:
        at = TlsAddress("127.0.0.1", listening.sockets[0].getsockname()[1], own, "payer")
        async with open_valkey(at, tmp_path / "password", 5.0) as client:
            for _ in range(2):
                assert await client.ping()
                pem = (own / CURRENT / "payer.crt").read_bytes()
                in_force.append(x509.load_pem_x509_certificate(pem).serial_number)
                await client.connection_pool.disconnect()
                put_in_force(tmp_path, issue(tmp_path, dt.datetime.now(dt.UTC)))
    assert shown == in_force
    assert len(set(shown)) == 2


async def test_certificates_are_read_for_a_session_of_valkey_and_not_for_each_command(
    house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client asks for a connection before each command; a context of its own costs thirty commands."""
    made = []
    plain = ssl.create_default_context

    def create(*words: Any, **named: Any) -> ssl.SSLContext:
        made.append(named)
        return plain(*words, **named)

    monkeypatch.setattr(ssl, "create_default_context", create)
    said, commands = await ping(house, tmp_path, "valkey", times=20)
    assert said == "True"
    assert sum(one.upper() == b"PING" for one in commands) == 20
    assert len(made) == 1


async def test_a_valkey_whose_certificate_is_revoked_hears_no_password(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, dt.datetime.now(dt.UTC))
    stale = tmp_path / "stale"
    shutil.copytree((tls_dir(tmp_path, "idc") / CURRENT).resolve(), stale)
    put_in_force(tmp_path, issue(tmp_path, dt.datetime.now(dt.UTC)))
    revoke_older(tmp_path, dt.datetime.now(dt.UTC))
    fake, own = FakeValkey(), tls_dir(tmp_path, "cloud")
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(stale / "valkey.crt", stale / "valkey.key")
    (tmp_path / "password").write_text("a-secret")
    async with await asyncio.start_server(fake.answer, "127.0.0.1", 0, ssl=serving) as listening:
        at = TlsAddress("127.0.0.1", listening.sockets[0].getsockname()[1], own, "payer")
        async with open_valkey(at, tmp_path / "password", 5.0) as client:
            with pytest.raises(redis.exceptions.ConnectionError, match="revoked"):
                await client.ping()
    assert fake.commands == []


async def test_a_valkey_that_only_the_machine_s_own_authorities_vouch_for_hears_no_password(
    house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    ensure_certificates(other, dt.datetime.now(dt.UTC))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(other)))
    fake = FakeValkey()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*(tls_dir(other, "idc") / CURRENT / f"api.{end}" for end in ("crt", "key")))
    (tmp_path / "crl.pem").symlink_to(tls_dir(house, "cloud") / "crl.pem")
    (tmp_path / CURRENT).symlink_to((tls_dir(house, "cloud") / CURRENT).resolve())
    (tmp_path / "password").write_text("a-secret")
    async with await asyncio.start_server(fake.answer, "127.0.0.1", 0, ssl=serving) as listening:
        at = TlsAddress("127.0.0.1", listening.sockets[0].getsockname()[1], tmp_path, "payer")
        async with open_valkey(at, tmp_path / "password", 5.0) as client:
            with pytest.raises(redis.exceptions.ConnectionError, match="certificate verify failed"):
                await client.ping()
    assert fake.commands == []


async def test_valkey_beyond_the_machine_is_called_by_mutual_tls(house: Path, tmp_path: Path) -> None:
    said, commands = await ping(house, tmp_path, "api")  # its certificate carries the address
    assert said == "True"
    assert b"a-secret" in commands[0]


@pytest.mark.parametrize(("server", "tls"), [("agent", True), ("api", False)])
async def test_a_valkey_that_is_not_ours_hears_no_password(
    house: Path, tmp_path: Path, server: str, tls: bool
) -> None:
    said, commands = await ping(house, tmp_path, server, tls=tls)
    assert said != "True"
    assert not [one for one in commands if b"secret" in one]


def test_there_is_no_plain_valkey_beyond_the_machine() -> None:
    found = dataclasses.replace(SETTINGS, valkey_host="valkey")
    with pytest.raises(ValueError, match="valkey_host is valkey and tls_dir is not set"):
        found.valkey_address("api")
    assert dataclasses.replace(found, valkey_host="127.0.0.1").valkey_address("api") == found.valkey_port
