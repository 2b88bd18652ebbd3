"""A member of etcd, started by the command line of the clusters: who gets in at which port, and renewals."""

import asyncio
import datetime as dt
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from infra.settings import parse_settings
from infra.topology import plan_topology
from infra.workloads.members import etcd_flags, etcd_health
from replication.tls import CURRENT, PROMETHEUS, REVOKED, Identity
from runbooks.stand.binaries import find_etcd
from runbooks.stand.certificates import ensure_certificates, issue, put_in_force, revoke_older, tls_dir
from runbooks.stand.doors import Door, knock
from tests.integration.postgres.places import free_port, until
from tests.integration.stand.strangers import NOT_AN_ANSWER, said_in_clear, trusting
from tests.unit.infra.stage import EXAMPLE

ETCD = find_etcd()[0]
CLIENT, PEER, FIGURES = "2379", "2380", "2381"


@dataclass(frozen=True)
class Member:
    """A running member: its certificates' home, and its ports by what they are in a pod."""

    home: Path
    ports: dict[str, int]

    def door(self, port: str) -> Door:
        """Return one of its listeners."""
        return Door(port, self.ports[port], "etcd", ("idc", PROMETHEUS))

    def identity(self, kind: str) -> Identity:
        """Return somebody's certificates of the generation in force."""
        return Identity(tls_dir(self.home, "idc"), kind)

    async def shows(self, port: str, serial: int) -> bool:
        """Say whether the certificate that it shows is this one."""
        return (await knock(self.door(port), self.identity("operator").to("etcd"))).serial == serial

    def is_healthy(self) -> bool:
        """Ask as the kubelet does."""
        words = [self.here(word) for word in etcd_health()]
        words[0] = str(ETCD.with_name("etcdctl"))
        return subprocess.run(words, capture_output=True, timeout=30).returncode == 0

    def here(self, word: str) -> str:
        """Return a word of a pod's command line as it is on this machine."""
        for port, number in self.ports.items():
            word = word.replace(f":{port}", f":{number}")
        word = word.replace("/etc/biyi/tls/crl.pem", str(tls_dir(self.home, "idc") / REVOKED))
        return word.replace("/etc/biyi/tls", str(tls_dir(self.home, "idc") / CURRENT))


@contextmanager
def running(home: Path, alone: bool = True) -> Iterator[Member]:
    """Start the member of the data centre; `alone`: it is the whole cluster, else two others are away."""
    ensure_certificates(home, dt.datetime.now(dt.UTC))
    member = Member(home, {port: free_port() for port in (CLIENT, PEER, FIGURES)})
    topology = plan_topology(parse_settings(EXAMPLE.read_text(encoding="utf-8"), str(EXAMPLE)))
    flags = etcd_flags(topology, "idc", str(home / "data"), tells_figures=True)
    flags = [member.here(flag.replace("0.0.0.0", "127.0.0.1")) for flag in flags]
    flags = [flag.replace("etcd.idc.biyi.internal", "127.0.0.1") for flag in flags]
    peers = [f"idc=https://127.0.0.1:{member.ports[PEER]}"]
    peers += [] if alone else [f"other{n}=https://127.0.0.1:{free_port()}" for n in (1, 2)]
    flags = [f for f in flags if not f.startswith("--initial-cluster=")]
    flags.append(f"--initial-cluster={','.join(peers)}")
    process = subprocess.Popen([ETCD, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield member
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    with running(tmp_path_factory.mktemp("member")) as made:
        asyncio.run(until(partial(_healthy, made), "the member serves", 60))
        yield made


async def _healthy(member: Member) -> bool:
    return await asyncio.to_thread(member.is_healthy)


async def get(member: Member, port: str, path: str, kind: str = PROMETHEUS) -> tuple[int, str]:
    url = f"https://127.0.0.1:{member.ports[port]}{path}"
    async with (
        aiohttp.ClientSession() as http,
        http.get(url, ssl=member.identity(kind).to("etcd")) as answer,
    ):
        return answer.status, await answer.text()


async def test_prometheus_reads_figures_with_its_certificate_and_nothing_else_there(member: Member) -> None:
    status, text = await get(member, FIGURES, "/metrics")
    assert (status, "etcd_server_has_leader 1" in text) == (200, True)
    async with aiohttp.ClientSession() as http:
        tls = member.identity(PROMETHEUS).to("etcd")
        asked = {"key": "AA==", "range_end": "AA=="}
        url = f"https://127.0.0.1:{member.ports[FIGURES]}/v3/kv/range"
        async with http.post(url, json=asked, ssl=tls) as answer:
            assert answer.status == 404


@pytest.mark.parametrize("port", [CLIENT, PEER, FIGURES])
async def test_no_port_answers_in_clear_or_without_a_certificate(member: Member, port: str) -> None:
    door = member.door(port)
    assert not (await knock(door, member.identity("etcd").to("etcd"))).refused, "nothing is shown by refusals"
    assert (await knock(door, trusting())).refused
    said = await said_in_clear(door)
    assert said == b"" or said.startswith(NOT_AN_ANSWER)


async def test_a_process_of_ours_that_is_no_member_is_no_peer(member: Member) -> None:
    assert (await knock(member.door(PEER), member.identity("payer").to("etcd"))).refused
    assert not (await knock(member.door(CLIENT), member.identity("payer").to("etcd"))).refused


async def test_a_renewal_is_taken_over_without_a_restart_and_the_old_certificates_end(tmp_path: Path) -> None:
    with running(tmp_path) as member:
        await until(partial(_healthy, member), "the member serves", 60)
        stolen = member.identity(PROMETHEUS).to("etcd")
        put_in_force(tmp_path, issue(tmp_path, dt.datetime.now(dt.UTC)))
        pem = (tls_dir(tmp_path, "idc") / CURRENT / "etcd.crt").read_bytes()
        serial = x509.load_pem_x509_certificate(pem).serial_number
        for port in (CLIENT, FIGURES):
            assert await member.shows(port, serial), port
            assert not (await knock(member.door(port), stolen)).refused, port
        revoke_older(tmp_path, dt.datetime.now(dt.UTC))
        for port in (CLIENT, FIGURES):
            assert (await knock(member.door(port), stolen)).refused, port
        assert member.is_healthy()


async def test_a_member_without_the_others_lives_and_is_not_ready(tmp_path: Path) -> None:
    """Its client port answers nobody then: a probe there would restart it as long as the others are away."""
    with running(tmp_path, alone=False) as member:

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", member.ports[FIGURES])
            except OSError:
                return False
            writer.close()
            await writer.wait_closed()
            return True

        await until(listens, "its port of figures listens", 60)
        assert not member.is_healthy()
        assert (await get(member, FIGURES, "/metrics"))[0] == 200
