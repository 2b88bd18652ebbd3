"""Runbook: move every cell to the other site and back under load; nobody may notice.

When: before maintenance of a site, and after any change to the move itself.
Who approves: the operations lead on duty.
Expected time: about 3 s a move (the move itself under 1 s), two moves a cell and round. Source: our
choice of pauses below; promised are a write pause of p99 at most 0.5 s and no failed request.
Abort rule: Ctrl-C at any time; the hold is released and the cells go home by themselves.

Steps: check -> load -> hold fail-back -> for each round and cell: move away, settle, move home,
settle; none after one whose end is not known -> release the hold -> stop the load -> resolve -> read the
final rows -> verify the audit trail -> judge -> report.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from replication.model import Mode, Site, other_data_site
from replication.settings import CellSettings
from runbooks.drills.asking import Agents, open_agents
from runbooks.drills.audit_check import check_audit
from runbooks.drills.checkers import Finding, check_all, count_of, overall
from runbooks.drills.history import read_history
from runbooks.drills.measure import (
    Window,
    compute_latency,
    compute_percentile,
    compute_write_pause_seconds,
)
from runbooks.drills.plot import PlotMark
from runbooks.drills.records import History
from runbooks.drills.report import Report
from runbooks.drills.rows import CellRows
from runbooks.drills.scene import DrillOptions, DrillRefused, Scene, open_scene, read_final
from runbooks.drills.story import say_count, tell_timeline
from runbooks.drills.under_load import prepare, under_load
from runbooks.drills.verdict import limit_finding, render_findings, summarise_requests
from runbooks.drills.watch import Grants
from runbooks.drills.wording import OVERALL
from runbooks.evidence import StageMark, keep_journals, write_report, write_verdict

PAUSE_P99_LIMIT_S = 0.5
"""Longest write pause of a planned move, p99. Source: our promise (README, measured figures)."""
_BEFORE_S = 3.0
"""Load before the first move. Source: our choice, 180 operations to compare with."""
_BETWEEN_S = 1.5
"""Load after each move once it has settled. Source: our choice, so that pauses stay apart."""
_SETTLE_S = 30.0
"""Patience with a move and its new sync copy. Source: our choice, above the agent's 20 s."""


@dataclass(frozen=True, slots=True)
class Move:
    """One planned move as the drill saw it: its window (monotonic ns) and whether it got there."""

    cell: str
    to: str
    start_ns: int
    end_ns: int
    done: bool
    why: str


@dataclass(frozen=True, slots=True)
class MovesResult:
    """A planned-move drill, judged; `pauses_s` in the order of the moves."""

    moves: tuple[Move, ...]
    pauses_s: tuple[float, ...]
    findings: tuple[Finding, ...]
    plain: Mapping[str, Any]


async def run_planned_move(
    options: DrillOptions,
    rounds: int,
    say: Callable[[str], None],
    on_scene: Callable[[Scene], None] = lambda scene: None,
) -> MovesResult:
    """Move every cell there and back `rounds` times; DrillRefused when the drill may not begin."""
    async with open_scene("planned-move", Site.IDC, options, say, rounds=rounds) as scene:
        on_scene(scene)
        await prepare(scene)
        moves = await _move_under_load(scene, rounds)
        scene.mark("resolve", "repeat the keys of unknown operations")
        await scene.load.resolve()
        rows = await read_final(scene)
        return _judge(scene, moves, rows, await check_audit(scene, rows))


async def _move_under_load(scene: Scene, rounds: int) -> list[Move]:
    moves: list[Move] = []
    scene.intend("hold fail-back and move cells", "biyi hold --release; biyi move CELL --to SITE")
    async with under_load(scene), open_agents(scene.settings) as agents:
        try:
            await agents.hold(Site.IDC)
            await asyncio.sleep(_BEFORE_S)
            for number in range(rounds):
                for cell in scene.settings.cells:
                    for to in (other_data_site(cell.home), cell.home):
                        text = f"round {number + 1}: move cell {cell.name} to {to}"
                        scene.mark("move", text, cell=cell.name)
                        moves.append(await _move(scene, agents, cell, to))
                        if not moves[-1].done:
                            scene.mark("stopped", f"where cell {cell.name} stands is unknown: move no other")
                            return moves
                        await asyncio.sleep(_BETWEEN_S)
        finally:
            await agents.release(Site.IDC)
    return moves


async def _move(scene: Scene, agents: Agents, cell: CellSettings, to: Site) -> Move:
    start_ns = time.monotonic_ns()
    try:
        why = await agents.move(scene.watch.grants[cell.name].primary.site, cell.name, to)
    except DrillRefused as error:
        why = str(error)
    settled_ns = await scene.watch.until(partial(_is_settled, cell=cell.name, to=to), _SETTLE_S)
    return Move(cell.name, str(to), start_ns, settled_ns or time.monotonic_ns(), settled_ns is not None, why)


