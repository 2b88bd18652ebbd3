"""A Secret renewed under a running pod: its process presents the new certificate, without a restart."""

import datetime as dt
import subprocess
from pathlib import Path
from typing import Any

from cryptography import x509

from infra.workloads.documents import IDENTITY, TLS
from infra.workloads.pods import identity_linked
from replication.tls import Identity
from replication.transport import OWN
from runbooks.stand.certificates import ensure_certificates, issue, put_in_force, revoke_older, tls_dir
from runbooks.stand.doors import Door, knock
from tests.unit.infra.kubelet import mount_renewed
from tests.unit.replication.test_tls import serving


def serial_of(certificate: Path) -> int:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number


async def test_what_the_pods_preparation_lays_out_follows_a_renewed_secret(tmp_path: Path) -> None:
    home, volume, identity = tmp_path / "home", tmp_path / "tls", tmp_path / "identity"
    for folder in (home, volume, identity):
        folder.mkdir()
    ensure_certificates(home, dt.datetime.now(dt.UTC))
    mount_renewed(home, volume)
    first = serial_of(volume / "agent.crt")
    prepared: Any = identity_linked("image", "agent")
    words = [str(word) for word in (*prepared.command, *prepared.args)]
    words = [word.replace(TLS, str(volume)).replace(IDENTITY, str(identity)) for word in words]
    subprocess.run(words, check=True, timeout=10)

    pod, stolen = Identity(identity, "agent"), Identity(tls_dir(home, "idc"), "operator")
    old = stolen.to("agent")
    async with serving(pod) as served:
        door = Door("agent", served.port, "agent", None)
        assert (await knock(door, old)).serial == first
        put_in_force(home, issue(home, dt.datetime.now(dt.UTC)))
        assert not pod.refresh(), "the volume still has the old ones"
        revoke_older(home, dt.datetime.now(dt.UTC))
        mount_renewed(home, volume)
        second = serial_of(volume / "agent.crt")
        assert pod.refresh()
        fresh = await knock(door, Identity(tls_dir(home, "idc"), "operator").to("agent"))
        assert (fresh.refused, fresh.serial) == ("", second)
        assert second != first
        assert (await knock(door, old)).refused, "and what was revoked with the renewal opens nothing"
    assert serial_of(identity / f"{OWN}.crt") == second, "what PostgreSQL's two ends show each other"
