"""After a drill: the audit trail of the whole stand is exported and verified as an auditor would."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg

from compliance.audit.errors import AuditError
from compliance.audit.export import Export
from compliance.audit.signing import read_signer
from compliance.audit.verify import Report, verify_export
from replication.etcd import EtcdUnavailable
from replication.model import Site
from runbooks.audit_source import NoGrant, export_stand, read_keys
from runbooks.drills.checkers import Finding, Verdict
from runbooks.drills.rows import CellRows
from runbooks.drills.scene import Scene
from runbooks.evidence import AUDIT_CHAIN
from runbooks.stand.topology import audit_key_path, read_stand

FILE = "trail.audit"
SEALED_S = 30.0
"""Patience with the last entries to be sealed, and with cells on their way home. Source: our choice, five
times the pause of a notary that is far from the cell."""
_LOOK_EVERY_S = 1.0
_EXAMPLES = 5


async def check_audit(scene: Scene, rows: Mapping[str, CellRows | None]) -> tuple[Finding, ...]:
    """Export the trail into the evidence folder and judge it; UNKNOWN when it could not be exported."""
    scene.mark("audit", "export and verify the audit trail")
    path = scene.folder / FILE
    end, why = time.monotonic() + SEALED_S, ""
    while True:
        try:
            why = await _export_sealed(scene, path)
        except (EtcdUnavailable, NoGrant, psycopg.Error, AuditError) as error:
            why = f"{type(error).__name__}: {error}"
        if not why or time.monotonic() > end:
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    if why:
        return judge_audit(None, Counter(), rows, why)
    report = await asyncio.to_thread(verify_export, path, read_keys(scene.options.home), workers=1)
    return judge_audit(report, await asyncio.to_thread(count_keys, path), rows, "")


async def _export_sealed(scene: Scene, path: Path) -> str:
    """Export; returns what is still missing, nothing when every entry is in a block."""
    home = scene.options.home
    signer = read_signer(audit_key_path(read_stand(home), Site.IDC))
    done: Export = await export_stand(scene.settings, home, path, signer, lambda done, total: None)
    return f"{done.unsealed} entries are not sealed" if done.unsealed else ""


def count_keys(path: Path) -> Counter[str]:
    """Return how often each command stands in the trail with what came of it, by its key.

    What a chunk of day-end orders on its way (visits to debtors) has the chunk's key as well, and no outcome.
    """

    def read() -> Iterator[str]:
        with path.open("rb") as file:
            for line in file:
                if line.startswith(b"E "):
                    entry = json.loads(line.split(b" ", 3)[3])
                    if entry.get("kind") and "status" in entry:
                        yield entry["key"]

    return Counter(read())


def judge_audit(
    report: Report | None, keys: Mapping[str, int], rows: Mapping[str, CellRows | None], why: str
) -> tuple[Finding, ...]:
    """Return whether the trail verifies, and whether it has every command of the books exactly once."""
    chain, complete = AUDIT_CHAIN, "audit_has_every_command"
    if report is None:
        return tuple(Finding(name, Verdict.UNKNOWN, 0, 0, (why,)) for name in (chain, complete))
    bad = [f"{one.where}, number {one.number}: {one.defect}: {one.text}" for one in report.findings]
    verdict = Verdict.BROKEN if bad else Verdict.HOLDS
    unread = [f"cell {cell} could not be read" for cell, found in rows.items() if found is None]
    # What a drill sends after the rows were read is in the trail too, so only the books are counted.
    commands = [command.key for found in rows.values() if found for command in found.commands]
    wrong = [f"{key}: {keys.get(key, 0)} times" for key in commands if keys.get(key, 0) != 1]
    judged = Verdict.BROKEN if wrong else Verdict.UNKNOWN if unread else Verdict.HOLDS
    return (
        Finding(chain, verdict, len(bad), report.entries, tuple(bad[:_EXAMPLES])),
        Finding(complete, judged, len(wrong), len(commands), tuple((*wrong, *unread)[:_EXAMPLES])),
    )
