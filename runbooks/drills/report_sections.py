"""The sections that every report has: plan, steady state, injection, promises, decisions. Pure."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runbooks.console.words_of_cells import WORDS_OF_CELLS
from runbooks.drills.background import (
    Background,
    DecisionRow,
    find_injections,
    measure_promises,
    measure_steady_state,
)
from runbooks.drills.checkers import Verdict
from runbooks.drills.records import History
from runbooks.drills.wording import SEEN, VALUES, VERDICT_WORDS, head_row
from runbooks.drills.words_of_marks import say_mark

_PLANNED = (("Expected time", "预计用时"), ("Abort rule", "中止规则"), ("Who approves", "谁批准"))
_PEOPLE = {"asked_by": ("asked by", "申请人"), "approved_by": ("approved by", "批准人")}
MOST_DECISIONS = 200
"""Rows of the table of decisions. Source: our choice; the journals beside the report hold the rest."""


def render_plan(background: Background, history: History) -> str:
    """Return the plan: the runbook's steps, its abort rule, and who approved this run."""
    said = background.sections
    if not said:
        return ""
    chinese = background.steps_zh or ("",) * len(background.steps)
    steps = "".join(
        f"<li>{mark_code(step)}{beside(zh)}</li>" for step, zh in zip(background.steps, chinese, strict=True)
    )
    options = history.header.options if history.header else {}
    named = [(*words, options[name]) for name, words in _PEOPLE.items() if name in options]
    people = ", ".join(f"{en} {who}" for en, _, who in named)
    people_zh = "，".join(f"{zh} {VALUES.get(who, who)}" for _, zh, who in named)
    rows = "".join(
        f"<tr><th>{name}<br><small lang=zh>{zh}</small></th>"
        f"<td>{mark_code(said[name])}{beside(background.sections_zh.get(name, ''))}</td></tr>"
        for name, zh in _PLANNED
    )
    approved = html.escape(people or "no approval is recorded") + beside(people_zh or "没有批准记录")
    rows += f"<tr><th>This run<br><small lang=zh>本次</small></th><td>{approved}</td></tr>"
    return _section("Plan", "计划", f"<ol>{steps}</ol><table>{rows}</table>")


def render_steady_state(history: History, origin_ns: int) -> str:
    """Return what the load was like before the injection, and who served each cell."""
    steady = measure_steady_state(history, origin_ns)
    if steady is None:
        none = f"<p>No load ran before the injection.{beside('注入之前没有负载。')}</p>"
        return _section("Steady state", "稳态", none)
    times = f"p50 {steady.p50_ms:.0f} ms, p99 {steady.p99_ms:.0f} ms"
    zh = (
        f"注入之前施加负载 {steady.seconds:.1f} 秒：每秒 {steady.per_second:.1f} 次操作，"
        f"失败 {steady.failed} 次，时延 {times.replace(', ', '，')}。"
    )
    text = (
        f"<p>{steady.seconds:.1f} s of load before it: {steady.per_second:.1f} operations a second, "
        f"{steady.failed} failed, {times}.{beside(zh)}</p>"
    )
    rows = "".join(
        f"<tr><td>{html.escape(cell)}</td><td>{html.escape(served)}</td></tr>"
        for cell, served in steady.cells.items()
    )
    head = head_row("Cell", "Primary, mode, epoch")
    return _section("Steady state", "稳态", f"{text}<table>{head}<tbody>{rows}</tbody></table>")


def render_injections(history: History, origin_ns: int) -> str:
    """Return what was done to the stand; what was about to be done was on disk before it was done."""
    drill, site = (history.header.drill, history.header.site) if history.header else ("", "")
    rows = "".join(
        f"<tr><td class=n>{(mark.at_ns - origin_ns) / 1e9:+.3f}</td>"
        f"<td>{html.escape(mark.text)}{beside(say_mark(mark, drill, site))}</td></tr>"
        for mark in find_injections(history)
    )
    head = head_row("Seconds", "What was done")
    return _section("Injection", "注入", f"<table>{head}<tbody>{rows}</tbody></table>")


