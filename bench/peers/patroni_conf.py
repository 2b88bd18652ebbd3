"""Patroni's configuration of one node: the fastest that it accepts. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replication.model import Site
from replication.postgres.conf import base_settings
from replication.postgres.copy import ADMIN, APP, REPL, Copy
from replication.settings import PlaceSettings
from runbooks.stand.binaries import Postgres
from runbooks.stand.topology import LOOPBACK

DATABASE = "postgres"
TTL_SECONDS, LOOP_WAIT_SECONDS, RETRY_TIMEOUT_SECONDS = 20, 1, 3
"""Source: the least that Patroni 4.1.5 accepts (Config._validate_and_adjust_timeouts); less is raised."""
_PATRONIS_OWN = ("listen_addresses", "port", "hot_standby", "restart_after_crash", "recovery_target_timeline")
"""Settings of ours that Patroni sets itself; all others are the same on both sides."""


@dataclass(frozen=True, slots=True)
class Node:
    """One Patroni with its PostgreSQL."""

    name: str
    port: int
    rest_port: int
    directory: Path


def plan_node(
    node: Node, postgres: Postgres, etcd_urls: Sequence[str], passwords: Mapping[str, str], *, strict: bool
) -> dict[str, Any]:
    """Return what stands in the node's patroni.yml. PostgreSQL's settings are those of our copies."""
    place = PlaceSettings("a-idc-0", "a", Site.IDC, 0, LOOPBACK, node.port, node.directory / "data")
    ours = base_settings(Copy(place, postgres.bin_dir, postgres.run_as, node.directory / "pgpass"))
    parameters = {name: value for name, value in ours.items() if name not in _PATRONIS_OWN}
    return {
        "scope": "peers",
        "name": node.name,
        "log": {"level": "INFO"},
        "restapi": {
            "listen": f"{LOOPBACK}:{node.rest_port}",
            "connect_address": f"{LOOPBACK}:{node.rest_port}",
        },
        "etcd3": {"hosts": [url.removeprefix("http://") for url in etcd_urls]},
        "bootstrap": {
            "dcs": {
                "ttl": TTL_SECONDS,
                "loop_wait": LOOP_WAIT_SECONDS,
                "retry_timeout": RETRY_TIMEOUT_SECONDS,
                "synchronous_mode": True,
                "synchronous_mode_strict": strict,
                "synchronous_node_count": 1,
                "primary_start_timeout": 0,
                "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": parameters},
            },
            "initdb": [
                "data-checksums",
                {"encoding": "UTF8"},
                {"locale": "C"},
                {"locale-provider": "builtin"},
                {"builtin-locale": "C.UTF-8"},
            ],
        },
        "postgresql": {
            "listen": f"{LOOPBACK}:{node.port}",
            "connect_address": f"{LOOPBACK}:{node.port}",
            "bin_dir": str(postgres.bin_dir),
            "data_dir": str(node.directory / "data"),
            "pgpass": str(node.directory / "pgpass"),
            "authentication": {
                "superuser": {"username": ADMIN, "password": passwords[ADMIN]},
                "replication": {"username": REPL, "password": passwords[REPL]},
                "rewind": {"username": ADMIN, "password": passwords[ADMIN]},
            },
            "basebackup": [{"checkpoint": "fast"}],
            "pg_hba": [
                f"host all         {ADMIN},{APP}  {LOOPBACK}/32 scram-sha-256",
                f"host replication {REPL}         {LOOPBACK}/32 scram-sha-256",
            ],
        },
        "watchdog": {"mode": "off"},
    }  # fmt: skip
