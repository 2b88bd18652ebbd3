"""Run the probes and make readings of what they say. A probe that cannot ask makes an unknown reading."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from compliance.controls.catalogue import Catalogue, Scope
from compliance.controls.ground import Ground, SiteProbe, SystemProbe
from compliance.controls.probes import archives, cluster, databases, doors, host, people, trail
from compliance.controls.readings import SYSTEM, Reading, make_reading

PATIENCE_S = 120.0
"""Patience with one probe. Source: our choice; verifying a day's trail takes seconds."""

SITE_PROBES: Mapping[str, SiteProbe] = {
    "transport": databases.read_transport,
    "tls": doors.read_tls,
    "mutual-tls": doors.read_mutual_tls,
    "ports": doors.read_ports,
    "passwords": databases.read_passwords,
    "rights": databases.read_rights,
    "audit-coverage": trail.read_coverage,
    "audit-chain": trail.read_chain,
    "audit-retention": trail.read_retention,
    "integrity": databases.read_integrity,
    "sealed": databases.read_sealed,
    "backups": archives.read_backups,
    "backup-policy": archives.read_backup_policy,
    "monitoring": doors.read_monitoring,
    "baseline": host.read_baseline,
    "key-custody": host.read_key_custody,
    "capacity": host.read_capacity,
    "replication": databases.read_replication,
}
SYSTEM_PROBES: Mapping[str, SystemProbe] = {
    "lockout": people.drill_lockout,
    "second-factor": people.read_second_factor,
    "accounts": people.read_accounts,
    "separation": people.read_separation,
    "local-copy": archives.read_local_copy,
    "locations": archives.read_locations,
    "restore-elsewhere": archives.read_restore_elsewhere,
    "failover": host.read_failover,
    "algorithms": host.read_algorithms,
    "software": host.read_software,
}
_FILES = "its files lie in pods"
_ARCHIVES = "its archives lie on volumes of pods, which `biyi backup status` reads there"
_ACCOUNTS = "accounts are in a database, ask in a pod of the site"
CLUSTER_PROBES: Mapping[str, Any] = {
    "ports": cluster.read_ports,
    "baseline": cluster.read_baseline,
    "software": cluster.read_software,
    "replication": cluster.read_replication,
    **{
        name: cluster.not_from_outside(why)
        for why, names in {
            "it needs a certificate of the house, ask in a pod of the site": ("tls", "mutual-tls"),
            "figures are told to the cluster's own Prometheus, which rings": ("monitoring",),
            "rooms and loads of nodes are the cluster's to tell": ("capacity",),
            "this machine's engines are not the pods'; each process tests its own at its start": (
                "algorithms",
            ),
            "a drill's evidence lies where it was run": ("failover",),
            "the trail is exported in a pod; `biyi audit verify` then verifies it anywhere": ("audit-chain",),
            _FILES: ("key-custody",),
            _ARCHIVES: ("backups", "backup-policy", "local-copy", "locations", "restore-elsewhere"),
            _ACCOUNTS: ("lockout", "second-factor", "accounts", "separation"),
        }.items()
        for name in names
    },
    **{
        name: cluster.where_passwords_are(SITE_PROBES[name])
        for name in (
            "transport", "passwords", "rights", "audit-coverage", "audit-retention", "integrity", "sealed",
        )
    },
}  # fmt: skip
"""Every probe, where API servers of clusters are all that is asked: what they tell, or why they cannot."""


async def gather_readings(
    ground: Ground, catalogue: Catalogue, on_done: Callable[[str, int, int], None] = lambda *_: None
) -> list[Reading]:
    """Ask every probe everywhere; those whose readings age fastest last. Never raises for a probe."""
    todo: list[tuple[str, str, Any]] = []
    outside = ground.form == "cluster"
    of_system, of_site = (CLUSTER_PROBES,) * 2 if outside else (SYSTEM_PROBES, SITE_PROBES)
    for probe in sorted(catalogue.probes.values(), key=lambda one: -one.max_age_s):
        if probe.scope is Scope.SYSTEM:
            todo.append((probe.name, SYSTEM, of_system[probe.name](ground)))
        else:
            todo += [
                (probe.name, where, of_site[probe.name](ground, site)) for where, site in ground.sites.items()
            ]
    readings = []
    for number, (name, where, work) in enumerate(todo, 1):
        readings.append(await _read(ground, name, where, work))
        on_done(f"{name} at {where}", number, len(todo))
    return readings


async def _read(ground: Ground, name: str, where: str, work: Any) -> Reading:
    at = ground.read_now()
    try:
        facts = await asyncio.wait_for(work, PATIENCE_S)
        json.dumps(facts, allow_nan=False)
    except Exception as error:  # noqa: BLE001 - a loop's edge: whatever a probe meets is not known, never green
        return make_reading(name, where, at, None, f"{type(error).__name__}: {str(error)[:200]}")
    return make_reading(name, where, at, facts)
