"""The evidence a drill leaves: its history, the agents' journals cut to its time, verdict and report.

A folder is complete in itself: it can be copied away and read years later without the stand.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from replication.model import DATA_SITES
from runbooks.drills.background import Background, DecisionRow
from runbooks.drills.catalogue import DRILLS, read_runbook
from runbooks.drills.report import Report, render_report
from runbooks.drills.runbook_zh import read_runbooks_zh

AUDIT_CHAIN = "audit_chain_verifies"
"""The finding that every drill has."""
_SLACK_NS = 2_000_000_000
"""Journal kept before and after the drill. Source: our choice, 2 s of context."""


@dataclass(frozen=True, slots=True)
class StageMark:
    """Something an agent did: a journal line with a `stage`; `at_ns` is monotonic."""

    at_ns: int
    place: str
    cell: str
    stage: str
    epoch: int
    detail: str = ""


def keep_journals(folder: Path, home: Path, start_ns: int, end_ns: int) -> list[StageMark]:
    """Copy the journal lines of the drill's time into `folder`/journals; return what was done, in order."""
    (folder / "journals").mkdir(exist_ok=True)
    stages = []
    for site in DATA_SITES:
        for path in sorted((home / site / "journal").glob("*.jsonl")):
            lines = list(_cut(path, start_ns - _SLACK_NS, end_ns + _SLACK_NS))
            kept = folder / "journals" / f"{site}-{path.name}"
            kept.write_text("".join(line + "\n" for line, _ in lines), encoding="utf-8")
            stages += [_stage_of(plain) for _, plain in lines if "stage" in plain]
    return sorted(stages, key=lambda mark: mark.at_ns)


class EvidenceIncomplete(Exception):
    """A drill did not look at what every drill has to: its verdict is not written."""


def write_verdict(folder: Path, plain: Mapping[str, Any], findings: list[dict[str, Any]]) -> None:
    """Write a drill's verdict.json: what `--json` prints, with every finding and its examples.

    EvidenceIncomplete unless the audit trail was verified end to end, whatever came of it: no drill can be
    written that leaves it out.
    """
    if AUDIT_CHAIN not in {finding["name"] for finding in findings}:
        raise EvidenceIncomplete(
            f"{plain.get('drill', folder.name)}: no finding {AUDIT_CHAIN}; needs `await "
            "check_audit(scene, rows)` of runbooks/drills/audit_check.py among its findings"
        )
    write_outcome(folder, plain, findings)


def write_outcome(folder: Path, plain: Mapping[str, Any], findings: list[dict[str, Any]]) -> None:
    """Write verdict.json of a runbook that is no drill: it acts in an emergency, and nothing is judged."""
    text = json.dumps({**plain, "findings": findings}, indent=2, ensure_ascii=False)
    (folder / "verdict.json").write_text(text + "\n", encoding="utf-8")


def write_report(folder: Path, report: Report) -> Path:
    """Write report.html and return its path."""
    path = folder / "report.html"
    header = report.history.header
    drill = DRILLS.get(header.drill) if header else None
    background = Background(decisions=tuple(read_decisions_made(folder / "journals")))
    if drill:
        said, said_zh = read_runbook(drill), read_runbooks_zh()[drill.name]
        background = replace(
            background, steps=said.steps, sections=said.sections,
            steps_zh=said_zh.steps, sections_zh=said_zh.sections,
        )  # fmt: skip
    path.write_text(render_report(report, background), encoding="utf-8")
    return path


def read_decisions_made(journals: Path) -> list[DecisionRow]:
    """Return what the agents decided in the drill's time, from its kept journals, in order."""
    found = []
    for path in sorted(journals.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            plain = json.loads(line)
            if "decision" in plain:
                place, cell, step, why = (str(plain[name]) for name in ("place", "cell", "decision", "why"))
                epoch = int(plain.get("epoch") or 0)
                found.append(DecisionRow(int(plain["mono_ns"]), place, cell, step, why, epoch))
    return sorted(found, key=lambda row: row.at_ns)


def _cut(path: Path, start_ns: int, end_ns: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            plain = json.loads(line)
        except ValueError:
            continue  # the agent was killed while it wrote this line
        if isinstance(plain, dict) and start_ns <= int(plain.get("mono_ns", 0)) <= end_ns:
            yield line, plain


def _stage_of(plain: Mapping[str, Any]) -> StageMark:
    known = {"at", "mono_ns", "place", "cell", "epoch", "stage"}
    detail = ", ".join(f"{name} {value}" for name, value in plain.items() if name not in known and value)
    return StageMark(
        int(plain["mono_ns"]),
        str(plain.get("place", "")),
        str(plain.get("cell", "")),
        str(plain["stage"]),
        int(plain.get("epoch") or 0),
        detail[:160],
    )
