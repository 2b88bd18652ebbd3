"""What every report shows besides its own figures: steady state, injection, measured against promised. Pure.

From the recorded history alone, so that each drill's report has it and none can leave it out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runbooks.drills.checkers import Verdict
from runbooks.drills.measure import Window, compute_latency, compute_rto_seconds, compute_write_pause_seconds
from runbooks.drills.records import INTENT, History, Mark, Outcome
from runbooks.drills.verdict import PAUSE_LIMIT_S, RTO_LIMIT_S

TAKING = "TAKING"
"""Mode of a grant while another copy takes the cell over: its primary was lost."""
_INJECTIONS = (INTENT, "fault", "kill", "move", "rotate")
"""Marks that say what the drill did to the stand."""


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One decision of an agent as its journal has it; `at_ns` is monotonic."""

    at_ns: int
    place: str
    cell: str
    step: str
    why: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Background:
    """What a report tells around its judgement: the runbook that was followed, what the agents decided."""

    steps: tuple[str, ...] = ()
    sections: Mapping[str, str] = field(default_factory=dict)
    steps_zh: tuple[str, ...] = ()
    sections_zh: Mapping[str, str] = field(default_factory=dict)
    decisions: tuple[DecisionRow, ...] = ()


@dataclass(frozen=True, slots=True)
class SteadyState:
    """The load before the injection. Times in milliseconds; `cells` is each cell's site, mode and epoch."""

    seconds: float
    per_second: float
    failed: int
    p50_ms: float
    p99_ms: float
    cells: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure beside what was promised."""

    what: str
    what_zh: str
    figure: str
    promise: str
    verdict: Verdict
    promise_zh: str = ""


def measure_steady_state(history: History, origin_ns: int) -> SteadyState | None:
    """Return the load from its start to the injection; None when there was none."""
    start_ns = history.mark_ns("load_start")
    if start_ns is None or origin_ns <= start_ns:
        return None
    early = [
        op for op in history.ops if op.phase == "load" and start_ns <= op.scheduled_ns < origin_ns
        and op.completed_ns <= origin_ns
    ]  # fmt: skip
    latency = compute_latency(early)
    seconds = (origin_ns - start_ns) / 1e9
    before = {note.cell: note for note in history.grants if note.at_ns <= origin_ns}
    return SteadyState(
        seconds,
        len(early) / seconds,
        sum(op.outcome is Outcome.FAIL for op in early),
        latency.p50_ms,
        latency.p99_ms,
        {cell: f"{note.primary}, {note.mode}, epoch {note.epoch}" for cell, note in sorted(before.items())},
    )


def find_injections(history: History) -> list[Mark]:
    """Return the marks that say what was done to the stand, in order."""
    return [mark for mark in history.marks if mark.name in _INJECTIONS]


def measure_promises(history: History, plain: Mapping[str, Any], origin_ns: int) -> list[Measured]:
    """Return RTO of each cell that was taken over, RPO, the longest write pause, beside what was promised."""
    ops = [op for op in history.ops if op.phase == "load"]
    end_ns = max(history.mark_ns("load_stop") or 0, origin_ns)
    limit_s = plain.get("write_pause_limit_seconds", PAUSE_LIMIT_S)
    rows = []
    for cell in sorted({note.cell for note in history.grants}):
        rto_s = _rto_seconds(history, cell, origin_ns)
        if rto_s is not None:
            rows.append(_within(f"RTO, cell {cell}", f"恢复时间目标，单元 {cell}", rto_s, RTO_LIMIT_S))
        pause_s = compute_write_pause_seconds(ops, cell, Window(origin_ns, end_ns))
        rows.append(
            _within(f"longest write pause, cell {cell}", f"最长写停顿，单元 {cell}", pause_s, limit_s)
        )
    lost = plain.get("lost")
    if isinstance(lost, Mapping):
        lost = sum(lost.values())
    known = Verdict.UNKNOWN if lost is None else Verdict.BROKEN if lost else Verdict.HOLDS
    said = "unknown" if lost is None else f"{lost:,} lost"
    rpo = "RPO: what was acknowledged", "恢复点目标：已确认的数据"
    return [*rows, Measured(*rpo, said, "0 lost", known, "无丢失")]


def _rto_seconds(history: History, cell: str, origin_ns: int) -> float | None:
    """Return seconds from the loss to the first write in the epoch that took over; inf when there was none.

    None when nothing was taken over. The loss is the last injection before the grant was taken.
    """
    notes = [note for note in history.grants if note.cell == cell]
    taking = next((note for note in notes if note.mode == TAKING and note.at_ns > origin_ns), None)
    if taking is None:
        return None
    losses = [m.at_ns for m in history.marks if m.name in ("kill", "fault") and m.at_ns <= taking.at_ns]
    before = [note.epoch for note in notes if note.at_ns < taking.at_ns]
    if not losses or not before:
        return None
    ops = [op for op in history.ops if op.phase == "load"]
    found = compute_rto_seconds(ops, cell, losses[-1], before[-1])
    return float("inf") if found is None else found


def _within(what: str, what_zh: str, seconds: float, limit_s: float) -> Measured:
    verdict = Verdict.HOLDS if seconds <= limit_s else Verdict.BROKEN
    said = "never" if seconds == float("inf") else f"{seconds:.2f} s"
    return Measured(what, what_zh, said, f"at most {limit_s:g} s", verdict, f"不超过 {limit_s:g} 秒")
