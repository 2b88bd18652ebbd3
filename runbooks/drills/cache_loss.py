"""Runbook: lose a site's cache with everything in it, under load; it is filled anew by itself.

When: before each release, after any change to `replication.projection`, and monthly.
Who approves: the operations lead on duty (on a stand: administrators).
Expected time: about 40 s; 6 s of load, 8 s without the cache, its start, seconds until it is warm, 4 s
more.
Abort rule: Ctrl-C at any time; the cache is started again whatever happens (by hand: `biyi stand up`).

Steps: check -> load -> kill the site's Valkey; its data are in memory only and gone -> go on under load ->
start it -> the projector reads everything anew from the site's own copies -> wait until every cell is warm
-> stop the load -> resolve -> read the final rows -> verify the audit trail -> judge: no request failed,
nothing was promoted, warm in time.
"""

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from functools import partial

from replication.model import Site, other_data_site
from replication.settings import read_site_settings
from runbooks.cache import read_caches
from runbooks.drills.checkers import Finding
from runbooks.drills.one_fault import OneFault, judge_epochs, judge_pauses, judge_requests
from runbooks.drills.records import History
from runbooks.drills.scene import DrillRefused, Scene
from runbooks.drills.verdict import PAUSE_LIMIT_S, limit_finding
from runbooks.stand.sites import live_processes
from runbooks.stand.up import start_site

LOST_S = 8.0
"""Time without the cache. Source: our choice, some hundred reads."""
WARM_LIMIT_S = 30.0
"""Limit from its start until every cell is warm. Source: our choice; 20,000 rows take 0.8 s (README)."""
_LOOK_S = 0.2


def make_cache_loss(site: Site) -> OneFault:
    """Return the drill that loses the cache of `site`."""
    return OneFault(
        drill="cache-loss",
        site=str(site),
        viewer=other_data_site(site),
        title=(f"Cache loss drill: {site}", f"缓存失效演练：{site}"),
        told=(
            f"The cache of {site} was killed with everything in it while customers went on; its projector "
            "filled it anew from the site's own copies.",
            f"客户持续使用期间，站点 {site} 的缓存连同全部内容被终止；其投影进程从本站点副本重新填满缓存。",
        ),
        begin=partial(_kill, site=site),
        heal=partial(_start, site=site),
        lasts_s=LOST_S,
        limits=judge_cache_loss,
        words=f"cache-loss --site {site}",
    )


def judge_cache_loss(history: History, homes: Mapping[str, str]) -> tuple[Finding, ...]:
    """No request failed, nothing was promoted, every cell's cache warm within the limit."""
    started_ns, warm_ns = history.mark_ns("restart"), history.mark_ns("warm")
    if started_ns is None or warm_ns is None:
        late = [f"not every cell's cache was warm within {WARM_LIMIT_S:.0f} s of its start"]
    else:
        seconds = (warm_ns - started_ns) / 1e9
        late = [f"warm after {seconds:.1f} s, limit {WARM_LIMIT_S:g} s"] if seconds > WARM_LIMIT_S else []
    return (
        judge_requests(history),
        judge_epochs(history, homes),
        judge_pauses(history, dict.fromkeys(homes, PAUSE_LIMIT_S)),
        limit_finding("cache_was_warm_in_time", late, len(homes)),
    )


async def _kill(scene: Scene, site: Site) -> None:
    running = live_processes(scene.options.home, site).get("valkey")
    if running is None:
        raise DrillRefused(f"{site} has no Valkey to lose; look at `biyi stand status`")
    at_ns = time.monotonic_ns()
    os.kill(running.pid, signal.SIGKILL)
    scene.mark("fault", f"the cache of {site} is dead", at_ns)


async def _start(scene: Scene, site: Site) -> None:
    scene.mark("restart", f"start the cache of {site} again")
    await asyncio.to_thread(start_site, scene.options.home, site)
    settings = {site: read_site_settings(scene.options.home / site / "site.json")}
    end_s = time.monotonic() + WARM_LIMIT_S
    while time.monotonic() < end_s:
        cells = (await read_caches(settings))[site]
        if cells and all(facts["state"] == "warm" for facts in cells.values()):
            scene.mark("warm", f"every cell is warm at {site}")
            break
        await asyncio.sleep(_LOOK_S)
    scene.mark("healed", "the cache runs again")
