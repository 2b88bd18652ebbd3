"""A server whose build has OpenSSL, as a cluster's copy is set up: who gets in, and who is refused.

The wheel has no OpenSSL. Taken is the build in $BIYI_PG_TLS_BIN, else the system's (`apt-get install
postgresql`), of whatever major: only how it listens and whom it lets in is put to the test.
"""

import asyncio
import datetime as dt
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509

from replication.model import Site
from replication.postgres import hba, renewal
from replication.postgres.copy import ADMIN, Copy, give_to_owner
from replication.postgres.observe import connect_admin
from replication.postgres.renewal import keep_telling, tell_renewed
from replication.settings import PlaceSettings
from replication.tls import CURRENT, PARTNERS, REVOKED, Identity
from replication.transport import OWN, plan_calling, plan_listening
from runbooks.stand.certificates import (
    ensure_certificates,
    issue,
    put_in_force,
    revoke_older,
    tls_dir,
)
from tests.integration.postgres.places import free_port, make_home, until
from tests.unit.infra.kubelet import mount_renewed
from tests.unit.replication.test_observe import SETTINGS

PASSWORD = f"pw-{ADMIN}"
OF_A_HANDSHAKE = "unknown ca|certificate|closed the connection|reset by peer"
"""What a refused client hears: in TLS 1.3 it may be writing already, and miss the alert that says why."""


def find_build() -> Path | None:
    """Return the directory of programs of a server with OpenSSL."""
    named = os.environ.get("BIYI_PG_TLS_BIN")
    found = [Path(named)] if named else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for directory in found:
        if (directory / "initdb").exists() and (directory / "pg_config").exists():
            asked = [directory / "pg_config", "--configure"]
            told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
            if "--with-openssl" in told or "--with-ssl=openssl" in told:
                return directory
    return None


BUILD = find_build()
pytestmark = pytest.mark.skipif(
    BUILD is None, reason="NOT TESTED: PostgreSQL by TLS; no build with OpenSSL (BIYI_PG_TLS_BIN)"
)


@dataclass(frozen=True)
class House:
    """The server and the certificates of who calls it."""

    home: Path
    copy: Copy

    def identity(self, kind: str, where: str = "cloud") -> Path:
        """Return the directory of certificates as a pod of this kind has it."""
        folder = self.home / f"pod-{where}-{kind}"
        if not folder.exists():
            folder.mkdir()
            made = tls_dir(self.home, where)
            shutil.copytree(made / os.readlink(made / CURRENT), folder / "1")
            (folder / CURRENT).symlink_to("1")
            for end in ("crt", "key"):
                (folder / f"{OWN}.{end}").symlink_to(f"1/{kind}.{end}")
        (folder / REVOKED).write_bytes((tls_dir(self.home, "cloud") / REVOKED).read_bytes())
        return folder

    def called_by(self, kind: str, where: str = "cloud", **other: Any) -> PlaceSettings:
        """Return the copy's place as a process of this kind is told it."""
        return replace(self.copy.place, tls_dir=self.identity(kind, where), **other)

    def run(self, *words: str | Path) -> None:
        """Run one of the server's programs as its user."""
        as_user: dict[str, Any] = {"user": self.copy.run_as, "extra_groups": []} if self.copy.run_as else {}
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", timeout=60, check=False,
            **as_user,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stderr)


@contextmanager
def open_house() -> Iterator[House]:
    """Make certificates and a server, both of the moment."""
    assert BUILD is not None
    home = make_home()
    ensure_certificates(home, dt.datetime.now(dt.UTC))
    data = home / "copies" / "data"
    data.parent.mkdir()
    place = PlaceSettings("a-cloud-0", "a", Site.CLOUD, 0, "127.0.0.1", free_port(), data)
    made = House(home, Copy(place, BUILD, "nobody" if os.getuid() == 0 else None, home / "pgpass"))
    # `api` has a certificate that carries the address: a copy's pod is called by address.
    own = made.identity("api")
    made = replace(made, copy=replace(made.copy, place=replace(place, tls_dir=own)))
    for path in (data.parent, own, *own.rglob("*")):
        give_to_owner(made.copy, path)
    password = home / "password"
    password.write_text(PASSWORD)
    give_to_owner(made.copy, password)
    made.run(BUILD / "initdb", "-D", data, "-U", ADMIN, "-A", "scram-sha-256", f"--pwfile={password}")
    settings = "".join(f"{name} = '{value}'\n" for name, value in plan_listening(made.copy.place).items())
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(settings + "fsync = off\n")
    hba.write_open(made.copy)
    made.run(BUILD / "pg_ctl", "-D", data, "-w", "-l", data / "log", "start")
    try:
        yield made
    finally:
        made.run(BUILD / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with open_house() as made:
        yield made


async def call(place: PlaceSettings, **other: Any) -> psycopg.AsyncConnection[Any]:
    """Connect as our own processes do, but for `other`."""
    words = plan_calling(place) | {"user": ADMIN, "password": PASSWORD, "dbname": "postgres"} | other
    return await psycopg.AsyncConnection.connect(**words, connect_timeout=5)


async def test_our_own_get_in_by_tls_13_each_under_its_name(house: House) -> None:
    place = house.called_by("payer", "idc")
    async with await connect_admin(place, house.copy.passfile, dbname="postgres", timeout_seconds=5) as conn:
        query = "select version, client_dn from pg_stat_ssl where pid = pg_backend_pid()"
        assert await (await conn.execute(query)).fetchone() == ("TLSv1.3", "/CN=payer.idc")


NO_CERTIFICATE = "requires a valid client certificate|certificate required"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "in clear": ({"sslmode": "disable", "channel_binding": "disable"}, "no encryption"),
    "without a certificate": ({"sslcertmode": "disable"}, NO_CERTIFICATE),
    "with an older protocol": (
        {"ssl_min_protocol_version": "TLSv1.2", "ssl_max_protocol_version": "TLSv1.2"},
        "protocol version",
    ),
    "with another password": ({"password": "pw-other"}, "password authentication failed"),
}


