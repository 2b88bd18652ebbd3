"""Tell a judged drill: which marks its plots carry, what the timeline says, which figures stand on top."""

from collections.abc import Mapping, Sequence
from typing import Any

from runbooks.drills.checkers import Verdict
from runbooks.drills.plot import PlotMark
from runbooks.drills.records import History
from runbooks.drills.report import Report, TimelineRow
from runbooks.drills.verdict import CellResult, SiteLossResult
from runbooks.drills.wording import OVERALL
from runbooks.drills.words_of_marks import say_mark, say_stage
from runbooks.evidence import StageMark

_TIMELINE_MOST = 250
"""Rows of a report's timeline. Source: our choice; the journals hold the rest."""


def tell_site_loss(
    history: History, result: SiteLossResult, plain: Mapping[str, Any], stages: Sequence[StageMark]
) -> Report:
    """Return the report of a site-loss drill."""
    origin_ns = history.mark_ns("kill") or (history.header.started_ns if history.header else 0)
    header = history.header
    again = f"biyi stand up\nbiyi drill run site-loss --site {result.site} --execute"
    if header is not None:
        again += f" --rate {header.rate:g} --seed {header.seed}"
    return Report(
        title=(f"Site loss drill: {result.site}", f"站点失效演练：{result.site}"),
        summary=say_site_loss(result, plain),
        figures=_site_loss_figures(result, plain),
        cells=[_cell_row(name, cell) for name, cell in result.cells.items()],
        history=history,
        homes={name: cell.home for name, cell in result.cells.items()},
        findings=result.findings,
        marks=find_site_loss_marks(history, result, stages),
        timeline=tell_timeline(history, stages, _first_writes(result)),
        origin_ns=origin_ns,
        zero="the kill",
        verdict=result.verdict,
        plain=plain,
        command=again,
    )


def say_site_loss(result: SiteLossResult, plain: Mapping[str, Any]) -> tuple[str, str]:
    """Return two or three sentences for somebody who has never seen a drill, in English and in Chinese."""
    return _say_site_loss_en(result, plain), _say_site_loss_zh(result, plain)


def _say_site_loss_en(result: SiteLossResult, plain: Mapping[str, Any]) -> str:
    waits = [
        f"cell {name} ({cell.home}) could write again after {_s(cell.rto_seconds)}"
        for name, cell in result.cells.items()
        if cell.lost_primary
    ]
    writes = f"{plain['acknowledged_writes']:,} acknowledged writes"
    proof = {
        Verdict.HOLDS: f"None of {writes} was lost; all checks hold.",
        Verdict.BROKEN: f"{say_count(plain['lost'])} acknowledged writes were lost; not all below holds.",
        Verdict.UNKNOWN: OVERALL[Verdict.UNKNOWN][0],
    }[result.verdict]
    return (
        f"Every process of site {result.site} was killed while customers went on asking at both entrances; "
        f"{', '.join(waits) or 'no cell lost its primary'}. {proof}"
    )


def _say_site_loss_zh(result: SiteLossResult, plain: Mapping[str, Any]) -> str:
    waits = [
        f"单元 {name}（归属 {cell.home}）"
        + ("始终未恢复写入" if cell.rto_seconds is None else f"在 {cell.rto_seconds:.2f} 秒后恢复写入")
        for name, cell in result.cells.items()
        if cell.lost_primary
    ]
    proof = {
        Verdict.HOLDS: f"已确认的 {plain['acknowledged_writes']:,} 笔写入无一丢失，各项核验均成立。",
        Verdict.BROKEN: f"已确认的写入丢失 {say_count_zh(plain['lost'])}，下列核验并非全部成立。",
        Verdict.UNKNOWN: OVERALL[Verdict.UNKNOWN][1],
    }[result.verdict]
    return (
        f"客户经两个入口持续请求期间，站点 {result.site} 的全部进程被终止；"
        f"{'，'.join(waits) or '没有单元失去主库'}。{proof}"
    )


