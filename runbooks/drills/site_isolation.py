"""Runbook: split-brain suspicion: a site is cut off and lives on; it may acknowledge nothing more.

When: before each release, after any change to fencing, and monthly. In earnest: when two places seem to
serve one cell. Then change nothing first: `biyi cells`, `biyi why CELL`, `biyi quarantine`; the newest
epoch in etcd is right.
Who approves: the operations lead on duty and the business owner of the day (on a stand: administrators).
Expected time: about 60 s; 6 s of load, 12 s of isolation (the other site takes over within 5 s, the
isolated primaries end after `fence_after`), the rejoin, 8 s of `home_after`, the moves home, 4 s more.
Abort rule: Ctrl-C at any time; the links are healed whatever happens (by hand: `biyi site start SITE`).

Steps: check -> load -> every link of the site falls silent, its processes live on -> the other site takes
over -> the isolated primaries end by themselves -> heal the links -> the old primaries rejoin, rows that
exist only there are written down first -> the cells go home -> stop the load -> resolve -> read the final
rows -> verify the audit trail -> judge: no older epoch acknowledged anything that the newer history lacks,
written again within 5 s.
"""

import asyncio
import time
from collections.abc import Mapping
from functools import partial

from replication.model import Site, other_data_site
from runbooks.drills.checkers import Finding
from runbooks.drills.one_fault import OneFault, judge_pauses, judge_take_over
from runbooks.drills.records import History
from runbooks.drills.scene import Scene
from runbooks.drills.verdict import PAUSE_LIMIT_S
from runbooks.stand.links import HEALED, LinkMode, LinkState, LinkTable, links_of_site
from runbooks.stand.sites import set_links

CUT_S = 12.0
"""Time in isolation. Source: our choice, over twice the 5 s limit and above `fence_after`."""


def make_site_isolation(site: Site) -> OneFault:
    """Return the drill that cuts `site` off."""
    return OneFault(
        drill="site-isolation",
        site=str(site),
        viewer=other_data_site(site),
        title=(f"Split-brain drill: {site} isolated", f"脑裂演练：{site} 被隔离"),
        told=(
            f"Every link of {site} fell silent while its processes lived on; the other site had to take "
            "over, and the isolated primaries were to acknowledge nothing more.",
            f"站点 {site} 的全部链路中断而进程仍在运行；另一站点须接管，被隔离的主库不得再确认任何写入。",
        ),
        begin=partial(_cut, site=site),
        heal=partial(_heal, site=site),
        lasts_s=CUT_S,
        limits=partial(judge_isolation, site=site),
        words=f"site-isolation --site {site}",
    )


def judge_isolation(history: History, homes: Mapping[str, str], *, site: Site) -> tuple[Finding, ...]:
    """Every cell of the isolated site wrote again in a newer epoch in time; the others hardly paused."""
    lost = [cell for cell, home in homes.items() if home == site]
    return (
        judge_take_over(history, lost),
        judge_pauses(history, {cell: PAUSE_LIMIT_S for cell in homes if cell not in lost}),
    )


async def _cut(scene: Scene, site: Site) -> None:
    at_ns = time.monotonic_ns()
    await _set(scene, dict.fromkeys(links_of_site(site), LinkState(LinkMode.HOLE)))
    scene.mark("fault", f"every link of {site} swallows everything", at_ns)


async def _heal(scene: Scene, site: Site) -> None:
    await _set(scene, dict.fromkeys(links_of_site(site), HEALED))
    scene.mark("healed", f"{site} is reachable again, waiting for its copies and the way home")


async def _set(scene: Scene, links: LinkTable) -> None:
    await asyncio.to_thread(set_links, scene.options.home, links)
