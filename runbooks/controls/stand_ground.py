"""The stand as the probes see it: doors, sockets of its processes, records, the accounts' cell."""

import asyncio
import contextlib
import datetime as dt
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from compliance.access.desk import Desk
from compliance.audit.signing import read_signer
from compliance.audit.verify import verify_export
from compliance.controls.attest import list_attestations
from compliance.controls.ground import Door, Ground, Metrics, SiteGround, Trail
from replication.model import DATA_SITES, Site
from replication.settings import SiteSettings
from replication.tls import PROMETHEUS, Identity
from runbooks.audit_source import export_stand, read_keys
from runbooks.cells import site_settings
from runbooks.lending_core import open_portal
from runbooks.stand import doors as stand_doors
from runbooks.stand.certificates import tls_dir
from runbooks.stand.home import default_home
from runbooks.stand.processes import read_pids
from runbooks.stand.sites import pids_path
from runbooks.stand.topology import LOOPBACK, Stand, audit_key_path, read_stand

BASELINE_ITEM = "8.1.10.8.a"
"""The item whose attested document is the approved baseline."""
METRICS = ("agent", "api", "projector", "payer", "notary")
"""Processes that tell figures. Source: infra/observability, one job each."""


@asynccontextmanager
async def open_stand_ground() -> AsyncIterator[Ground]:
    """Yield the stand of $BIYI_HOME; StandError without one, CellUnavailable when accounts are away."""
    home = default_home()
    stand = read_stand(home)
    settings = site_settings()
    async with open_portal() as portal:
        yield Ground(
            form="stand",
            sites={str(site): _site_ground(stand, site, settings[site]) for site in DATA_SITES},
            desk=portal.desk,
            drills=home / "evidence",
            baseline=baseline_path(home),
            verify_trail=_once(lambda: _verify_trail(stand, settings[Site.IDC])),
            approved_baseline_sm3=lambda: _approved_baseline(portal.desk),
            read_now=_read_now,
        )


def baseline_path(home: Path) -> Path:
    """Return where the baseline that two people approve lies."""
    return home / "controls" / "baseline.json"


def _read_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - a command is a shell: it reads the clock


def _site_ground(stand: Stand, site: Site, settings: SiteSettings) -> SiteGround:
    figures = Identity(tls_dir(stand.home, site), PROMETHEUS)
    allowed = {port for name, port in stand.ports.items() if name.startswith(f"{site}/")}
    return SiteGround(
        settings=settings,
        doors=[
            _door(stand, door) for door in stand_doors.doors_of(stand) if door.name.startswith(f"{site}/")
        ],
        metrics=[
            Metrics(
                f"{site}/{name}",
                f"https://{LOOPBACK}:{stand.port(site, name)}/metrics",
                _tls(figures.to(name)),
            )
            for name in METRICS
        ],
        listening=lambda: read_listening(stand, site),
        allowed_ports=frozenset(allowed),
        logs=stand.site_dir(site) / "logs",
    )


def _door(stand: Stand, door: stand_doors.Door) -> Door:
    context = _tls(stand_doors.context_for(stand, door))
    return Door(door.name, LOOPBACK, door.port, context, door.words, door.caller is not None)


def _tls(context: ssl.SSLContext | bool) -> ssl.SSLContext:
    if isinstance(context, bool):
        raise TypeError("a stand without certificates: `biyi stand up` makes them")
    return context


def read_listening(stand: Stand, site: Site) -> list[tuple[str, int, str]]:
    """Return every TCP socket that processes of the site listen at: the system's word, not the stand's."""
    found = []
    for running in read_pids(pids_path(stand.home, site)).values():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(running.pid)
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found += [
                        (str(at.laddr.ip), int(at.laddr.port), one.name())
                        for at in one.net_connections("tcp")
                        if at.status == psutil.CONN_LISTEN
                    ]
    return found


def _once(work: Callable[[], Coroutine[Any, Any, Trail]]) -> Callable[[], Awaitable[Trail]]:
    """Return a way to ask for something dear that is done once, however often it is asked for."""
    running: list[asyncio.Task[Trail]] = []

    def ask() -> Awaitable[Trail]:
        if not running:
            running.append(asyncio.create_task(work()))
        return asyncio.shield(running[0])

    return ask


async def _verify_trail(stand: Stand, settings: SiteSettings) -> Trail:
    """Export the whole trail and verify it with the sites' public keys, as an auditor would."""
    signer = read_signer(audit_key_path(stand, Site.IDC))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "now.audit"
        await export_stand(settings, stand.home, path, signer, lambda *_: None)
        report = await asyncio.to_thread(verify_export, path, read_keys(stand.home), workers=1)
    anchored = len(report.checkpoints) == len(DATA_SITES) and all(report.checkpoints.values())
    return Trail(report.entries, tuple(f"{one.defect}: {one.text}" for one in report.findings), anchored)


async def _approved_baseline(desk: Desk) -> str | None:
    """Return the hash of the newest baseline that two people approved."""
    approved = [
        one
        for one in await list_attestations(desk)
        if one.item == BASELINE_ITEM and one.holds and one.confirmed_by and not one.withdrawn
    ]
    return approved[-1].document_sm3 if approved else None
