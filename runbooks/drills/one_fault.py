"""The drill that most faults need: load, one fault, its healing, the way home, and the judgement.

A runbook names its fault and its own limits (`OneFault`); what every drill has to show is shown here for all.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from replication.model import Site
from runbooks.drills.audit_check import check_audit
from runbooks.drills.checkers import Finding, Verdict, check_all, count_of, overall
from runbooks.drills.history import read_history
from runbooks.drills.measure import Window, compute_rto_seconds, compute_write_pause_seconds
from runbooks.drills.payout_checkers import BookLine, Payouts, check_payouts
from runbooks.drills.plot import PlotMark
from runbooks.drills.read_payouts import read_books, wait_until_final
from runbooks.drills.records import History
from runbooks.drills.report import Report
from runbooks.drills.rows import CellRows
from runbooks.drills.scene import DrillOptions, Scene, open_scene, read_final
from runbooks.drills.story import say_count, say_count_zh, tell_timeline
from runbooks.drills.under_load import prepare, under_load
from runbooks.drills.verdict import (
    PAUSE_LIMIT_S,
    RTO_LIMIT_S,
    limit_finding,
    render_findings,
    summarise_requests,
)
from runbooks.drills.watch import is_home
from runbooks.drills.wording import OVERALL
from runbooks.evidence import keep_journals, write_report, write_verdict
from runbooks.stand.ports import BANKS

BEFORE_S = 6.0
"""Load on a healthy stand. Source: our choice, 240 operations to compare with."""
AFTER_S = 4.0
"""Load once all is as before. Source: our choice."""
HOME_S = 90.0
"""Patience until every cell is in sync at home. Source: our choice: rejoin 60 s, home_after 8 s, a move."""
PAYOUTS_S = 30.0
"""Patience with the last payouts. Source: our choice; one in doubt is asked for each second."""

Step = Callable[[Scene], Awaitable[None]]
Limits = Callable[[History, Mapping[str, str]], tuple[Finding, ...]]


@dataclass(frozen=True, slots=True)
class OneFault:
    """One kind of fault. `begin` and `heal` act; `heal` runs whatever happens, and may be run twice.

    `lasts_s` is the time between them. `limits` judges what this fault must keep, from the history and the
    cells' homes. `viewer` is the site from which the drill looks: one that survives.
    """

    drill: str
    site: str
    viewer: Site
    title: tuple[str, str]
    told: tuple[str, str]
    """What was done, in English and Chinese, as whole sentences."""
    begin: Step
    heal: Step
    lasts_s: float
    limits: Limits
    words: str
    """What follows `biyi drill run`."""
    pause_limit_s: float = PAUSE_LIMIT_S
    """Longest write pause of a cell that its report holds it to."""


@dataclass(frozen=True, slots=True)
class OneFaultResult:
    """A finished drill: the object for programs, the checks for people."""

    plain: dict[str, Any]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """BROKEN, UNKNOWN or HOLDS over all findings."""
        return overall(self.findings)


@dataclass(frozen=True, slots=True)
class _Final:
    rows: dict[str, CellRows | None]
    payouts: Payouts
    books: tuple[BookLine, ...]
    audit: tuple[Finding, ...]


async def run_one_fault(
    fault: OneFault,
    options: DrillOptions,
    say: Callable[[str], None],
    on_scene: Callable[[Scene], None] = lambda scene: None,
) -> OneFaultResult:
    """Run the drill; DrillRefused when it may not begin. What was broken is healed whatever happens."""
    async with open_scene(fault.drill, fault.viewer, options, say, site=fault.site) as scene:
        on_scene(scene)
        await prepare(scene)
        await _break_and_heal(scene, fault)
        scene.mark("resolve", "repeat the keys of unknown operations")
        await scene.load.resolve()
        rows = await read_final(scene)
        payouts = await wait_until_final(scene.settings, PAYOUTS_S)
        audit = await check_audit(scene, rows)
        return _judge(scene, fault, _Final(rows, payouts, read_books(options.home, BANKS), audit))


async def _break_and_heal(scene: Scene, fault: OneFault) -> None:
    async with under_load(scene):
        await asyncio.sleep(BEFORE_S)
        scene.intend(f"begin {fault.words}")
        try:
            await fault.begin(scene)
            await asyncio.sleep(fault.lasts_s)
        finally:
            await asyncio.shield(fault.heal(scene))
        at_ns = await scene.watch.until(partial(is_home, scene.settings.cells), HOME_S)
        if at_ns is None:
            scene.mark("not_home", f"not every cell was in sync at home within {HOME_S:.0f} s")
        else:
            scene.mark("home", "every cell is in sync at home", at_ns)
        await asyncio.sleep(AFTER_S)


def judge_requests(history: History) -> Finding:
    """Return the finding that every customer was served: none refused, none left without an answer."""
    requests = summarise_requests(history)
    bad = requests["failed"] + requests["unknown"]
    return limit_finding(
        "no_failed_request", [f"{bad} not acknowledged"] if bad else [], requests["requests"]
    )


def judge_pauses(history: History, limits_s: Mapping[str, float]) -> Finding:
    """Return the finding that no cell's writes paused longer than its limit, from the fault on."""
    slow = [
        f"cell {cell}: writes paused {seconds:.2f} s, limit {limits_s[cell]:g} s"
        for cell, seconds in measure_pauses(history, limits_s).items()
        if seconds > limits_s[cell]
    ]
    return limit_finding("write_pauses_in_limit", slow, len(limits_s))


