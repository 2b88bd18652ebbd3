"""Runbook: a burst of customers; the cloud's entrance grows, serves them, shrinks again; nobody may notice.

When: before a campaign, after any change to the API's start or end, and monthly. In clusters the autoscaler
does it by itself, from `api_replicas_min` to `api_replicas_max` pods (`kubectl -n biyi get hpa`).
Who approves: the operations lead on duty (on the stand: nobody).
Expected time: about 50 s; 6 s of load, some seconds until the replicas are ready, 12 s of twice the load, the
return, 4 s more. Source: the pauses below.
Abort rule: Ctrl-C at any time; the replicas are ended, customers go on by the two entrances.

Steps: check -> load -> start two more API processes at cloud -> each joins the balancer once it is ready ->
twice the load -> the burst is over -> each leaves the balancer, finishes what it has begun, ends -> stop the
load -> resolve -> read the final rows -> verify the audit trail -> judge: no request failed, before, during
or after; every replica served. (All processes of the stand share one machine: it shows that growing and
shrinking is safe, not that it is faster.)
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from replication.model import Site
from runbooks.drills.checkers import Finding
from runbooks.drills.entrances import join, leave
from runbooks.drills.one_fault import OneFault, judge_epochs, judge_pauses, judge_requests
from runbooks.drills.records import History, Outcome
from runbooks.drills.scene import Scene
from runbooks.drills.verdict import PAUSE_LIMIT_S, limit_finding
from runbooks.stand.replicas import PREFIX, stop_all_replicas

BURST_S = 12.0
"""Length of the burst. Source: our choice, that of a site loss."""
REPLICAS = (f"{PREFIX}cloud-2", f"{PREFIX}cloud-3")
"""Names of the processes that join. Source: our choice of two; each one costs a core its start."""


def make_cloud_burst() -> OneFault:
    """Return the drill."""
    return OneFault(
        drill="cloud-burst",
        site=str(Site.CLOUD),
        viewer=Site.IDC,
        title=("Cloud burst drill", "云端弹性扩缩演练"),
        told=(
            "Twice as many customers came for a while; two more API processes joined the cloud's entrance, "
            "served them and left again.",
            "一段时间内客户增至两倍；云端入口新增两个 API 进程，服务客户后退出。",
        ),
        begin=_burst,
        heal=_shrink,
        lasts_s=0.0,
        limits=judge_burst,
        words="cloud-burst",
    )


def judge_burst(history: History, homes: Mapping[str, str]) -> tuple[Finding, ...]:
    """No request failed, no epoch changed, and each replica acknowledged something."""
    served = {
        attempt.entrance
        for op in history.ops
        for attempt in op.attempts
        if op.phase == "load" and attempt.outcome is Outcome.OK
    }
    idle = [f"{name} acknowledged nothing" for name in REPLICAS if name not in served]
    return (
        judge_requests(history),
        limit_finding("every_replica_served", idle, len(REPLICAS)),
        judge_epochs(history, homes),
        judge_pauses(history, dict.fromkeys(homes, PAUSE_LIMIT_S)),
    )


async def _burst(scene: Scene) -> None:
    scene.mark("fault", f"more customers are coming: start {' and '.join(REPLICAS)}")
    async with AsyncExitStack() as leaving:
        for name in REPLICAS:
            replica = await join(scene, Site.CLOUD, name)
            leaving.push_async_callback(leave, scene, replica)
        over = asyncio.Event()
        more = asyncio.create_task(scene.load.run(over))
        scene.mark("burst", f"twice the load: {2 * scene.options.rate:g} operations a second")
        try:
            await asyncio.sleep(BURST_S)
        finally:
            over.set()
            await asyncio.wait({more})
        await more
        scene.mark("burst_over", "the burst is over: the replicas leave")


async def _shrink(scene: Scene) -> None:
    left = await asyncio.to_thread(stop_all_replicas, scene.options.home)
    scene.mark("healed", f"{left} replicas were left to end" if left else "the cloud is as large as before")
