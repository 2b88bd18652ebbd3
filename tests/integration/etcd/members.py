"""An etcd of one test."""

import subprocess
from dataclasses import dataclass

from replication.etcd import Etcd, EtcdUnavailable
from tests.integration.postgres.places import until


@dataclass(frozen=True, slots=True)
class Member:
    """One etcd of its own."""

    url: str
    process: subprocess.Popen[bytes]


async def until_it_serves(etcd: Etcd) -> None:
    async def serves() -> bool:
        try:
            await etcd.put("/test/up", "x")
        except EtcdUnavailable:
            return False
        return True

    await until(serves, "etcd serves", seconds=60)
