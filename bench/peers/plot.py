"""Draw every run as a bar: how long until noticed, promoted, and the first write. SVG as text.

Colours are written as stand-ins and replaced by CSS variables, which follow the reader's light or dark
theme by themselves, also as an image of a page. Text stays text.
"""

import io
from typing import Any

import matplotlib
from matplotlib.figure import Figure

INK, _WAIT, _PROMOTE, _OPEN = "#010101", "#020202", "#030303", "#040404"
STAND_INS = {"ink": INK, "wait": _WAIT, "promote": _PROMOTE, "open": _OPEN}
_THEMES = """<style>
 svg { --ink: #24292f; --wait: #a8b0ba; --promote: #0969da; --open: #bf5b00 }
 @media (prefers-color-scheme: dark) {
  svg { --ink: #e6edf3; --wait: #5c6570; --promote: #58a6ff; --open: #f0a34a } }
</style>
"""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "biyi", "font.family": "sans-serif", "font.size": 10,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
}  # fmt: skip
_NAMES = {"biyi": "Biyi", "patroni": "Patroni"}
_PARTS = (("noticed_s", "until noticed", _WAIT), ("promoted_s", "until promoted", _PROMOTE),
          ("first_ack_s", "until the first acknowledged write", _OPEN))  # fmt: skip


def draw(result: dict[str, Any]) -> str:
    """Return the plot of the result object (see `__main__`): one bar a run, grouped by side."""
    groups = [
        (name, [run for run in result["runs"] if run["side"] == name and run.get("first_ack_s") is not None])
        for name in _NAMES
    ]
    bars = sum(len(runs) for _, runs in groups)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.6 + 0.22 * bars), layout="constrained")
        axes = figure.subplots()
        row, ticks, names = 0.0, [], []
        for name, runs in groups:
            if not runs:
                continue
            ticks.append(row + (len(runs) - 1) / 2)
            names.append(_label(name, result))
            for run in runs:
                _bar(axes, row, run)
                row += 1
            row += 1
        axes.set_yticks(ticks, names)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.margins(x=0.16)
        axes.set_xlabel("seconds since SIGKILL of the leader's whole site")
        handles = [matplotlib.patches.Patch(color=color, label=label) for _, label, color in _PARTS]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return themed(drawn.getvalue())


def _label(name: str, result: dict[str, Any]) -> str:
    spread = result["summary"][name]["first_ack_s"]
    version = f" {result['versions']['patroni']}" if name == "patroni" else ""
    return f"{_NAMES[name]}{version}\nmedian {spread['median']:.2f} s"


def _bar(axes: Any, row: float, run: dict[str, Any]) -> None:
    left = 0.0
    for part, _, color in _PARTS:
        right = max(left, run[part] if run[part] is not None else left)
        axes.barh(row, right - left, left=left, height=0.78, color=color, linewidth=0)
        left = right
    words = f"{left:.2f} s, {run['failed']} failed, {run['lost']} lost"
    axes.annotate(words, (left, row), (4, 0), textcoords="offset points", va="center", fontsize=8)


def themed(svg: str) -> str:
    """Return the picture with its colours as variables of the reader's theme."""
    for name, stand_in in STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    head, _, rest = svg[svg.index("<svg") :].partition("<defs>")
    return "\n".join(line.rstrip() for line in f"{head}{_THEMES}<defs>{rest}".splitlines()) + "\n"
