"""`biyi audit export | verify | search | keys | status`: the audit trail, and whether it holds."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import click
import psycopg
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from compliance.audit.errors import AuditError, AuditKeyError, ExportUnreadable
from compliance.audit.signing import PublicKeys, read_public_keys, read_signer, render_public_keys
from compliance.audit.verify import Report, verify_export
from replication.etcd import EtcdUnavailable
from replication.model import Site
from replication.settings import SiteSettings
from replication.tls import calling
from runbooks.audit_search import search_command
from runbooks.audit_source import NoGrant, export_stand, read_keys
from runbooks.cells import site_settings
from runbooks.controls.verifying import begins_as_pack, verify_pack_file
from runbooks.stand.home import default_home

ANSWER_SECONDS = 2.0
"""Patience with a notary's status. Source: our choice; on loopback it takes milliseconds."""
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


@click.group()
def audit() -> None:
    """The tamper-evident audit trail: export it, verify an export anywhere, see the notaries.

    \b
    Once, by hand:   biyi audit keys > auditor-keys.json     (give it to the auditor)
    Each month:      biyi audit export november.audit
    The auditor:     biyi audit verify november.audit --keys auditor-keys.json
    Who did what:    biyi audit search --actor staff:li.wei
    """


audit.add_command(search_command)


@audit.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--site", type=click.Choice(["idc", "cloud"]), default="idc", help="Whose key signs the end.")
@_JSON
def export_command(file: Path, site: str, as_json: bool) -> None:
    """Write the whole trail into FILE: checkpoints, blocks, entries, what the sites remember.

    Entries of the last seconds that no block holds yet are counted, not written. Exit 3: a cell could not be
    read; run it again once `biyi cells` shows it serving.
    """
    settings = site_settings()[Site(site)]
    try:
        plain = _export(settings, file, quiet=as_json)
    except AuditError as error:
        click.echo(f"biyi audit export: {error}", err=True)
        sys.exit(1)
    except (EtcdUnavailable, NoGrant, psycopg.Error, OSError) as error:
        click.echo(f"biyi audit export: {type(error).__name__}: {error}", err=True)
        sys.exit(3)
    if as_json:
        click.echo(json.dumps(plain, ensure_ascii=False))
        return
    click.echo(
        f"{file}: {plain['entries']:,} entries of {plain['cells']} cells, {plain['checkpoints']:,} "
        f"checkpoints; {plain['unsealed']} entries not sealed yet"
    )


