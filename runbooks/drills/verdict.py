"""What a drill's history comes to: figures a cell, limits kept or not, the object for programs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runbooks.drills.checkers import Finding, Verdict, count_of, overall
from runbooks.drills.measure import (
    Window,
    compute_latency,
    compute_rto_seconds,
    compute_write_pause_seconds,
    count_failed,
    count_repeated,
    find_first_write_after,
    find_rejoined_ns,
    select_in,
    site_of,
)
from runbooks.drills.records import GrantNote, History, Op, Outcome

RTO_LIMIT_S = 5.0
"""Kill to first acknowledged write. Source: the promise in the README."""
PAUSE_LIMIT_S = 5.0
"""Write pause of a cell at home in the surviving site. Source: the promise in the README."""
REJOIN_LIMIT_S = 60.0
"""Restart of the dead site to all its copies in the sync set. Source: the promise in the README."""


@dataclass(frozen=True, slots=True)
class CellResult:
    """What the customers of one cell saw. Seconds; `rto_seconds` only where the primary was lost."""

    home: str
    lost_primary: bool
    rto_seconds: float | None
    epoch_before: int
    epoch_after: int
    pause_seconds: float
    failed: int
    first_write_ns: int | None


@dataclass(frozen=True, slots=True)
class SiteLossResult:
    """A site-loss drill, judged. `findings` holds the checks and the limits."""

    site: str
    cells: Mapping[str, CellResult]
    rejoin_seconds: float | None
    failed_back: bool
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """BROKEN, UNKNOWN or HOLDS over all findings."""
        return overall(self.findings)


def judge_site_loss(
    history: History, checks: Sequence[Finding], homes: Mapping[str, str], site: str
) -> SiteLossResult:
    """Measure a finished history; without a kill or a restart in it the figures stay None."""
    cells = {cell: _judge_cell(history, cell, home, site) for cell, home in homes.items()}
    rejoin_s = _compute_rejoin_seconds(history, homes, site)
    last = {note.cell: note for note in history.grants}
    failed_back = all(
        (note := last.get(cell)) is not None and note.mode == "SYNC" and site_of(note.primary) == home
        for cell, home in homes.items()
    )
    limits = _check_limits(cells, rejoin_s, failed_back)
    return SiteLossResult(site, cells, rejoin_s, failed_back, (*checks, *limits))


def _judge_cell(history: History, cell: str, home: str, site: str) -> CellResult:
    kill_ns = history.mark_ns("kill") or 0
    end_ns = history.mark_ns("load_stop") or max((op.completed_ns for op in history.ops), default=kill_ns)
    notes = [note for note in history.grants if note.cell == cell]
    before = [note for note in notes if note.at_ns <= kill_ns]
    lost = bool(before) and site_of(before[-1].primary) == site
    epoch_before = before[-1].epoch if before else 0
    ops = [op for op in history.ops if op.phase == "load"]
    first = find_first_write_after(ops, cell, kill_ns, epoch_before) if lost else None
    rto_s = compute_rto_seconds(ops, cell, kill_ns, epoch_before) if lost else None
    epoch_after = first.epoch if first else max((note.epoch for note in notes), default=0)
    after_kill = [op for op in ops if op.completed_ns >= kill_ns]
    return CellResult(
        home=home,
        lost_primary=lost,
        rto_seconds=None if rto_s is None else round(rto_s, 3),
        epoch_before=epoch_before,
        epoch_after=epoch_after if lost else epoch_before,
        pause_seconds=round(compute_write_pause_seconds(ops, cell, Window(kill_ns, max(kill_ns, end_ns))), 3),
        failed=count_failed(after_kill, cell),
        first_write_ns=first.completed_ns if first else None,
    )


def _compute_rejoin_seconds(history: History, homes: Mapping[str, str], site: str) -> float | None:
    restart_ns = history.mark_ns("restart")
    if restart_ns is None:
        return None
    found = [find_rejoined_ns(history.grants, cell, site, restart_ns) for cell in homes]
    known = [at_ns for at_ns in found if at_ns is not None]
    return round((max(known) - restart_ns) / 1e9, 3) if known and len(known) == len(found) else None


def _check_limits(
    cells: Mapping[str, CellResult], rejoin_s: float | None, failed_back: bool
) -> tuple[Finding, ...]:
    slow = [
        f"cell {name}: {_seconds(cell.rto_seconds)} to the first write, limit {RTO_LIMIT_S:.0f} s"
        for name, cell in cells.items()
        if cell.lost_primary and (cell.rto_seconds is None or cell.rto_seconds > RTO_LIMIT_S)
    ]
    hurt = [
        f"cell {name}: {cell.failed} failed requests, write pause {cell.pause_seconds} s"
        for name, cell in cells.items()
        if not cell.lost_primary and (cell.failed or cell.pause_seconds > PAUSE_LIMIT_S)
    ]
    late = rejoin_s is None or rejoin_s > REJOIN_LIMIT_S
    return (
        limit_finding("took_over_in_time", slow, sum(cell.lost_primary for cell in cells.values())),
        limit_finding("survivors_kept_serving", hurt, sum(not c.lost_primary for c in cells.values())),
        limit_finding("rejoined_in_time", [_seconds(rejoin_s)] if late else [], 1),
        limit_finding("went_home", [] if failed_back else ["not every cell is SYNC at home"], 1),
    )


def limit_finding(name: str, defects: Sequence[str], looked_at: int) -> Finding:
    """Return the finding of a limit that measured figures keep or break."""
    return Finding(
        name, Verdict.BROKEN if defects else Verdict.HOLDS, len(defects), looked_at, tuple(defects)
    )


def summarise_requests(history: History) -> dict[str, Any]:
    """Count what customers asked for and got, over the load (not its preparation).

    `unknown` is what a customer had been left with; `unknown_unresolved` what is open even now.
    """
    load = [op for op in history.ops if op.phase == "load"]
    settled = [op for op in history.settled() if op.phase == "load"]
    return {
        "requests": len(load),
        "acknowledged": _count(load, Outcome.OK),
        "acknowledged_writes": sum(op.is_write and op.outcome is Outcome.OK for op in settled),
        "unknown": _count(load, Outcome.UNKNOWN),
        "unknown_unresolved": _count(settled, Outcome.UNKNOWN),
        "failed": _count(load, Outcome.FAIL),
        "repeated": count_repeated(load),
    }


def render_site_loss(
    result: SiteLossResult, history: History, trial_balance_fen: int | None
) -> dict[str, Any]:
    """Return the object that `--json` prints, without the evidence's place."""
    kill_ns = history.mark_ns("kill") or 0
    load = [op for op in history.ops if op.phase == "load"]
    early = select_in(load, Window(0, kill_ns))
    return {
        "drill": "site-loss",
        "site": result.site,
        "verdict": str(result.verdict),
        "cells": {name: _render_cell(cell) for name, cell in result.cells.items()},
        **summarise_requests(history),
        "lost": count_of(result.findings, "acknowledged_is_kept", "earlier_rows_are_kept"),
        "trial_balance_fen": trial_balance_fen,
        "overlapping_epochs": count_of(result.findings, "no_overlapping_epochs"),
        "rejoin_seconds": result.rejoin_seconds,
        "failed_back": result.failed_back,
        "latency": {"before": asdict(compute_latency(early)), "whole": asdict(compute_latency(load))},
        "checks": {finding.name: str(finding.verdict) for finding in result.findings},
    }


def render_findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return findings as plain values for verdict.json."""
    return [asdict(finding) | {"verdict": str(finding.verdict)} for finding in findings]


def last_grants(history: History) -> dict[str, GrantNote]:
    """Return the newest grant of each cell in a history."""
    return {note.cell: note for note in history.grants}


def _render_cell(cell: CellResult) -> dict[str, Any]:
    plain = asdict(cell)
    del plain["first_write_ns"]
    return plain


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value} s"


def _count(ops: Sequence[Op], outcome: Outcome) -> int:
    return sum(op.outcome is outcome for op in ops)
