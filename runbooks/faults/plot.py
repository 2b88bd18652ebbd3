"""Draw a run as one SVG: faults as bars, operations a second by outcome, the mode of each cell."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runbooks.drills.measure import site_of
from runbooks.drills.records import GrantNote, History, Outcome
from runbooks.faults.model import BatchDone, FaultDone
from runbooks.faults.records import Op

_OUTCOMES = {Outcome.OK: "#2a9d58", Outcome.UNKNOWN: "#e0a100", Outcome.FAIL: "#c0392b"}
_SITES = {"idc": "#3b6fb6", "cloud": "#8a5cb8"}
_ALPHA = {"SYNC": 0.75, "ALONE": 0.35}
_INCHES_A_MINUTE, _LEAST_INCHES, _MOST_INCHES = 5.0, 12.0, 200.0


def draw_timeline(
    path: Path,
    faults: Sequence[FaultDone],
    batches: Sequence[BatchDone],
    ops: Iterable[Op],
    history: History,
) -> None:
    """Write the picture; seconds count from the first batch."""
    if not batches:
        return
    origin_ns = batches[0].began_ns
    end_s = (max([b.whole_ns or b.healed_ns for b in batches]) - origin_ns) / 1e9 + 5
    width = min(_MOST_INCHES, max(_LEAST_INCHES, end_s / 60 * _INCHES_A_MINUTE))
    names = sorted({fault.name for fault in faults})
    figure = Figure(figsize=(width, 4.5 + 0.22 * len(names)), layout="constrained")
    bars, rates, modes = figure.subplots(3, 1, sharex=True, height_ratios=[0.22 * len(names) + 0.5, 2.2, 1.2])
    _draw_faults(bars, names, faults, origin_ns)
    _draw_rates(rates, ops, origin_ns)
    _draw_modes(modes, history.grants, origin_ns, end_s)
    for axes in (bars, rates, modes):
        for batch in batches:
            axes.axvline((batch.began_ns - origin_ns) / 1e9, color="#999999", lw=0.6, ls=":")
    modes.set_xlim(-1, end_s)
    modes.set_xlabel("seconds since the first batch; dotted: a batch begins")
    figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_faults(axes: Axes, names: Sequence[str], faults: Iterable[FaultDone], origin_ns: int) -> None:
    for fault in faults:
        if fault.happened:
            left, right = (fault.began_ns - origin_ns) / 1e9, (fault.ended_ns - origin_ns) / 1e9
            row = names.index(fault.name)
            axes.broken_barh([(left, max(0.15, right - left))], (row - 0.4, 0.8), color="#b3413a", alpha=0.7)
            axes.text(left, row, fault.target, fontsize=5, va="center", clip_on=True)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", lw=0.3)


def _draw_rates(axes: Axes, ops: Iterable[Op], origin_ns: int) -> None:
    counts: dict[Outcome, Counter[int]] = {outcome: Counter() for outcome in Outcome}
    for op in ops:
        counts[op.outcome][int(((op.completed_ns or op.invoked_ns) - origin_ns) // 1_000_000_000)] += 1
    for outcome, color in _OUTCOMES.items():
        seconds = sorted(counts[outcome])
        if seconds:
            span = range(seconds[0], seconds[-1] + 1)
            axes.step(
                span, [counts[outcome][s] for s in span], where="post", color=color, lw=1, label=outcome
            )
    axes.set_ylabel("workload operations/s")
    axes.legend(loc="upper right", fontsize=7, ncols=3)


def _draw_modes(axes: Axes, grants: Sequence[GrantNote], origin_ns: int, end_s: float) -> None:
    cells = sorted({note.cell for note in grants})
    for row, cell in enumerate(cells):
        notes = [note for note in grants if note.cell == cell]
        for note, after in zip(notes, [*notes[1:], None], strict=True):
            left = (note.at_ns - origin_ns) / 1e9
            right = (after.at_ns - origin_ns) / 1e9 if after else end_s
            color = _SITES[site_of(note.primary)]
            axes.broken_barh(
                [(left, max(0.0, right - left))], (row - 0.36, 0.72), color=color, lw=0,
                alpha=_ALPHA.get(note.mode, 0.12),
            )  # fmt: skip
            if right - left > 3:
                axes.text(left + 0.1, row, f"{note.epoch} {note.mode}", fontsize=6, va="center", clip_on=True)
    axes.set_yticks(range(len(cells)), [f"cell {cell}" for cell in cells], fontsize=8)
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.set_title(
        "served by idc (blue) or cloud (violet): full in sync, pale alone, faint taking", fontsize=7
    )