@pytest.mark.parametrize("how", REFUSED)
async def test_nobody_gets_in_with_less(house: House, how: str) -> None:
    other, words = REFUSED[how]
    with pytest.raises(psycopg.OperationalError, match=words):
        await call(house.called_by("payer"), **other)


async def test_a_bank_s_certificate_opens_nothing_of_ours(house: House) -> None:
    bank = next((tls_dir(house.home, "outside") / CURRENT).glob("*.key"))
    own = {"sslcert": str(bank.with_suffix(".crt")), "sslkey": str(bank)}
    with pytest.raises(psycopg.OperationalError, match=OF_A_HANDSHAKE):
        await call(house.called_by("payer"), **own)


async def test_a_server_that_is_not_the_copy_is_not_believed(house: House) -> None:
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        await call(house.called_by("payer", host="127.0.0.2"))
    others = tls_dir(house.home, "outside") / CURRENT / PARTNERS
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        await call(house.called_by("payer"), sslrootcert=str(others), sslcrl="")


async def test_a_revoked_certificate_opens_nothing_after_the_next_reload() -> None:
    with open_house() as house:
        stolen = house.called_by("notary")
        async with await call(stolen):
            pass
        put_in_force(house.home, issue(house.home, dt.datetime.now(dt.UTC)))
        revoke_older(house.home, dt.datetime.now(dt.UTC))
        server = house.copy.place.tls_dir
        assert server is not None
        (server / REVOKED).write_bytes((tls_dir(house.home, "cloud") / REVOKED).read_bytes())
        house.run(house.copy.pg_bin / "pg_ctl", "-D", house.copy.data_dir, "reload")

        async def is_refused() -> bool:
            try:
                async with await call(stolen, sslcrl=""):  # the thief does not judge the server
                    return False
            except psycopg.OperationalError as error:
                return re.search(OF_A_HANDSHAKE, str(error)) is not None

        await until(is_refused, "the revoked certificate is refused", 5)
        async with await call(house.called_by("payer"), sslcrl=""):  # of the new generation
            pass


def renew(house: House, pod: Path) -> None:
    """Renew a pod's certificates under its processes, as the kubelet does."""
    mount_renewed(house.home, pod / "tls")
    for path in (pod, *pod.rglob("*")):
        give_to_owner(house.copy, path)


def shown_by(house: House) -> int:
    """Return the serial number of the certificate that the server shows to who connects now."""
    identity = Identity(tls_dir(house.home, "cloud"), "payer")
    context = identity.to("api")
    assert isinstance(context, ssl.SSLContext)
    with socket.create_connection(("127.0.0.1", house.copy.place.port), timeout=5) as raw:
        raw.sendall(bytes((0, 0, 0, 8, 4, 210, 22, 47)))  # SSLRequest
        assert raw.recv(1) == b"S"
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        end = context.wrap_bio(inward, outward)
        while True:
            try:
                end.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outward.read())
                inward.write(raw.recv(1 << 14))
        shown = end.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


async def test_a_renewed_certificate_is_shown_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_house() as house:
        assert house.copy.place.tls_dir is not None
        pod = house.home / "pod"
        (pod / "tls").mkdir(parents=True)
        for name in (CURRENT, REVOKED, f"{OWN}.crt", f"{OWN}.key"):
            meant = {CURRENT: "..data", REVOKED: REVOKED}.get(name, name.replace(OWN, "api"))
            (pod / name).symlink_to(f"tls/{meant}")
        renew(house, pod)
        house = replace(house, copy=replace(house.copy, place=replace(house.copy.place, tls_dir=pod)))
        settings = plan_listening(house.copy.place)
        with (house.copy.data_dir / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        told: dict[str, tuple[str, int]] = {}
        assert tell_renewed([house.copy], told) == ["a-cloud-0"], "a server that is found running is told"
        assert tell_renewed([house.copy], told) == []
        first = serial_of(pod)

        async def shows(serial: int) -> bool:
            return shown_by(house) == serial

        await until(partial(shows, first), "the pod's certificate is shown", 5)
        put_in_force(house.home, issue(house.home, dt.datetime.now(dt.UTC)))
        assert shown_by(house) == first
        renew(house, pod)
        assert serial_of(pod) != first
        assert tell_renewed([house.copy], told) == ["a-cloud-0"]
        await until(partial(shows, serial_of(pod)), "the renewed certificate is shown", 5)
        put_in_force(house.home, issue(house.home, dt.datetime.now(dt.UTC)))
        monkeypatch.setattr(renewal, "LOOK_SECONDS", 0.05)
        own = {
            "site": Site.CLOUD,
            "places": (house.copy.place,),
            "pg_bin": BUILD,
            "run_as": house.copy.run_as,
        }
        agents = asyncio.create_task(keep_telling(replace(SETTINGS, **own)))
        renew(house, pod)
        await until(partial(shows, serial_of(pod)), "the agent told of the next renewal", 5)
        agents.cancel()


def serial_of(pod: Path) -> int:
    return x509.load_pem_x509_certificate((pod / f"{OWN}.crt").read_bytes()).serial_number
