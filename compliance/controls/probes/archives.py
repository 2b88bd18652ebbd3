"""What the archives of backups say, and where copies and archives lie."""

import datetime as dt
from typing import Any

from compliance.controls.ground import Facts, Ground, SiteGround
from replication.backup.archive import Archive, current_archive
from replication.backup.health import Health, read_health
from replication.backup.plan import Kind
from replication.backup.sealed import open_backup_key
from replication.settings import BackupSettings

HOME = "idc"
"""The data centre of our own, whose backups are local ones (8.2.4.6 a)."""


def _archives(site: SiteGround) -> list[tuple[str, Archive | None, BackupSettings]]:
    backup = site.settings.backup
    if backup is None:
        return []
    key = open_backup_key(site.settings.key_file)
    return [
        (cell.name, current_archive(backup.directory, cell.name, key), backup) for cell in site.settings.cells
    ]


def _health(archive: Archive | None, backup: BackupSettings, now: dt.datetime) -> Health | None:
    return None if archive is None else read_health(archive, now, backup.lag_limit)


def _hours(now: dt.datetime, then: dt.datetime) -> float:
    return round((now - then).total_seconds() / 3600, 2)


async def read_backups(ground: Ground, site: SiteGround) -> Facts:
    """Read how old each cell's full backup and last verified restore are, and what a restore would miss."""
    now, findings, ages, restores = ground.read_now(), [], [], []
    found = _archives(site)
    for cell, archive, backup in found:
        health = _health(archive, backup, now)
        if health is None:
            findings.append(f"{cell}: nothing was ever archived")
            continue
        findings += [f"{cell}: {text}" for text in health.findings]
        if health.newest_full is not None:
            ages.append(_hours(now, health.newest_full.backup.ended))
        restores.append(_restore_days(health, now))
    facts: Facts = {"archives": sum(archive is not None for _, archive, _ in found), "findings": findings}
    if ages and len(ages) == len(found):
        facts["full_age_h_most"] = max(ages)
    known = [days for days in restores if days is not None]
    if known and len(known) == len(found):
        facts["restore_age_days_most"] = max(known)
    return facts


def _restore_days(health: Health, now: dt.datetime) -> int | None:
    if health.last_restore is None:
        return None
    return (now - dt.datetime.fromisoformat(str(health.last_restore["at"]))).days


async def read_backup_policy(_: Ground, site: SiteGround) -> Facts:
    """Compare each archive with the policy that the site was given."""
    backup = site.settings.backup
    if backup is None:
        return {"stated": False, "off_policy": []}
    off = []
    for cell, archive, _settings in _archives(site):
        stored = archive.stored() if archive is not None else []
        fulls = [one for one in stored if one.backup.kind is Kind.FULL]
        # One more than is kept: the older is dropped once the newer has been verified.
        if not fulls or len(fulls) > backup.keep_full + 1:
            off.append(f"{cell}: {len(fulls)} full backups, policy keeps {backup.keep_full}")
    return {
        "stated": True, "off_policy": off, "full_every_s": backup.full_every,
        "incremental_every_s": backup.incremental_every, "keep_full": backup.keep_full,
        "manner": "base backups and WAL, sealed with SM4-GCM", "medium": "directory of the site",
    }  # fmt: skip


async def read_local_copy(ground: Ground, _site: SiteGround | None = None) -> Facts:
    """Read the data centre's own archives of every cell."""
    now, without, ages = ground.read_now(), [], []
    found = _archives(ground.sites[HOME])
    for cell, archive, backup in found:
        health = _health(archive, backup, now)
        if health is None or health.newest_full is None:
            without.append(cell)
        else:
            ages.append(_hours(now, health.newest_full.backup.ended))
    cells = {cell.name for cell in ground.sites[HOME].settings.cells}
    without += sorted(cells - {cell for cell, _, _ in found})
    facts: Facts = {"without_local_backup": without}
    return facts | ({"full_age_h_most": max(ages)} if ages else {})


async def read_locations(ground: Ground) -> Facts:
    """List where every copy and archive lies."""
    listing: list[dict[str, Any]] = []
    for name, site in ground.sites.items():
        listing += [
            {"what": f"copy {place.name}", "site": str(place.site)} for place in site.settings.own_places()
        ]
        listing += [
            {"what": f"archive of {cell}", "site": name}
            for cell, archive, _ in _archives(site)
            if archive is not None
        ]
    known = {one["what"].removeprefix("copy ") for one in listing if one["what"].startswith("copy ")}
    anyone = next(iter(ground.sites.values())).settings
    return {
        "copies": len(listing), "listing": listing,
        "unplaced": sorted(place.name for place in anyone.places if place.name not in known),
    }  # fmt: skip


async def read_restore_elsewhere(ground: Ground) -> Facts:
    """Read how long ago data were last brought up afresh from an archive, and verified."""
    now = ground.read_now()
    days = [
        restored
        for site in ground.sites.values()
        for _, archive, backup in _archives(site)
        if (health := _health(archive, backup, now)) is not None
        and (restored := _restore_days(health, now)) is not None
    ]
    return {"restores_known": len(days)} | ({"restore_age_days": min(days)} if days else {})
