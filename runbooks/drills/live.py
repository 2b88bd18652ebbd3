"""Show a drill while it runs: both sites, every cell, what customers get. Terminal only."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from replication.model import DATA_SITES
from runbooks.drills.scene import Scene

_PER_SECOND = 5
"""Redraws a second. Source: our choice; readable, and nothing on two cores."""
_MODE_STYLES = {"SYNC": "green", "ALONE": "yellow", "TAKING": "bold magenta", "MOVING": "cyan"}


class LiveView:
    """Draws the scene it was given; rich asks it anew at every redraw."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._scene: Scene | None = None

    def show(self, scene: Scene) -> None:
        """Draw this scene from now on."""
        self._scene = scene

    def __rich__(self) -> Panel:
        scene = self._scene
        if scene is None:
            return Panel(Text("looking for the stand …", style="dim"), title=self._title)
        elapsed_s = (time.monotonic_ns() - scene.started_ns) / 1e9
        phase = Text.assemble((f"{elapsed_s:6.1f} s  ", "dim"), (scene.phase, "bold"))
        sites = Columns([_site_text(scene, str(site)) for site in DATA_SITES], padding=(0, 4))
        return Panel(
            Group(phase, sites, cells_table(scene), counts_text(scene)), title=self._title, padding=(0, 1)
        )


@contextmanager
def live_view(title: str, console: Console) -> Iterator[LiveView]:
    """Show a live view while the block runs; it stays on the screen afterwards."""
    view = LiveView(title)
    with Live(view, console=console, refresh_per_second=_PER_SECOND):
        yield view


def _site_text(scene: Scene, site: str) -> Text:
    dead = scene.dead is not None and str(scene.dead) == site
    return Text.assemble((f"{site} ", "bold"), ("DEAD", "bold white on red") if dead else ("up", "green"))


def cells_table(scene: Scene) -> Table:
    """Return one row a cell: who serves it, in which epoch and mode, how fast."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("cell", "home", "served by", "epoch", "mode", "in sync with", "ops/s", "last answer"):
        table.add_column(name, justify="right" if name in ("epoch", "ops/s", "last answer") else "left")
    now_s = time.monotonic()
    for cell, home in scene.homes.items():
        grant = scene.watch.grants.get(cell)
        if grant is None:
            table.add_row(cell, home, "?")
            continue
        latency = scene.load.stats.last_latency_ms.get(cell)
        partners = ", ".join(sorted(str(copy.site) for copy in grant.sync_set)) or "nobody"
        table.add_row(
            cell,
            home,
            Text(str(grant.primary.site), style="" if grant.primary.site == home else "yellow"),
            str(grant.epoch),
            Text(str(grant.mode), style=_MODE_STYLES.get(str(grant.mode), "")),
            partners,
            f"{scene.load.stats.rate(cell, now_s):.0f}",
            "" if latency is None else f"{latency:,.0f} ms",
        )
    return table


def counts_text(scene: Scene) -> Text:
    """Return what customers got so far."""
    stats = scene.load.stats
    return Text.assemble(
        (f"{stats.acknowledged:,} acknowledged", "green"),
        f"   {stats.in_flight:,} waiting   {stats.repeated:,} asked again   ",
        (f"{stats.unknown:,} unknown", "yellow" if stats.unknown else "dim"),
        "   ",
        (f"{stats.failed:,} failed", "bold red" if stats.failed else "dim"),
    )