def render_promises(history: History, plain: Mapping[str, Any], origin_ns: int) -> str:
    """Return RTO, RPO and pauses beside what was promised."""
    rows = "".join(
        f"<tr><td>{html.escape(one.what)}<br><small lang=zh>{html.escape(one.what_zh)}</small></td>"
        f"<td class=n>{_seen(one.figure)}</td><td>{html.escape(one.promise)}{beside(one.promise_zh)}</td>"
        f"<td>{_chip(one.verdict)}</td></tr>"
        for one in measure_promises(history, plain, origin_ns)
    )
    head = head_row("Figure", "Measured", "Promised", "")
    return _section(
        "Measured against the promise", "实测与承诺", f"<table>{head}<tbody>{rows}</tbody></table>"
    )


def render_seen(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a drill's own table: what was seen of each cell, bank, door or key version; "" without rows."""
    if not rows:
        return ""
    head = head_row(*(str(name) for name in rows[0]))
    body = "".join(
        "<tr>" + "".join(f"<td>{_seen(str(value))}</td>" for value in row.values()) + "</tr>" for row in rows
    )
    title = next(
        (said for word, said in SEEN.items() if any(str(n).startswith(word) for n in rows[0])), SEEN["cell"]
    )
    return _section(*title, f"<table>{head}<tbody>{body}</tbody></table>")


def render_decisions(decisions: Iterable[DecisionRow], origin_ns: int) -> str:
    """Return what each agent decided, and why."""
    found = list(decisions)
    rows = "".join(
        f"<tr><td class=n>{(row.at_ns - origin_ns) / 1e9:+.3f}</td>"
        f"<td class=place>{html.escape(row.place)}</td><td>{_step(row.step)}</td><td>{_why(row.why)}</td>"
        f"<td class=n>{row.epoch}</td></tr>"
        for row in found[:MOST_DECISIONS]
    )
    head = head_row("Seconds", "Agent of", "Decision", "Reason", "Epoch")
    left = len(found) - MOST_DECISIONS
    more = f"{left} more stand in <code>journals/</code>.{beside(f'另有 {left} 条见 journals/。')}"
    note = f"<p class=note>{more}</p>" if left > 0 else ""
    if not found:
        none = f"<p>No agent had to decide.{beside('没有代理需要作出决策。')}</p>"
        return _section("Decisions and their reasons", "决策与理由", none)
    body = f"<table>{head}<tbody>{rows}</tbody></table>{note}"
    return _section("Decisions and their reasons", "决策与理由", body)


def _chip(verdict: Verdict) -> str:
    word_en, word_zh = VERDICT_WORDS[verdict]
    return f'<span class="chip {verdict}">{word_en} {word_zh}</span>'


def _seen(value: str) -> str:
    return html.escape(value) + beside(VALUES.get(value, ""))


def _step(step: str) -> str:
    chinese, english = WORDS_OF_CELLS.get(f"step.{step}", ("", step.replace("_", " ")))
    return f"{html.escape(english)}{beside(chinese)}"


def _why(why: str) -> str:
    chinese, english = WORDS_OF_CELLS.get(f"why.{why}", ("", why.replace("_", " ")))
    return f"{html.escape(english)} <code>{html.escape(why)}</code>{beside(chinese)}"


def mark_code(text: str) -> str:
    """Return a text with what stands in backticks as code, escaped.

    >>> mark_code("run `biyi cells` <now>")
    'run <code>biyi cells</code> &lt;now&gt;'
    """
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def beside(chinese: str) -> str:
    """Return the small Chinese line below an English text; "" without one.

    >>> beside("无丢失")
    '<br><small lang=zh>无丢失</small>'
    """
    return f"<br><small lang=zh>{html.escape(chinese)}</small>" if chinese else ""


def _section(english: str, chinese: str, body: str) -> str:
    return f'<section><h2>{english} <small lang="zh">{chinese}</small></h2>{body}</section>'
