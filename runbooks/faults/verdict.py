"""Judge an ended run as a whole and write its evidence: summary, plot, journals."""

import time
from collections import Counter
from typing import Any

from runbooks.drills.audit_check import check_audit
from runbooks.drills.checkers import Finding, Verdict, check_all, overall
from runbooks.drills.history import read_history
from runbooks.drills.records import History, Outcome
from runbooks.drills.scene import read_final
from runbooks.drills.verdict import limit_finding, render_findings, summarise_requests
from runbooks.evidence import keep_journals, write_verdict
from runbooks.faults.catalogue import INJECTORS
from runbooks.faults.checkers import check_openings, check_staleness, find_stale_reads, merge_findings
from runbooks.faults.measure import PauseSummary, compute_pauses, summarise_pauses
from runbooks.faults.plot import draw_timeline
from runbooks.faults.records import Action
from runbooks.faults.runner import Run
from runbooks.faults.server_evidence import check_alarms, find_openings, find_troubles, keep_logs

STALE_SLACK_S = 3.0
"""Allowed beyond the limits that the settings set. Source: our choice; two busy cores and one kill."""
_PLAIN_READS = "reads_saw_what_was_acknowledged"
"""A drill may ask this of plain reads; with isolated and frozen primaries they are bounded instead."""


async def judge_run(run: Run) -> dict[str, Any]:
    """Return the object that `--json` prints; writes verdict.json, timeline.svg and the journals."""
    rows = await read_final(run.scene)
    audit = await check_audit(run.scene, rows)
    history = read_history(run.scene.folder / "history.jsonl")
    ops = run.settled()
    stages = keep_journals(run.scene.folder, run.options.home, run.scene.started_ns, time.monotonic_ns())
    lending = [
        finding
        for finding in check_all(history.settled(), rows, run.scene.load.settings.key_prefix)
        if finding.name != _PLAIN_READS
    ]
    stale = find_stale_reads(ops, history.settled())
    reads = sum(op.action is Action.PEEK for op in ops) + sum(not op.is_write for op in history.ops)
    run.rounds.append(
        (
            *lending,
            *audit,
            check_openings(find_openings(stages)),
            check_staleness(stale, compute_stale_limit_s(run), reads),
            check_alarms(run.options.home, run.log_sizes),
            _check_something_happened(run),
        )
    )
    findings = merge_findings(run.rounds)
    pauses = summarise_pauses(run.faults, compute_pauses(run.faults, _acknowledged_ns(run, history)))
    plain = _render(run, history, findings, pauses)
    plain["stale_plain_reads"] = {
        "count": len(stale), "of": reads,
        "longest_seconds": round(max((s for _, s in stale), default=0.0), 2),
        "limit_seconds": compute_stale_limit_s(run),
    }  # fmt: skip
    plain["troubles"] = find_troubles(run.options.home, run.log_sizes)[:50]
    write_verdict(run.scene.folder, plain, render_findings(findings))
    draw_timeline(run.scene.folder / "timeline.svg", run.faults, run.batches, ops, history)
    if overall(findings) is not Verdict.HOLDS:
        keep_logs(run.options.home, run.scene.folder)
    return plain | {"findings": findings}


def compute_stale_limit_s(run: Run) -> float:
    """Return how old a plain read may be, in seconds.

    A primary serves until its agent (`fence_after_ms`) or the watchdog (`watchdog_after_ms`) ends it; while
    either is frozen nobody does, so the longest freeze of the schedule comes on top.
    """
    limits = run.scene.settings.failover
    frozen_s = max(
        (fault.duration_s for batch in run.options.schedule.batches for fault in batch.faults
         if fault.name.endswith(("-freeze", "-stop"))),
        default=0.0,
    )  # fmt: skip
    return round(limits.watchdog_after_ms / 1000 + frozen_s + STALE_SLACK_S, 1)


def _check_something_happened(run: Run) -> Finding:
    missing = [] if run.happened else ["no fault took place"]
    return limit_finding("faults_took_place", missing, run.happened)


def _acknowledged_ns(run: Run, history: History) -> dict[str, list[int]]:
    acks: dict[str, list[int]] = {cell: [] for cell in run.scene.homes}
    for op in run.ops.values():
        if op.outcome is Outcome.OK and op.is_write:
            acks[op.cell].append(op.completed_ns)
    for lent in history.ops:
        if lent.outcome is Outcome.OK and lent.is_write and lent.cell in acks:
            acks[lent.cell].append(lent.completed_ns)
    return {cell: sorted(instants) for cell, instants in acks.items()}


def _render(
    run: Run, history: History, findings: tuple[Finding, ...], pauses: list[PauseSummary]
) -> dict[str, Any]:
    seconds = (time.monotonic_ns() - run.scene.started_ns) / 1e9
    outcomes = Counter(op.outcome for op in run.ops.values())
    recoveries = [(b.whole_ns - b.healed_ns) / 1e9 for b in run.batches if b.whole_ns is not None]
    schedule = run.options.schedule
    return {
        "verdict": str(overall(findings)),
        "seed": schedule.seed,
        "names": list(schedule.names) or sorted(INJECTORS),
        "faults": run.happened,
        "faults_missed": len(run.faults) - run.happened,
        "batches": len(run.batches),
        "seconds": round(seconds, 1),
        "workloads": {
            "operations": len(run.begun),
            **{str(outcome): outcomes[outcome] for outcome in Outcome},
            "unknown_unresolved": sum(op.is_write and op.outcome is Outcome.UNKNOWN for op in run.settled()),
            "not_begun": run.workloads.counts.not_begun,
        },
        "lending": summarise_requests(history),
        "epochs": {note.cell: note.epoch for note in history.grants},
        "seconds_to_whole": {
            "max": round(max(recoveries, default=0.0), 1),
            "mean": round(sum(recoveries) / len(recoveries), 1) if recoveries else 0.0,
        },
        "pauses": [
            {"name": p.name, "faults": p.happened, "missed": p.missed, "median_s": p.median_s,
             "max_s": p.max_s, "alone": p.alone, "alone_max_s": p.alone_max_s}
            for p in pauses
        ],
        "checks": {finding.name: str(finding.verdict) for finding in findings},
        "evidence": str(run.scene.folder),
    }  # fmt: skip
