"""Draw what a stand held during a soak. SVG whose colours follow the reader's theme."""

import io
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure

from bench.peers.plot import INK, STAND_INS, STYLE, themed

_TITLES = {
    "rss_mib": "resident memory, MiB",
    "own_mib": "memory of one PostgreSQL process alone, the largest, MiB",
    "files": "open files",
    "sessions": "PostgreSQL processes",
    "wal_mib": "most WAL a copy keeps, MiB",
    "slots": "replication slots",
    "asides": "directories set aside",
}
_COLOURS = list(STAND_INS.values())


def draw(samples: Sequence[tuple[float, Mapping[str, float]]]) -> str:
    """Return one panel a kind of figure, one line a kind of process, over the minutes of the run."""
    with matplotlib.rc_context(STYLE):
        picture = Figure(figsize=(9, 13), layout="constrained")
        for axes, (what, title) in zip(
            picture.subplots(len(_TITLES), sharex=True), _TITLES.items(), strict=True
        ):
            names = sorted({name for _, sample in samples for name in sample if name.startswith(f"{what}/")})
            for number, name in enumerate(names):
                line = [(minute, sample[name]) for minute, sample in samples if name in sample]
                colour = _COLOURS[number % len(_COLOURS)] if len(names) > 1 else INK
                axes.plot(*zip(*line, strict=True), color=colour, linewidth=1.2)
                axes.annotate(
                    name.partition("/")[2], line[-1], (4, 0), textcoords="offset points", fontsize=7
                )
            axes.set_title(title, loc="left", fontsize=9)
            axes.set_ylim(bottom=0)
        axes.set_xlabel("minutes")
        drawn = io.StringIO()
        picture.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return themed(drawn.getvalue())