def find_site_loss_marks(
    history: History, result: SiteLossResult, stages: Sequence[StageMark]
) -> list[PlotMark]:
    """Return the marks of the plots: kill, grant, promote, first write, restart, rejoin, fail-back."""
    kill_ns = history.mark_ns("kill")
    if kill_ns is None:
        return []
    marks = [PlotMark(kill_ns, f"kill {result.site}")]
    lost = [name for name, cell in result.cells.items() if cell.lost_primary]
    for cell in lost:
        for stage, label in (("grant_taking", "grant"), ("promoted", "promote")):
            at_ns = next(
                (s.at_ns for s in stages if (s.cell, s.stage) == (cell, stage) and s.at_ns > kill_ns), None
            )
            if at_ns is not None:
                marks.append(PlotMark(at_ns, f"{label} {cell}"))
        first_ns = result.cells[cell].first_write_ns
        if first_ns is not None:
            marks.append(PlotMark(first_ns, f"first write {cell}"))
    for name, label in (("restart", "restart"), ("rejoined", "rejoin"), ("home", "fail-back")):
        at_ns = history.mark_ns(name)
        if at_ns is not None:
            marks.append(PlotMark(at_ns, label))
    restart_ns = history.mark_ns("restart")
    for deed in stages:
        if deed.stage == "move_begin" and restart_ns is not None and deed.at_ns > restart_ns:
            marks.append(PlotMark(deed.at_ns, f"move {deed.cell} home"))
    degraded = next((s for s in stages if s.stage == "degraded" and s.at_ns > kill_ns), None)
    if degraded is not None:
        marks.append(PlotMark(degraded.at_ns, f"alone {degraded.cell}"))
    return sorted(marks, key=lambda mark: mark.at_ns)


def tell_timeline(
    history: History, stages: Sequence[StageMark], extra: Sequence[TimelineRow] = ()
) -> list[TimelineRow]:
    """Return the runbook's steps and the agents' deeds in the order in which they happened."""
    drill, site = (history.header.drill, history.header.site) if history.header else ("", "")
    rows = [
        TimelineRow(mark.at_ns, "drill", mark.text, "演练", say_mark(mark, drill, site))
        for mark in history.marks
    ]
    for stage in stages:
        detail = f" ({stage.detail})" if stage.detail else ""
        what = f"{stage.stage.replace('_', ' ')}, epoch {stage.epoch}{detail}"
        who, who_zh = f"agent of {stage.place}", f"{stage.place} 的代理"
        rows.append(TimelineRow(stage.at_ns, who, what, who_zh, say_stage(stage.stage, stage.epoch)))
    return sorted([*rows, *extra], key=lambda row: row.at_ns)[:_TIMELINE_MOST]


def _first_writes(result: SiteLossResult) -> list[TimelineRow]:
    return [
        TimelineRow(
            cell.first_write_ns,
            "drill",
            f"first write of cell {name} acknowledged, epoch {cell.epoch_after}",
            "演练",
            f"单元 {name} 首笔写入已确认，纪元 {cell.epoch_after}",
        )
        for name, cell in result.cells.items()
        if cell.first_write_ns is not None
    ]


def _site_loss_figures(result: SiteLossResult, plain: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    waits = [cell.rto_seconds for cell in result.cells.values() if cell.lost_primary]
    worst = None if None in waits or not waits else max(wait for wait in waits if wait is not None)
    return [
        (_s(worst), "kill to first write", "恢复写入时间"),
        (say_count(plain["lost"]), "acknowledged writes lost", "已确认写入丢失"),
        (f"{plain['requests']:,}", "operations asked for", "请求总数"),
        (f"{plain['failed']:,}", "failed for the customer", "失败请求"),
        (
            f"{plain['unknown']:,} → {plain['unknown_unresolved']:,}",
            "unknown, then left so",
            "结果未知 → 未决",
        ),
        (_s(result.rejoin_seconds), "restart to back in sync", "重新同步时间"),
    ]


def _cell_row(name: str, cell: CellResult) -> dict[str, Any]:
    return {
        "cell": name,
        "home": cell.home,
        "lost its primary": "yes" if cell.lost_primary else "no",
        "kill to first write": _s(cell.rto_seconds) if cell.lost_primary else "kept writing",
        "longest write pause": _s(cell.pause_seconds),
        "failed": cell.failed,
        "epoch": f"{cell.epoch_before} → {cell.epoch_after}" if cell.lost_primary else cell.epoch_before,
    }


def say_count(value: int | None) -> str:
    """Return a count for people; one that nobody could establish is said to be unknown."""
    return "unknown" if value is None else f"{value:,}"


def say_count_zh(value: int | None) -> str:
    """Return a count of writes in Chinese.

    >>> say_count_zh(1200), say_count_zh(None)
    ('1,200 笔', '数量未知')
    """
    return "数量未知" if value is None else f"{value:,} 笔"


def _s(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"
