"""Draw how far each headline figure is from its goal. SVG whose colours follow the reader's theme."""

import io
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from bench.peers.plot import INK, STAND_INS, STYLE, themed

_MET, _MISSED = STAND_INS["promote"], STAND_INS["open"]


def draw(figures: Sequence[tuple[str, float, bool]]) -> str:
    """Return a bar a figure (name, distance, met): 1 is the goal, to the right is better, cut off at 4."""
    with matplotlib.rc_context(STYLE):
        picture = Figure(figsize=(9, 0.9 + 0.28 * len(figures)), layout="constrained")
        axes = picture.subplots()
        for row, (_, distance, met) in enumerate(figures):
            axes.barh(row, distance, height=0.7, color=_MET if met else _MISSED, linewidth=0)
            words = f"{distance:.2f} ×" if distance < 4 else "≥ 4 ×"
            axes.annotate(words, (distance, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.axvline(1, color=INK, linewidth=1)
        axes.set_yticks(range(len(figures)), [name for name, _, _ in figures])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 4.5)
        axes.set_xlabel("goal = 1; further right is better")
        handles = [
            matplotlib.patches.Patch(color=color, label=label)
            for color, label in ((_MET, "goal met"), (_MISSED, "goal missed"))
        ]
        picture.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
        drawn = io.StringIO()
        picture.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return themed(drawn.getvalue())
