"""Show a matrix run while it goes on: batch, active faults, outcomes, cells, what is left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from runbooks.drills.live import cells_table, counts_text
from runbooks.drills.records import Outcome
from runbooks.faults.runner import Run

_STYLES = {Outcome.OK: "green", Outcome.UNKNOWN: "yellow", Outcome.FAIL: "red"}


class RunView:
    """Draws the run it was given; rich asks it anew at every redraw."""

    def __init__(self) -> None:
        self._run: Run | None = None

    def show(self, run: Run) -> None:
        """Draw this run from now on."""
        self._run = run

    def __rich__(self) -> Panel:
        run = self._run
        if run is None:
            return Panel(Text("bringing the stand up …", style="dim"), title="fault matrix")
        elapsed_s = (time.monotonic_ns() - run.scene.started_ns) / 1e9
        head = Text.assemble(
            (f"{elapsed_s:7.0f} s  ", "dim"), (run.phase, "bold"), f"   {_left(run, elapsed_s)}"
        )
        active = ", ".join(f"{plan.name} {plan.target}" for plan in run.injection.active.values())
        body = Group(
            head, Text(active or "nothing is broken", style="red" if active else "dim"),
            cells_table(run.scene), _outcomes(run), counts_text(run.scene),
        )  # fmt: skip
        return Panel(body, title="fault matrix", padding=(0, 1))


@contextmanager
def run_view(console: Console) -> Iterator[RunView]:
    """Show a live view while the block runs."""
    view = RunView()
    with Live(view, console=console, refresh_per_second=2):
        yield view


def _left(run: Run, elapsed_s: float) -> str:
    total, done = run.options.schedule.faults, len(run.faults)
    if run.options.minutes is not None:
        left_s = max(0.0, run.options.minutes * 60 - elapsed_s)
        return f"{run.happened} faults, {left_s / 60:.0f} min left"
    if not done:
        return f"0 of {total} faults"
    return f"{run.happened} of {total} faults, about {(total - done) * elapsed_s / done / 60:.0f} min left"


def _outcomes(run: Run) -> Text:
    counts = run.workloads.counts
    text = Text("workloads  ")
    for outcome, style in _STYLES.items():
        text.append(f"{counts.outcomes[outcome]:,} {outcome}   ", style=style)
    return text.append(f"{counts.in_flight} in flight", style="dim")
