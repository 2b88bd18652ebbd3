"""The report of a run as one HTML page, Chinese with English beside it."""

import html
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from compliance.controls.catalogue import Catalogue, Item
from compliance.controls.judge import Outcome, State
from compliance.controls.pack import Run

STATE_WORDS = {State.MET: "符合 met", State.NOT_MET: "不符合 not met", State.UNKNOWN: "未知 unknown"}
RISK_WORDS = {
    State.MET: "排除 excluded",
    State.NOT_MET: "存在 raised",
    State.UNKNOWN: "无法排除 cannot be excluded",
}
BASIS_WORDS = {"live": "实测 live", "partial": "实测加声明 partial", "attested": "声明 attested"}


def render_page(
    run: Run, catalogue: Catalogue, pack_sm3: str, history: Sequence[Mapping[str, Any]]
) -> str:  # fmt: skip
    """Return the page; it needs nothing from outside."""
    text = files("runbooks.controls").joinpath("page.html").read_text(encoding="utf-8")
    score = run.score
    parts = {
        "form": "测试台 stand" if run.form == "stand" else "集群 cluster",
        "number": str(run.number), "at": run.seen.now.isoformat()[:19] + "Z", "sm3": pack_sm3,
        "conclusion": str(score.conclusion_2025), "met": f"{score.met_percent:.2f}",
        "if_known": f"{score.if_known_percent:.2f}", "points": f"{score.points_2021:.2f}",
        "band": score.band_2021,
        "counts": ", ".join(f"{STATE_WORDS[state]} {n}" for state, n in score.counts.items()),
        "live": _live(run, catalogue), "triggers": _rows(_triggers(run)),
        "gaps": _rows(_gaps(run, catalogue)), "exceptions": _rows(_exceptions(run, catalogue)),
        "items": _rows(_items(run, catalogue)), "history": _rows(_history(history)),
        "readings": _rows(_readings(run)),
    }  # fmt: skip
    return Template(text).substitute(parts)


def _live(run: Run, catalogue: Catalogue) -> str:
    live = [run.outcomes[item.id] for item in catalogue.items.values() if item.basis == "live"]
    return f"{sum(one.state is State.MET for one in live)} / {len(live)}"


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )


def _name(item: Item) -> str:
    return f"{item.point_text.zh}：{item.text.zh} · {item.text.en}"


def _triggers(run: Run) -> Iterable[Sequence[str]]:
    for one in run.score.triggers:
        text = f"{one.trigger.text.zh} · {one.trigger.text.en}"
        yield one.trigger.id, text, RISK_WORDS[one.state], " ".join(one.items)


def _gaps(run: Run, catalogue: Catalogue) -> Iterable[Sequence[str]]:
    for gap in run.score.gaps:
        item = catalogue.items[gap.item]
        yield (
            gap.item,
            _name(item),
            STATE_WORDS[gap.state],
            f"{gap.cost:.2f}",
            " ".join(gap.triggers),
            item.owner,
        )


def _exceptions(run: Run, catalogue: Catalogue) -> Iterable[Sequence[str]]:
    if run.form != "stand":
        return
    for name, note in catalogue.stand_notes.items():
        if run.outcomes[name].state is not State.MET:
            yield name, STATE_WORDS[run.outcomes[name].state], f"{note.zh} · {note.en}"


def _items(run: Run, catalogue: Catalogue) -> Iterable[Sequence[str]]:
    for item in catalogue.items.values():
        outcome: Outcome = run.outcomes[item.id]
        why = "; ".join(f"{v.where}: {reason}" for v in outcome.verdicts for reason in v.reasons)
        evidence = " ".join(dict.fromkeys(mark[:12] for v in outcome.verdicts for mark in v.evidence))
        yield (
            item.id, _name(item), BASIS_WORDS[item.basis], str(item.weight), item.owner,
            STATE_WORDS[outcome.state], why, evidence,
        )  # fmt: skip


def _readings(run: Run) -> Iterable[Sequence[str]]:
    for one in run.seen.readings:
        facts = "; ".join(f"{key} = {value}" for key, value in (one.facts or {}).items())
        yield one.sm3[:12], one.probe, one.where, one.at.isoformat()[:19], one.failure or facts[:600]


def _history(history: Sequence[Mapping[str, Any]]) -> Iterable[Sequence[str]]:
    for run in history:
        yield (
            str(run["number"]), str(run["run_at"])[:19], str(run["met"]), str(run["not_met"]),
            str(run["unknown"]), f"{run['met_percent']:.2f}", f"{run['points_2021']:.2f}", run["pack_sm3"],
        )  # fmt: skip
