"""The documents that the site's processes are started with. Pure.

They have the shapes that `replication.settings`, `replication.platform.settings` and
`core_app.funding.settings` read; infra may not import those, so a test reads every document back with them.
"""

from infra.settings import DATA_SITES, DataSiteName
from infra.topology import ZONE, Copy, Topology

POSTGRES_PORT, AGENT_PORT, API_PORT, VALKEY_PORT = 5432, 7000, 8080, 6379
PROJECTOR_PORT, PAYER_PORT, NOTARY_PORT, STEWARD_PORT, WATCHER_PORT = 7100, 7200, 7300, 7400, 7500
ETCD_CLIENT_PORT, ETCD_PEER_PORT, ETCD_METRICS_PORT = 2379, 2380, 2381
HEALTH_PORT = 7900
SETTINGS = "/etc/biyi/settings"
SITE_SETTINGS = f"{SETTINGS}/site.json"
HOME, KEYS, TLS = "/var/lib/biyi", "/run/biyi/keys", "/etc/biyi/tls"
IDENTITY = "/run/biyi/identity"
"""The process's directory of certificates (`replication.tls`): links to `TLS`, and its own `loaded`."""
OWN = "own"
"""Name of the process's own certificate and key there, for PostgreSQL (`replication.transport`)."""
SIGN_KEY = "sign.key"
"""The site's own key of its audit trail; only the notary's pod has it."""
ARCHIVE, STAGING = "/var/lib/biyi-backup", "/var/lib/biyi-staging"
"""Sealed backups and WAL on a volume of their own: what loses a copy's volume must not lose its archive. And
where a backup is unpacked in clear to be verified: it ends with the pod, and filling up it stops no copy."""
PG_BIN = "/usr/lib/postgresql/18/bin"
EXPOSURE = "select commits, moved_fen from core.money_posted_since(%(since)s::text::pg_snapshot)"

Document = dict[str, object]


def site_document(topology: Topology, site: DataSiteName, own: Copy | None = None) -> Document:
    """Return `site.json` for a process at `site`; `own` is the copy it looks after, if it is an agent."""
    etcd = topology.etcd_hosts()
    order = [site, *(other for other in etcd if other != site)]
    found: Document = {
        "site": site,
        "home_dir": HOME,
        "etcd_urls": [f"https://{etcd[name]}:{ETCD_CLIENT_PORT}" for name in order],
        "cells": [
            {"name": cell.name, "home": cell.home, "degrade": cell.degrade}
            for cell in topology.settings.cells
        ],
        "places": [_place(copy, own) for copy in topology.copies],
        "agent_urls": {name: f"https://agent.{name}.{ZONE}:{AGENT_PORT}" for name in DATA_SITES},
        "agent_port": AGENT_PORT,
        "api_port": API_PORT,
        "valkey_port": VALKEY_PORT,
        "pg_bin": PG_BIN,
        "passfile": f"{KEYS}/pgpass",
        "key_file": f"{KEYS}/ring.json",
        "valkey_passfile": f"{KEYS}/valkey",
        "projector_port": PROJECTOR_PORT,
        "notary_port": NOTARY_PORT,
        "watcher_port": WATCHER_PORT,
        "audit_key_file": f"{KEYS}/{SIGN_KEY}",
        "tls_dir": IDENTITY,
        "health_port": HEALTH_PORT,
        "listen_host": "0.0.0.0",  # noqa: S104 - a pod's own address; NetworkPolicy says who may ask
        "valkey_host": "valkey",
        "exposure_query": EXPOSURE,
    }
    if is_archived(own):
        found["backup"] = {"directory": ARCHIVE, "staging": f"{STAGING}/biyi"}
    return found


def is_archived(copy: Copy | None) -> bool:
    """Say whether a copy's pod keeps its cell's archive at the site: the cell's first copy there does."""
    return copy is not None and copy.ordinal == 0


def _place(copy: Copy, own: Copy | None) -> Document:
    found: Document = {
        "name": copy.place,
        "cell": copy.cell,
        "site": copy.site,
        "ordinal": copy.ordinal,
        "host": copy.host,
        "port": POSTGRES_PORT,
        "tls_dir": IDENTITY,
        "agent_url": f"https://{copy.host}:{AGENT_PORT}",
    }
    if copy == own:
        found |= {"data_dir": f"{HOME}/copy"}
    return found


def platform_document(topology: Topology, site: DataSiteName) -> Document:
    """Return `platform.json` for the steward at `site`; each copy's agent is asked at the copy's own name."""
    data = topology.settings.site(site)
    return {
        "namespace": "biyi",
        "addresses": {copy.place: copy.address for copy in topology.copies},
        "agents": {copy.place: f"https://{copy.host}:{AGENT_PORT}" for copy in topology.copies},
        "api_replicas_min": data.api_replicas_min,
        "api_replicas_burst": data.api_replicas_burst,
        "metrics_port": STEWARD_PORT,
    }


def channels_document(topology: Topology) -> Document:
    """Return `channels.json`: no bank is connected yet, so no channel stands in it."""
    del topology
    return {"channels": [], "status_port": PAYER_PORT}
