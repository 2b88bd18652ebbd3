"""What the machine and the installed software say: algorithms, key files, packages, drills, baseline."""

import asyncio
import base64
import datetime as dt
import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import psutil

from compliance.audit.digest import compute_sm3
from compliance.controls.ground import Facts, Ground, SiteGround
from compliance.controls.probes.databases import look_into, own_places
from compliance.controls.readings import canonical
from compliance.protection.errors import SelfTestFailed
from compliance.protection.ring_file import read_head, read_ring
from compliance.protection.selftest import run_self_tests

SITE_LOSS = "site-loss"
_GENERATED = (".pyc", "RECORD", "INSTALLER", "REQUESTED", "direct_url.json")

_SETTINGS = """
select name, setting from pg_settings
where source not in ('default', 'override', 'session', 'client') and name not in (
    'port', 'unix_socket_directories', 'primary_conninfo', 'synchronous_standby_names', 'config_file',
    'hba_file', 'data_directory', 'ident_file', 'external_pid_file', 'default_transaction_read_only',
    'statement_timeout',
    'primary_slot_name', 'application_name', 'client_encoding', 'recovery_target_timeline', 'max_wal_size')
order by name
"""


async def read_algorithms(_: Ground) -> Facts:
    """Run the known-answer and cross-engine tests of this installation."""
    try:
        passed = await asyncio.to_thread(run_self_tests)
    except SelfTestFailed as error:
        return {"tests_passed": 0, "tests_failed": [str(error)]}
    return {"tests_passed": len(passed), "tests_failed": [], "tests": list(passed)}


async def read_key_custody(_: Ground, site: SiteGround) -> Facts:
    """Read where the site's root key lies and who may read its files.

    The ring is opened: what its head says in clear is bound to what is sealed, so a head that lies does not.
    """
    ring = site.settings.key_file
    files = [ring, *sorted(ring.parent.glob("*.key")), site.settings.passfile]
    opened = [path.name for path in files if path.stat().st_mode & 0o077]
    facts: Facts = {"readable_by_others": opened, "files": len(files)}
    if opened:  # whoever opens such files refuses them, and so does reading the head
        return facts
    head = read_head(ring)
    await asyncio.to_thread(read_ring, ring)
    return facts | {
        "root_kind": str(head.root["kind"]), "holders": len(head.holders), "key_versions": head.states,
    }  # fmt: skip


async def read_software(_: Ground) -> Facts:
    """Compare every installed package's files with the hashes its publisher gave it."""
    return await asyncio.to_thread(_compare_packages)


def _compare_packages() -> Facts:
    checked, altered, packages = 0, [], {}
    for package in importlib.metadata.distributions():
        packages[package.name] = package.version
        for file in package.files or ():
            if file.hash is None or file.hash.mode != "sha256" or str(file).endswith(_GENERATED):
                continue
            path = Path(str(package.locate_file(file)))
            checked += 1
            if not path.is_file() or _sha256(path) != file.hash.value:
                altered.append(str(file))
    return {
        "files_checked": checked, "altered": sorted(altered), "packages": len(packages),
        "packages_sm3": compute_sm3(canonical(packages)).hex(),
    }  # fmt: skip


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def read_capacity(_: Ground, site: SiteGround) -> Facts:
    """Read the room that is left where the site lies."""
    disk, memory = psutil.disk_usage(str(site.settings.home_dir)), psutil.virtual_memory()
    return {
        "disk_free_percent": round(100 - disk.percent, 1),
        "memory_free_percent": round(100 * memory.available / memory.total, 1),
        "load_per_core": round(psutil.getloadavg()[0] / (psutil.cpu_count() or 1), 2),
    }


async def read_failover(ground: Ground) -> Facts:
    """Read the verdict of the last drill of losing a site, whose folder is named after its time."""
    found = {_held_at(path): path for path in ground.drills.glob(f"*-{SITE_LOSS}-*/verdict.json")}
    if not found:
        return {"drills": 0}
    newest = max(found)
    verdict = json.loads(found[newest].read_text(encoding="utf-8"))["verdict"]
    return {
        "drills": 1, "site_loss_days": max(0, (ground.read_now() - newest).days),
        "site_loss_holds": verdict == "holds", "ended": newest.isoformat(),
    }  # fmt: skip


def _held_at(path: Path) -> dt.datetime:
    """Return when a drill was, as folder or file says, whichever is earlier: none turns new by a touch."""
    written = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
    return min(written, dt.datetime.fromisoformat(path.parent.name.partition("-")[0]))


async def take_baseline(ground: Ground) -> dict[str, Any]:
    """Return the configuration of both sites as plain values, without what differs from hour to hour."""
    taken: dict[str, Any] = {}
    for name, site in sorted(ground.sites.items()):
        databases = {}
        for place in own_places(site):
            async with look_into(site, place) as connection:
                rows = await (await connection.execute(_SETTINGS)).fetchall()
            databases[place.name] = {key: value for key, value in rows}
        taken[name] = {
            "databases": databases,
            "cells": [
                {"name": cell.name, "home": str(cell.home), "degrade": cell.degrade}
                for cell in site.settings.cells
            ],
            "backups": site.settings.backup is not None,
        }
    packages = sorted((one.name, one.version) for one in importlib.metadata.distributions())
    taken["packages_sm3"] = compute_sm3(canonical(packages)).hex()
    return taken


async def read_baseline(ground: Ground, site: SiteGround) -> Facts:
    """Compare the configuration with the baseline that two people approved."""
    name = str(site.settings.site)
    approved_sm3 = await ground.approved_baseline_sm3()
    content = ground.baseline.read_bytes() if ground.baseline.exists() else b""
    now = await take_baseline(ground)
    facts: Facts = {"configuration_sm3": compute_sm3(canonical(now)).hex(), "approved_sm3": approved_sm3}
    if approved_sm3 is None or not content:
        return facts
    if compute_sm3(content).hex() != approved_sm3:
        return facts | {"drift": ["the file of the baseline is not the approved one"]}
    approved = json.loads(content)
    drift = find_drift(approved.get(name), now.get(name), name)
    return facts | {"drift": drift + find_drift(approved["packages_sm3"], now["packages_sm3"], "packages")}


def find_drift(approved: Any, now: Any, path: str) -> list[str]:
    """Return the paths at which two plain values differ."""
    if isinstance(approved, dict) and isinstance(now, dict):
        return [
            one
            for key in sorted(approved.keys() | now.keys())
            for one in find_drift(approved.get(key), now.get(key), f"{path}.{key}")
        ]
    return [] if approved == now else [f"{path}: approved {approved}, now {now}"]
