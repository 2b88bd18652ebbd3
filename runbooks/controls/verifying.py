"""Verifying an evidence pack offline: what `biyi audit verify` does with a file that is one."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from compliance.audit.errors import AuditKeyError
from compliance.audit.signing import PublicKeys
from compliance.controls.catalogue import read_catalogue
from compliance.controls.pack import MAGIC, is_pack, verify_pack


def begins_as_pack(path: Path) -> bool:
    """Say whether a file begins as an evidence pack does."""
    with path.open("rb") as file:
        return is_pack(file.read(len(MAGIC)))


def verify_pack_file(path: Path, keys: PublicKeys | None, *, as_json: bool) -> int:
    """Verify a pack and say what came of it; 0 holds, 1 does not. AuditKeyError without pinned keys."""
    if keys is None:
        raise AuditKeyError("a pack carries no keys: give --keys with the list from `biyi audit keys`")
    report = verify_pack(path.read_bytes(), keys, read_catalogue())
    holds = not report.findings
    if as_json:
        click.echo(json.dumps({"holds": holds, **asdict(report)}, ensure_ascii=False))
    elif holds:
        score = report.score
        click.echo(
            f"{path}: holds. Run {report.header['number']} judged at {report.header['judged_at'][:19]}Z "
            f"from {report.readings} readings and {report.attestations} attestations; signed by "
            f"{report.signed_by}; 2025 {score['met_percent']} %, 2021 {score['points_2021']} points "
            f"({score['label']}).\n"
            f"SM3 {report.sm3}: in the audit trail as runs.insert with this pack_sm3, or never recorded."
        )
    else:
        click.echo(f"{path}: DOES NOT HOLD")
        for finding in report.findings:
            click.echo(f"  {finding}")
    return 0 if holds else 1
