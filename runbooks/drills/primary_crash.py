"""Runbook: kill a cell's primary under load, and only it; customers wait a moment, nothing is lost.

When: before each release, after any change to failover, and monthly.
Who approves: the operations lead on duty and the business owner of the day (on a stand: administrators).
Expected time: about 40 s; 6 s of load, two seconds until its agent has it up again, 10 s to look at, 4 s
more. A server that does not come back within `restart_patience_ms` is taken over from at the other site.
Abort rule: Ctrl-C at any time; the agent restarts its copy by itself.

Steps: check -> load -> SIGKILL to the postmaster of the primary -> its agent starts it again, fenced until
the sync copy has the end of its WAL, or the copy takes over -> in sync at home -> stop the load -> resolve ->
read the final rows -> verify the audit trail -> judge: nothing lost, every cell wrote again within 5 s.
"""

import os
import signal
import time
from collections.abc import Mapping
from functools import partial

from replication.model import Site, other_data_site
from runbooks.drills.checkers import Finding
from runbooks.drills.one_fault import OneFault, judge_pauses
from runbooks.drills.records import History
from runbooks.drills.scene import DrillRefused, Scene
from runbooks.drills.verdict import PAUSE_LIMIT_S, RTO_LIMIT_S
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
        told=(
            f"The primary of cell {cell} was killed while customers went on at both entrances; it was "
            "started again, or its copy at the other site took over.",
            f"客户经两个入口持续请求期间，单元 {cell} 的主库被终止；由代理重新启动，或由另一站点的副本接管。",
        ),
        begin=partial(_kill, cell=cell),
        heal=_nothing_to_heal,
        lasts_s=LASTS_S,
        limits=partial(judge_primary_crash, cell=cell),
        words=f"primary-crash --cell {cell}",
    )


def judge_primary_crash(history: History, homes: Mapping[str, str], *, cell: str) -> tuple[Finding, ...]:
    """The cell wrote again in time, in whichever epoch; the others paused no longer than promised."""
    limits_s = {name: RTO_LIMIT_S if name == cell else PAUSE_LIMIT_S for name in homes}
    return (judge_pauses(history, limits_s),)


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
    scene.mark("healed", "nothing to heal by hand: the agent sees to its copy")
