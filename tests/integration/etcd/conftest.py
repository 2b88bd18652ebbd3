"""One real etcd member for each test."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks.stand.binaries import find_etcd
from tests.integration.etcd.members import Member
from tests.integration.postgres.places import free_port


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Member]:
    url, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    flags = {
        "name": "only", "data-dir": str(tmp_path / "etcd"), "listen-client-urls": url,
        "advertise-client-urls": url, "listen-peer-urls": peer, "initial-advertise-peer-urls": peer,
        "initial-cluster": f"only={peer}", "log-level": "error",
    }  # fmt: skip
    command = [str(find_etcd()[0]), *(f"--{name}={value}" for name, value in flags.items())]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Member(url, process)
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
