"""Turn a judged drill into one self-contained HTML page, in light and dark, English and Chinese."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

from core_app.business_calendar import SHANGHAI
from runbooks.drills.background import Background
from runbooks.drills.checkers import Finding, Verdict
from runbooks.drills.plot import PlotMark, draw_close_up, draw_overview
from runbooks.drills.records import History
from runbooks.drills.report_sections import (
    beside,
    render_decisions,
    render_injections,
    render_plan,
    render_promises,
    render_seen,
    render_steady_state,
)
from runbooks.drills.wording import MEANINGS, VERDICT_WORDS, head_row

NOTHING_KNOWN = Background()


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One line of the timeline: when (monotonic ns), who, what; `_zh` in Chinese, "" where none is known."""

    at_ns: int
    who: str
    what: str
    who_zh: str = ""
    what_zh: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is made of. Seconds count from `origin_ns`, when `zero` happened."""

    title: tuple[str, str]
    """In English, in Chinese; the summary too."""
    summary: tuple[str, str]
    figures: Sequence[tuple[str, str, str]]
    """Figure, English label, Chinese label."""
    cells: Sequence[Mapping[str, Any]]
    history: History
    homes: Mapping[str, str]
    findings: Sequence[Finding]
    marks: Sequence[PlotMark]
    timeline: Sequence[TimelineRow]
    origin_ns: int
    zero: str
    verdict: Verdict
    plain: Mapping[str, Any]
    command: str


def render_report(report: Report, background: Background = NOTHING_KNOWN) -> str:
    """Return the page; it needs nothing from outside."""
    page = files("runbooks.drills").joinpath("report.html").read_text(encoding="utf-8")
    word_en, word_zh = VERDICT_WORDS[report.verdict]
    header = report.history.header
    parts = {
        "TITLE": html.escape(report.title[0]),
        "TITLE_ZH": html.escape(report.title[1]),
        "VERDICT": f"{word_en} · {word_zh}",
        "VERDICT_CLASS": str(report.verdict),
        "SUMMARY": html.escape(report.summary[0]),
        "SUMMARY_ZH": html.escape(report.summary[1]),
        "STARTED": _instant(header.started_at) if header else "",
        "NOT_HELD": "".join(_not_held(one) for one in report.findings if one.verdict is not Verdict.HOLDS),
        "FIGURES": "".join(_tile(*figure) for figure in report.figures),
        "CELLS": render_seen(report.cells),
        "OVERVIEW": draw_overview(report.history, report.homes, report.marks, report.origin_ns, report.zero),
        "CLOSE_UP": draw_close_up(report.history, report.homes, report.marks, report.origin_ns, report.zero),
        "PLAN": render_plan(background, report.history),
        "STEADY_STATE": render_steady_state(report.history, report.origin_ns),
        "INJECTION": render_injections(report.history, report.origin_ns),
        "PROMISES": render_promises(report.history, report.plain, report.origin_ns),
        "DECISIONS": render_decisions(background.decisions, report.origin_ns),
        "CHECK_HEAD": head_row("", "Check", "Looked at", "Defects", ""),
        "TIMELINE_HEAD": head_row("Seconds", "UTC", "Who", "What"),
        "CHECKS": "".join(_check_row(finding) for finding in report.findings),
        "TIMELINE": "".join(_timeline_row(row, report) for row in report.timeline),
        "COMMAND": html.escape(report.command),
        "JSON": html.escape(json.dumps(report.plain, indent=2, ensure_ascii=False)),
    }
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    return page


def _instant(text: str) -> str:
    """Return an ISO 8601 instant in UTC and in Beijing time.

    >>> _instant("2026-11-22T16:31:07.5+00:00")
    '2026-11-22 16:31:07 UTC &nbsp; 北京时间 2026-11-23 00:31:07'
    """
    at = datetime.fromisoformat(text)
    beijing = at.astimezone(SHANGHAI)
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC &nbsp; 北京时间 {beijing:%Y-%m-%d %H:%M:%S}"


def _tile(figure: str, english: str, chinese: str) -> str:
    return (
        f'<div class="tile"><b>{html.escape(figure)}</b>'
        f"<span>{html.escape(english)}</span><span lang=zh>{html.escape(chinese)}</span></div>"
    )


def _not_held(finding: Finding) -> str:
    """Return what stands at the top: a reader sees at once which promise the verdict is about."""
    english, chinese = MEANINGS.get(finding.name, (finding.name, ""))
    word_en, word_zh = VERDICT_WORDS[finding.verdict]
    example = f": {finding.examples[0]}" if finding.examples else ""
    return (
        f'<p><span class="chip {finding.verdict}">{word_en} {word_zh}</span> '
        f"{html.escape(english + example)}<br><small lang=zh>{html.escape(chinese)}</small></p>"
    )


def _check_row(finding: Finding) -> str:
    english, chinese = MEANINGS.get(finding.name, (finding.name, ""))
    word_en, word_zh = VERDICT_WORDS[finding.verdict]
    examples = "".join(f"<li>{html.escape(example)}</li>" for example in finding.examples)
    return (
        f'<tr><td><span class="chip {finding.verdict}">{word_en} {word_zh}</span></td>'
        f"<td>{html.escape(english)}<br><small lang=zh>{html.escape(chinese)}</small>"
        f"{f'<ul>{examples}</ul>' if examples else ''}</td>"
        f"<td class=n>{finding.looked_at:,}</td><td class=n>{finding.count:,}</td>"
        f"<td><code>{html.escape(finding.name)}</code></td></tr>"
    )


def _timeline_row(row: TimelineRow, report: Report) -> str:
    seconds = (row.at_ns - report.origin_ns) / 1e9
    header = report.history.header
    clock = ""
    if header is not None:
        at = datetime.fromisoformat(header.started_at) + timedelta(
            seconds=(row.at_ns - header.started_ns) / 1e9
        )
        clock = at.strftime("%H:%M:%S.%f")[:-3]
    kind = "step" if row.who == "drill" else "agent"
    return (
        f"<tr class={kind}><td class=n>{seconds:+.3f}</td><td class=n>{clock}</td>"
        f"<td class=place>{html.escape(row.who)}{beside(row.who_zh)}</td>"
        f"<td>{html.escape(row.what)}{beside(row.what_zh)}</td></tr>"
    )