def _export(settings: SiteSettings, file: Path, *, quiet: bool) -> dict[str, Any]:
    if settings.audit_key_file is None:
        raise AuditKeyError(f"{settings.home_dir}: the site has no audit key; run `biyi stand up --fresh`")
    signer = read_signer(settings.audit_key_file)
    with Progress(
        "[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), disable=quiet, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("export", total=None)

        def on_rows(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        done = asyncio.run(export_stand(settings, default_home(), file, signer, on_rows))
    return {
        "file": str(file), "bytes": file.stat().st_size, "cells": len(done.cells), "entries": done.entries,
        "checkpoints": sum(mark.number for mark in done.checkpoints.values()), "unsealed": done.unsealed,
    }  # fmt: skip


@audit.command("verify")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--keys", "keys_file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The auditor's list of public keys. Without it: the stand's, if this machine has one.",
)  # fmt: skip
@click.option("--trust-file-keys", is_flag=True, help="Take the keys of the file: proves no origin.")
@click.option("--all-signatures", is_flag=True, help="Check every signature, not each sixtieth of a chain.")
@click.option("--workers", type=click.IntRange(1, 64), default=None, help="Processes; default: all cores.")
@_JSON
def verify_command(file: Path, keys_file: Path | None, as_json: bool, **how: Any) -> None:
    """Verify an export, or an evidence pack of `biyi controls`: needs neither database nor network.

    Names the first bad entry after any deletion, edit, reorder, truncation, splice, replay or forged
    checkpoint. Exit 0: holds; 1: does not; 2: the file or the keys cannot be used.

    \b
    biyi audit verify november.audit --keys auditor-keys.json
    biyi audit verify november.audit --keys auditor-keys.json --json | jq .first
    biyi audit verify controls-000007.pack --keys auditor-keys.json
    """
    try:
        keys = None if how["trust_file_keys"] else _find_keys(keys_file)
        if begins_as_pack(file):
            sys.exit(verify_pack_file(file, keys, as_json=as_json))
        report = _verify(file, keys, how["all_signatures"], how["workers"], quiet=as_json)
    except (ExportUnreadable, AuditKeyError, OSError) as error:
        click.echo(f"biyi audit verify: {error}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(render_report(report), ensure_ascii=False))
    else:
        _tell(file, report)
    sys.exit(0 if report.first is None else 1)


def _find_keys(keys_file: Path | None) -> PublicKeys:
    if keys_file is not None:
        return read_public_keys(keys_file)
    try:
        return read_keys(default_home())
    except AuditKeyError as error:
        raise AuditKeyError(
            f"{error}; give --keys with the list from `biyi audit keys`, or --trust-file-keys"
        ) from error


def _verify(
    file: Path, keys: PublicKeys | None, every: bool, workers: int | None, *, quiet: bool
) -> Report:  # fmt: skip
    with Progress(
        "[progress.description]{task.description}", BarColumn(), DownloadColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), disable=quiet, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("verify", total=None)

        def on_progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return verify_export(file, keys, every_signature=every, workers=workers, on_progress=on_progress)


def render_report(report: Report) -> dict[str, Any]:
    """Return a report as plain values."""
    first = report.first
    return {
        "holds": first is None,
        "first": asdict(first) if first else None,
        "findings": [asdict(finding) for finding in report.findings],
        "entries": report.entries,
        "blocks": report.blocks,
        "checkpoints": report.checkpoints,
        "signatures": report.signatures,
        "unsealed": report.unsealed,
        "keys": report.keys,
        "keys_pinned": report.pinned,
        "exported_at": report.exported_at,
    }


def _tell(file: Path, report: Report) -> None:
    keys = ", ".join(f"{key_id} ({site})" for key_id, site in report.keys.items())
    if not report.pinned:
        click.echo(f"keys are the file's own: compare {keys} with what the sites told you")
    first = report.first
    if first is None:
        click.echo(
            f"{file}: holds. {report.entries:,} entries in {report.blocks:,} blocks, "
            f"{sum(report.checkpoints.values()):,} checkpoints, {report.signatures} signatures checked; "
            f"{report.unsealed} entries were not sealed yet at {report.exported_at}"
        )
        return
    where = f"{first.where}, number {first.number}" if first.number else first.where
    click.echo(f"{file}: DOES NOT HOLD. First bad: {where}: {first.defect} (byte {first.offset:,})")
    for finding in report.findings[:20]:
        click.echo(f"  {finding.defect}: {finding.text}")


@audit.command("keys")
def keys_command() -> None:
    """Print the public keys of both sites, for the auditor to keep."""
    try:
        click.echo(json.dumps(render_public_keys(read_keys(default_home())), indent=2))
    except AuditKeyError as error:
        click.echo(f"biyi audit keys: {error}; run `biyi stand up` first", err=True)
        sys.exit(1)


@audit.command("status")
@_JSON
def status_command(as_json: bool) -> None:
    """Show each site's notary: its newest checkpoint, and signed history that it misses.

    Exit 1: a notary misses history that it had signed; 3: one does not answer.
    """
    found = asyncio.run(_ask_notaries(list(site_settings().values())))
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    for site, status in [] if as_json else found.items():
        if status is None:
            click.echo(f"notary of {site}: does not answer")
            continue
        newest = "no checkpoint yet"
        if status["checkpoint"]:
            newest = f"checkpoint {status['checkpoint']} at {status['checkpoint_at']}"
        lost = f"; MISSES what it had signed of {', '.join(status['lost'])}" if status["lost"] else ""
        sealed = f"sealed {status['sealed']:,} entries since it started"
        click.echo(f"notary of {site}: {newest}, {sealed}{lost}")
    if any(status and status["lost"] for status in found.values()):
        sys.exit(1)
    sys.exit(3 if None in found.values() else 0)


async def _ask_notaries(sites: list[SiteSettings]) -> dict[str, dict[str, Any] | None]:
    async def ask(session: aiohttp.ClientSession, settings: SiteSettings) -> dict[str, Any] | None:
        try:
            url, tls = (
                f"https://127.0.0.1:{settings.notary_port}/v1/status",
                calling(settings.tls_dir, "notary"),
            )
            async with session.get(url, ssl=tls) as answer:
                plain: dict[str, Any] = await answer.json()
                return plain
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None

    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        found = await asyncio.gather(*(ask(session, settings) for settings in sites))
    return {str(settings.site): one for settings, one in zip(sites, found, strict=True)}
