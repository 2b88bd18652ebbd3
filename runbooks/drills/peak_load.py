"""Runbook: ten times the usual customers for a minute; what cannot be served is refused, nothing is lost.

When: before each release, before a campaign, and monthly.
Who approves: the operations lead on duty and the business owner of the day (on a stand: administrators).
Expected time: about 100 s; 6 s of load, 60 s of the peak, up to 20 s for those still inside, 4 s more.
Abort rule: Ctrl-C at any time; the peak's customers leave, and there is nothing to heal.

Steps: check -> load -> nine times as many customers besides -> they leave -> in sync at home -> stop the
load -> resolve -> read the final rows -> verify the audit trail -> judge: nothing acknowledged was lost,
nothing was booked twice, no cell changed its primary, and 5 s after the peak everyone is served in a second.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from replication.model import Site
from runbooks.drills.checkers import Finding
from runbooks.drills.one_fault import OneFault, judge_epochs
from runbooks.drills.records import History, Outcome
from runbooks.drills.scene import Scene
from runbooks.drills.verdict import limit_finding

TIMES = 10
"""The peak in usual rates. Source: research/lending.md row 64 has peaks of ten times."""
PEAK_S = 60.0
"""How long it lasts. Source: our choice; queues that were not bounded would have grown for as long."""
RECOVERED_S = 5.0
"""Time after the peak in which it may still be felt. Source: our choice, the limit of a takeover."""
SERVED_S = 1.0
"""Longest answer after that. Source: our choice; at rest it takes some 10 ms."""


@dataclass(slots=True)
class _Peak:
    """The customers of the peak, who come by the same entrances and ask for the same."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    async def begin(self, scene: Scene) -> None:
        """Let them come."""
        rate, seed = scene.options.rate * (TIMES - 1), scene.options.seed + 1
        scene.mark("fault", f"{rate:g} operations a second more, {TIMES} times as many in all")
        self.task = asyncio.create_task(scene.load.run(self.stop, rate=rate, seed=seed))

    async def end(self, scene: Scene) -> None:
        """Let nobody of them come any more, and wait until each has an answer."""
        self.stop.set()
        at_ns = time.monotonic_ns()
        if self.task is not None:
            await asyncio.wait({self.task})
        scene.mark("healed", "the peak is over", at_ns)


def make_peak_load() -> OneFault:
    """Return the drill."""
    peak = _Peak()
    return OneFault(
        drill="peak-load",
        site="",
        viewer=Site.IDC,
        title=("Peak load drill", "业务高峰演练"),
        told=(
            f"For {PEAK_S:.0f} seconds {TIMES} times as many customers came; what could not be served was "
            "refused at once or after a bounded wait.",
            f"{PEAK_S:.0f} 秒内客户增至 {TIMES} 倍；无法服务的请求立即或在限定等待后被拒绝。",
        ),
        begin=peak.begin,
        heal=peak.end,
        lasts_s=PEAK_S,
        limits=judge_peak_load,
        words="peak-load",
    )


def judge_peak_load(history: History, homes: Mapping[str, str]) -> tuple[Finding, ...]:
    """Nothing was promoted; who came `RECOVERED_S` after the peak was served in time."""
    since_ns = (history.mark_ns("healed") or 0) + int(RECOVERED_S * 1e9)
    ops = [op for op in history.ops if op.phase == "load" and op.scheduled_ns >= since_ns]
    slow = [
        f"operation {op.op_id}: {op.outcome} after {op.latency_seconds:.2f} s"
        for op in ops
        if op.outcome is not Outcome.OK or op.latency_seconds > SERVED_S
    ]
    nobody = [] if ops else ["nobody came later than that"]
    return (judge_epochs(history, homes), limit_finding("served_as_before", slow + nobody, len(ops)))
