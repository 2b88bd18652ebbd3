"""Runbook: cut the line between the data sites under load; that is no death, nothing may be promoted.

When: before each release, after any change to failover or to the line itself, and monthly.
Who approves: the operations lead on duty and the network team (on a stand: administrators).
Expected time: about 40 s; 6 s of load, 12 s without the line, the copies' return (a few seconds), 4 s more.
Abort rule: Ctrl-C at any time; the line is healed whatever happens (by hand: `biyi link idc cloud heal
--both`).

Steps: check -> load -> cut the line in both directions -> each cell leaves its silent copy and writes on
ALONE -> heal it -> the copies join again -> stop the load -> resolve -> read the final rows -> verify the
audit trail -> judge: no epoch changed, every cell was ALONE meanwhile, writes paused no longer than
`degrade_after` allows.
"""

import asyncio
import time
from collections.abc import Mapping

from replication.model import Site
from runbooks.drills.checkers import Finding
from runbooks.drills.one_fault import OneFault, judge_epochs, judge_pauses
from runbooks.drills.records import History
from runbooks.drills.scene import Scene
from runbooks.drills.verdict import PAUSE_LIMIT_S, limit_finding
from runbooks.stand.links import HEALED, LinkMode, LinkState, LinkTable, link_name
from runbooks.stand.sites import set_links

CUT_S = 12.0
"""Time without the line. Source: our choice, over twice the longest pause allowed."""
_BOTH = (link_name("idc", "cloud"), link_name("cloud", "idc"))


def make_link_cut() -> OneFault:
    """Return the drill."""
    return OneFault(
        drill="link-cut",
        site="",
        viewer=Site.IDC,
        title=("Link cut drill: idc and cloud", "站点间线路中断演练"),
        told=(
            "The line between both sites fell silent in both directions while customers went on at both "
            "entrances; each cell's primary went on alone.",
            "客户经两个入口持续请求期间，两站点间线路双向中断；各单元的主库单独继续服务。",
        ),
        begin=_cut,
        heal=_heal,
        lasts_s=CUT_S,
        limits=judge_link_cut,
        words="link-cut",
    )


def judge_link_cut(history: History, homes: Mapping[str, str]) -> tuple[Finding, ...]:
    """Nothing promoted; every cell was left alone and went on; pauses within the promise."""
    fault_ns = history.mark_ns("fault") or 0
    healed_ns = history.mark_ns("healed") or fault_ns
    alone = {n.cell for n in history.grants if n.mode == "ALONE" and fault_ns < n.at_ns <= healed_ns}
    never = [f"cell {cell} never was ALONE while the line was cut" for cell in homes if cell not in alone]
    return (
        judge_epochs(history, homes),
        judge_pauses(history, dict.fromkeys(homes, PAUSE_LIMIT_S)),
        limit_finding("went_on_alone", never, len(homes)),
    )


async def _cut(scene: Scene) -> None:
    at_ns = time.monotonic_ns()
    await _set(scene, dict.fromkeys(_BOTH, LinkState(LinkMode.HOLE)))
    scene.mark("fault", "the line between idc and cloud swallows everything", at_ns)


async def _heal(scene: Scene) -> None:
    await _set(scene, dict.fromkeys(_BOTH, HEALED))
    scene.mark("healed", "the line is whole again, waiting for the copies")


async def _set(scene: Scene, links: LinkTable) -> None:
    # In a thread: customers must go on while the borders are told.
    await asyncio.to_thread(set_links, scene.options.home, links)