def _is_settled(grants: Grants, cell: str, to: Site) -> bool:
    grant = grants.get(cell)
    return grant is not None and grant.mode is Mode.SYNC and grant.primary.site is to


def measure_pauses(history: History, moves: Sequence[Move]) -> tuple[float, ...]:
    """Return the longest write pause of the moved cell in each move's window, in seconds."""
    ops = [op for op in history.ops if op.phase == "load"]
    slack_ns = int(_BETWEEN_S / 2 * 1e9)
    return tuple(
        compute_write_pause_seconds(ops, move.cell, Window(move.start_ns, move.end_ns + slack_ns))
        for move in moves
    )


def _judge(
    scene: Scene, moves: Sequence[Move], rows: dict[str, CellRows | None], audit: tuple[Finding, ...]
) -> MovesResult:
    history = read_history(scene.folder / "history.jsonl")
    checks = check_all(history.settled(), rows, scene.load.settings.key_prefix)
    pauses = measure_pauses(history, moves)
    requests = summarise_requests(history)
    not_good = requests["failed"] + requests["unknown"]
    stuck = [f"cell {move.cell} to {move.to}: {move.why}" for move in moves if not move.done]
    p99 = compute_percentile(pauses, 0.99)
    slow = [f"p99 {p99:.3f} s, limit {PAUSE_P99_LIMIT_S} s"] if p99 > PAUSE_P99_LIMIT_S else []
    findings = (
        *checks,
        *audit,
        limit_finding(
            "no_failed_request", [f"{not_good} not acknowledged"] if not_good else [], requests["requests"]
        ),
        limit_finding("moves_were_done", stuck, len(moves)),
        limit_finding("pauses_in_limit", slow, len(pauses)),
    )
    plain = {
        "drill": "planned-move",
        "verdict": str(overall(findings)),
        "moves": len(moves),
        "moves_done": sum(move.done for move in moves),
        "pause_seconds": {
            "p50": round(compute_percentile(pauses, 0.5), 3),
            "p99": round(p99, 3),
            "max": round(max(pauses, default=0.0), 3),
        },
        **requests,
        "lost": count_of(findings, "acknowledged_is_kept", "earlier_rows_are_kept"),
        "overlapping_epochs": count_of(findings, "no_overlapping_epochs"),
        "latency": _plain_latency(history),
        "checks": {finding.name: str(finding.verdict) for finding in findings},
        "evidence": str(scene.folder),
    }
    stages = keep_journals(scene.folder, scene.options.home, scene.started_ns, time.monotonic_ns())
    write_verdict(scene.folder, plain, render_findings(findings))
    result = MovesResult(tuple(moves), pauses, findings, plain)
    write_report(scene.folder, _tell(scene, history, result, stages))
    return result


def _plain_latency(history: History) -> dict[str, float]:
    summary = compute_latency(op for op in history.ops if op.phase == "load")
    return {"p50_ms": summary.p50_ms, "p99_ms": summary.p99_ms, "max_ms": summary.max_ms}


def _tell(scene: Scene, history: History, result: MovesResult, stages: Sequence[StageMark]) -> Report:
    end_en, end_zh = OVERALL[overall(result.findings)]
    pause = result.plain["pause_seconds"]
    first_ns = result.moves[0].start_ns if result.moves else scene.started_ns
    return Report(
        title=("Planned move drill", "计划迁移演练"),
        summary=(
            "Every cell was moved to the other site and back under load, "
            f"{len(result.moves)} moves in all; writes paused {pause['p50']} s in the middle, "
            f"{pause['max']} s at most, and {result.plain['failed']} requests failed. {end_en}",
            f"负载下各单元迁至另一站点再迁回，共 {len(result.moves)} 次；写停顿中位数 {pause['p50']} 秒，"
            f"最长 {pause['max']} 秒，失败请求 {result.plain['failed']} 个。{end_zh}",
        ),
        figures=[
            (f"{pause['p99']:.2f} s", "write pause, p99", "写停顿 p99"),
            (f"{result.plain['moves_done']}/{len(result.moves)}", "moves done", "完成的迁移"),
            (f"{result.plain['failed']:,}", "failed for the customer", "失败请求"),
            (say_count(result.plain["lost"]), "acknowledged writes lost", "已确认写入丢失"),
            (f"{result.plain['requests']:,}", "operations asked for", "请求总数"),
        ],
        cells=[
            {"cell": move.cell, "to": move.to, "write pause": f"{seconds:.3f} s", "outcome": move.why}
            for move, seconds in zip(result.moves, result.pauses_s, strict=True)
        ],
        history=history,
        homes=scene.homes,
        findings=result.findings,
        marks=[PlotMark(move.start_ns, f"{move.cell} to {move.to}") for move in result.moves],
        timeline=tell_timeline(history, stages),
        origin_ns=first_ns,
        zero="the first move",
        verdict=overall(result.findings),
        plain=result.plain,
        command=f"biyi stand up\nbiyi drill run planned-move --execute --rate {scene.options.rate:g} "
        f"--seed {scene.options.seed}",
    )