def measure_pauses(history: History, cells: Mapping[str, Any]) -> dict[str, float]:
    """Return the longest write pause of each cell, in seconds, from the mark `fault` to the end of load."""
    start_ns, end_ns = history.mark_ns("fault") or 0, history.mark_ns("load_stop") or 0
    ops = [op for op in history.ops if op.phase == "load"]
    window = Window(start_ns, max(start_ns, end_ns))
    return {cell: compute_write_pause_seconds(ops, cell, window) for cell in cells}


def judge_epochs(history: History, cells: Mapping[str, Any]) -> Finding:
    """Return the finding that each cell kept the epoch and the primary it had at the fault."""
    fault_ns = history.mark_ns("fault") or 0
    moved = []
    for cell in cells:
        notes = [note for note in history.grants if note.cell == cell]
        before = [note for note in notes if note.at_ns <= fault_ns][-1:]
        after = [note for note in notes if note.at_ns > fault_ns]
        moved += [
            f"cell {cell}: {before[0].primary} in {before[0].epoch}, later {note.primary} in {note.epoch}"
            for note in after
            if before and (note.epoch, note.primary) != (before[0].epoch, before[0].primary)
        ][:1]
    return limit_finding("nothing_was_promoted", moved, len(cells))


def judge_take_over(history: History, cells: Sequence[str]) -> Finding:
    """Return the finding that each cell whose primary was lost wrote again in a newer epoch in time."""
    rtos = {cell: _compute_rto(history, cell) for cell in cells}
    slow = [
        f"cell {cell}: {'never' if rto is None else f'{rto:.2f} s'} to its first write"
        for cell, rto in rtos.items()
        if rto is None or rto > RTO_LIMIT_S
    ]
    return limit_finding("took_over_in_time", slow, len(cells))


def _compute_rto(history: History, cell: str) -> float | None:
    fault_ns = history.mark_ns("fault") or 0
    before = [note for note in history.grants if note.cell == cell and note.at_ns <= fault_ns]
    ops = [op for op in history.ops if op.phase == "load"]
    return compute_rto_seconds(ops, cell, fault_ns, before[-1].epoch) if before else None


def _judge(scene: Scene, fault: OneFault, final: _Final) -> OneFaultResult:
    history = read_history(scene.folder / "history.jsonl")
    ops = history.settled()
    home = [] if history.mark_ns("home") else [f"not every cell was SYNC at home within {HOME_S:.0f} s"]
    happened = [] if history.mark_ns("fault") else ["the fault never began"]
    findings = (
        *check_all(ops, final.rows, scene.load.settings.key_prefix),
        *check_payouts(ops, final.payouts, final.books),
        *final.audit,
        limit_finding("faults_took_place", happened, 1),
        limit_finding("went_home", home, 1),
        *fault.limits(history, scene.homes),
    )
    pauses = {cell: round(seconds, 3) for cell, seconds in measure_pauses(history, scene.homes).items()}
    plain = {
        "drill": fault.drill,
        "site": fault.site,
        "verdict": str(overall(findings)),
        **summarise_requests(history),
        "lost": count_of(findings, "acknowledged_is_kept", "earlier_rows_are_kept"),
        "overlapping_epochs": count_of(findings, "no_overlapping_epochs"),
        "write_pause_seconds": pauses,
        "write_pause_limit_seconds": fault.pause_limit_s,
        "checks": {finding.name: str(finding.verdict) for finding in findings},
        "evidence": str(scene.folder),
        "drill_seconds": round((time.monotonic_ns() - scene.started_ns) / 1e9, 1),
    }
    stages = keep_journals(scene.folder, scene.options.home, scene.started_ns, time.monotonic_ns())
    write_verdict(scene.folder, plain, render_findings(findings))
    result = OneFaultResult(plain, findings)
    told = _tell(scene, fault, history, result)
    write_report(scene.folder, Report(**told, timeline=tell_timeline(history, stages)))
    return result


def _tell(scene: Scene, fault: OneFault, history: History, result: OneFaultResult) -> dict[str, Any]:
    plain, pauses = result.plain, result.plain["write_pause_seconds"]
    marks = (("fault", fault.drill), ("healed", "healed"), ("home", "as before"))
    (told_en, told_zh), (end_en, end_zh) = fault.told, OVERALL[result.verdict]
    return {
        "title": fault.title,
        "summary": (
            f"{told_en} {plain['acknowledged_writes']:,} writes were acknowledged meanwhile, "
            f"{say_count(plain['lost'])} of them lost; {plain['failed']} requests failed. {end_en}",
            f"{told_zh}期间确认写入 {plain['acknowledged_writes']:,} 笔，"
            f"其中丢失 {say_count_zh(plain['lost'])}；失败请求 {plain['failed']} 个。{end_zh}",
        ),
        "figures": [
            (f"{max(pauses.values(), default=0.0):.2f} s", "longest write pause", "最长写停顿"),
            (f"{plain['failed']:,}", "failed for the customer", "失败请求"),
            (say_count(plain["lost"]), "acknowledged writes lost", "已确认写入丢失"),
            (f"{plain['requests']:,}", "operations asked for", "请求总数"),
        ],
        "cells": [
            {"cell": cell, "home": home, "longest write pause": f"{pauses[cell]:.2f} s"}
            for cell, home in scene.homes.items()
        ],
        "history": history,
        "homes": scene.homes,
        "findings": result.findings,
        "marks": [PlotMark(at, label) for name, label in marks if (at := history.mark_ns(name)) is not None],
        "origin_ns": history.mark_ns("fault") or scene.started_ns,
        "zero": "the fault",
        "verdict": result.verdict,
        "plain": plain,
        "command": f"biyi stand up\nbiyi drill run {fault.words} --execute --rate {scene.options.rate:g} "
        f"--seed {scene.options.seed}",
    }
