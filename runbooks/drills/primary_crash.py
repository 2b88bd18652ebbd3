"""Runbook: kill a cell's primary under load, and only it; its copy at the other site takes over.

When: before each release, after any change to failover, and monthly.
Who approves: the operations lead on duty and the business owner of the day (on the stand: nobody).
Expected time: about 40 s; 6 s of load, the take-over (about a second), 10 s at the other site, the old
primary's rejoin and the move home, 4 s more.
Abort rule: Ctrl-C at any time; the agent restarts and rejoins its copy by itself.

Steps: check -> load -> SIGKILL to the postmaster of the primary -> the agent declares it down, the copy is
promoted -> the old one rejoins by itself -> the cell goes home -> stop the load -> resolve -> read the
final rows -> verify the audit trail -> judge: nothing lost, written again within 5 s, the other cell
undisturbed.
"""

import os
import signal
import time
from collections.abc import Mapping
from functools import partial

from replication.model import Site, other_data_site
from runbooks.drills.checkers import Finding
from runbooks.drills.one_fault import OneFault, judge_pauses, judge_take_over
from runbooks.drills.records import History
from runbooks.drills.scene import DrillRefused, Scene
from runbooks.drills.verdict import PAUSE_LIMIT_S
from runbooks.stand.topology import read_stand

LASTS_S = 10.0
"""Time to look at before it is waited for the way home. Source: our choice, that of a site loss."""


def make_primary_crash(cell: str, home: Site) -> OneFault:
    """Return the drill for `cell`, whose home is `home`."""
    return OneFault(
        drill="primary-crash",
        site=str(home),
        viewer=other_data_site(home),
        title=(f"Primary crash drill: cell {cell}", f"主库崩溃演练：单元 {cell}"),
        told=f"The primary of cell {cell} was killed while customers went on at both entrances; its copy at "
        "the other site took over.",
        begin=partial(_kill, cell=cell),
        heal=_nothing_to_heal,
        lasts_s=LASTS_S,
        limits=partial(judge_primary_crash, cell=cell),
        words=f"primary-crash --cell {cell}",
    )


def judge_primary_crash(history: History, homes: Mapping[str, str], *, cell: str) -> tuple[Finding, ...]:
    """The cell wrote again in a newer epoch in time; the others paused no longer than promised."""
    return (
        judge_take_over(history, [cell]),
        judge_pauses(history, {name: PAUSE_LIMIT_S for name in homes if name != cell}),
    )


async def _kill(scene: Scene, cell: str) -> None:
    place = scene.watch.grants[cell].primary.place
    site = scene.watch.grants[cell].primary.site
    pid_file = read_stand(scene.options.home).copies_dir(site) / place / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError) as error:
        raise DrillRefused(f"{pid_file}: no postmaster to kill ({error})") from error
    at_ns = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    scene.mark("fault", f"the primary of cell {cell} at {site} is dead", at_ns)


async def _nothing_to_heal(scene: Scene) -> None:
    scene.mark("healed", "nothing to heal by hand: the agent rejoins the old primary and the cell goes home")
