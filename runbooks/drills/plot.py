"""Draw a drill as SVG for its report: latency, throughput, who served which cell, the takeover close up.

Colours are written as stand-ins and replaced by CSS variables, so that one drawing follows the
reader's light or dark theme. Text stays text.
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runbooks.drills.measure import compute_rates, site_of
from runbooks.drills.records import GrantNote, History, Op, Outcome

_INK, _FAINT, _RED, _CARD = "#010101", "#020202", "#030303", "#060606"
_SITES = {"idc": "#040404", "cloud": "#050505"}
_VARIABLES = {
    _INK: "var(--ink)", _FAINT: "var(--faint)", _RED: "var(--bad)", _CARD: "var(--card)",
    _SITES["idc"]: "var(--idc)", _SITES["cloud"]: "var(--cloud)",
}  # fmt: skip
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "biyi", "font.family": "sans-serif", "font.size": 10,
    "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _FAINT, "xtick.color": _INK,
    "ytick.color": _INK, "axes.spines.top": False, "axes.spines.right": False, "grid.color": _FAINT,
    "grid.linewidth": 0.5, "grid.alpha": 0.5,
}  # fmt: skip
_BUCKET_S = 0.5
_LABEL_GAP = 0.028
"""Least distance of two mark labels as a share of the width; closer ones go to another row."""


@dataclass(frozen=True, slots=True)
class PlotMark:
    """A vertical line: when (monotonic ns) and its short label."""

    at_ns: int
    label: str


def draw_overview(
    history: History, homes: Mapping[str, str], marks: Sequence[PlotMark], origin_ns: int, zero: str
) -> str:
    """Return the whole run as one SVG: latency, throughput, and by which site each cell was served.

    Seconds count from `origin_ns`; `zero` says what happened then.
    """
    ops = [op for op in history.ops if op.phase == "load"]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(11, 7.2), layout="constrained")
        tall, middle, low = figure.subplots(
            3, 1, sharex=True, height_ratios=[4, 2.4, 0.55 * len(homes) + 0.3]
        )
        _scatter(tall, ops, homes, origin_ns)
        _throughput(middle, ops, homes, origin_ns)
        start_s, end_s = _span(ops, marks, origin_ns)
        _lanes(low, history.grants, homes, origin_ns, (start_s, end_s))
        low.set_xlim(start_s, end_s)
        low.set_xlabel(f"seconds since {zero}")
        for axes in (tall, middle, low):
            _lines(axes, marks, origin_ns)
        _labels(tall, marks, origin_ns, (start_s, end_s))
        return _to_svg(figure)


def draw_close_up(
    history: History, homes: Mapping[str, str], marks: Sequence[PlotMark], origin_ns: int, zero: str
) -> str:
    """Return the seconds around `origin_ns` as SVG: each dot is a customer by arrival and waiting time."""
    near = [mark for mark in marks if -1.0 <= (mark.at_ns - origin_ns) / 1e9 <= 8.0]
    end_s = max(4.0, max(((mark.at_ns - origin_ns) / 1e9 for mark in near), default=0.0) + 1.5)
    ops = [
        op
        for op in history.ops
        if op.phase == "load" and -1.0 <= (op.scheduled_ns - origin_ns) / 1e9 <= end_s
    ]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        axes = figure.subplots()
        _scatter(axes, ops, homes, origin_ns)
        axes.set_yscale("linear")
        axes.set_ylabel("wait, ms")
        axes.set_ylim(bottom=0)
        axes.set_xlim(-1.0, end_s)
        axes.set_xlabel(f"arrival of the customer, seconds since {zero}")
        _lines(axes, near, origin_ns)
        _labels(axes, near, origin_ns, (-1.0, end_s))
        return _to_svg(figure)


def _scatter(axes: Axes, ops: Iterable[Op], homes: Mapping[str, str], origin_ns: int) -> None:
    ops = list(ops)
    for cell, home in homes.items():
        good = [op for op in ops if op.cell == cell and op.outcome is Outcome.OK]
        axes.scatter(
            [(op.scheduled_ns - origin_ns) / 1e9 for op in good],
            [max(0.1, op.latency_seconds * 1000) for op in good],
            s=9, color=_SITES[home], alpha=0.55, linewidths=0, label=f"cell {cell}, home {home}",
        )  # fmt: skip
    bad = [op for op in ops if op.outcome is not Outcome.OK]
    axes.scatter(
        [(op.scheduled_ns - origin_ns) / 1e9 for op in bad],
        [max(0.1, op.latency_seconds * 1000) for op in bad],
        s=30, color=_RED, marker="x", label=f"not acknowledged ({len(bad)})",
    )  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_plain_number)
    axes.set_ylabel("latency from arrival, ms")
    axes.grid(axis="y")
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Write what the dots are above the drawing, where none of them can lie under it."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - it is drawn into one
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper right",
        frameon=False,
        fontsize=9,
        ncols=3,
        markerscale=2,
    )


def _plain_number(value: float, _position: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _throughput(axes: Axes, ops: Iterable[Op], homes: Mapping[str, str], origin_ns: int) -> None:
    ops = list(ops)
    for cell, home in homes.items():
        rates = compute_rates(ops, cell, origin_ns, _BUCKET_S)
        axes.step(
            [at for at, _ in rates], [rate for _, rate in rates], where="post", color=_SITES[home], lw=1.4
        )
    axes.set_ylabel("acknowledged/s")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")


def _lanes(
    axes: Axes,
    grants: Sequence[GrantNote],
    homes: Mapping[str, str],
    origin_ns: int,
    span: tuple[float, float],
) -> None:
    names, (start_s, end_s) = list(homes), span
    for lane, cell in enumerate(names):
        notes = [note for note in grants if note.cell == cell]
        for note, after in zip(notes, [*notes[1:], None], strict=True):
            left = (note.at_ns - origin_ns) / 1e9
            right = (after.at_ns - origin_ns) / 1e9 if after else end_s
            alpha = {"SYNC": 0.55, "ALONE": 0.25}.get(note.mode, 0.1)
            color = _SITES[site_of(note.primary)]
            axes.broken_barh(
                [(left, max(0.0, right - left))], (lane - 0.36, 0.72), color=color, alpha=alpha, lw=0
            )
            shown_s = max(left, start_s)
            if right - shown_s > 0.16 * (end_s - start_s):
                text = f"{site_of(note.primary)} · epoch {note.epoch} · {note.mode}"
                axes.text(
                    shown_s + 0.006 * (end_s - start_s), lane, text, va="center", fontsize=8.5, clip_on=True
                )
    axes.set_yticks(range(len(names)), [f"cell {name}" for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _lines(axes: Axes, marks: Iterable[PlotMark], origin_ns: int) -> None:
    for mark in marks:
        color = _RED if mark.label.startswith("kill") else _INK
        axes.axvline((mark.at_ns - origin_ns) / 1e9, color=color, lw=0.9, ls=(0, (4, 3)), alpha=0.8)


def _labels(axes: Axes, marks: Sequence[PlotMark], origin_ns: int, span: tuple[float, float]) -> None:
    """Write the labels over the axes; a label that would run into another one goes a row higher."""
    rows: list[float] = []
    for mark in sorted(marks, key=lambda mark: mark.at_ns):
        x = ((mark.at_ns - origin_ns) / 1e9 - span[0]) / (span[1] - span[0])
        width = _LABEL_GAP + 0.0075 * len(mark.label)
        row = next((n for n, taken_to in enumerate(rows) if taken_to <= x), len(rows))
        rows[row : row + 1] = [x + width]
        axes.annotate(
            mark.label, (x, 1.0), xytext=(2, 3 + 13 * row), xycoords="axes fraction",
            textcoords="offset points", fontsize=8.5, va="bottom",
            color=_RED if mark.label.startswith("kill") else _INK, annotation_clip=False,
        )  # fmt: skip


def _span(ops: Sequence[Op], marks: Sequence[PlotMark], origin_ns: int) -> tuple[float, float]:
    instants = [op.completed_ns for op in ops] + [op.scheduled_ns for op in ops] + [m.at_ns for m in marks]
    if not instants:
        return 0.0, 1.0
    return math.floor((min(instants) - origin_ns) / 1e9), math.ceil((max(instants) - origin_ns) / 1e9 + 0.5)


def _to_svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, variable)
    return text
