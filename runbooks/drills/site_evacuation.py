"""Runbook: empty a site on purpose, switch it off, bring it back; customers may not notice.

When: before maintenance of a whole site (power, cooling, network), and monthly.
Who approves: the operations lead on duty and the business owner of the day (on a stand: administrators).
Expected time: about 60 s; 6 s of load, a move a cell (under 1 s each), 12 s without the site, its start and
rejoin, the moves home, 4 s more.
Abort rule: Ctrl-C at any time; the site is started, its cells are moved home, the hold is released (by hand:
`biyi site start SITE`, `biyi move CELL --to SITE`).

Steps: check -> load -> hold fail-back -> move every cell of the site away -> switch the site off -> go on
under load -> switch it on -> its copies join -> move the cells home -> release the hold -> stop the load ->
resolve -> read the final rows -> verify the audit trail -> judge: no request failed, the site was empty when
it went dark, writes paused no longer than promised.
"""

import asyncio
from collections.abc import Mapping
from functools import partial

from replication.model import Mode, Site, other_data_site
from runbooks.drills.asking import open_agents
from runbooks.drills.checkers import Finding
from runbooks.drills.one_fault import OneFault, judge_pauses, judge_requests
from runbooks.drills.records import History
from runbooks.drills.scene import DrillRefused, Scene
from runbooks.drills.verdict import PAUSE_LIMIT_S, REJOIN_LIMIT_S, limit_finding
from runbooks.drills.watch import Grants, has_rejoined
from runbooks.stand.sites import kill_site
from runbooks.stand.up import start_site

OFF_S = 12.0
"""Time without the site. Source: our choice, that of a site loss."""
_MOVE_S = 30.0
"""Patience with one move. Source: our choice, above the agent's 20 s."""


def make_site_evacuation(site: Site) -> OneFault:
    """Return the drill that empties `site`."""
    return OneFault(
        drill="site-evacuation",
        site=str(site),
        viewer=other_data_site(site),
        title=(f"Planned evacuation drill: {site}", f"计划撤离演练：{site}"),
        told=(
            f"Every cell was moved away from {site}, the site was switched off and on again, and the cells "
            "went home.",
            f"各单元先迁离站点 {site}，该站点关停后重新启动，各单元再迁回。",
        ),
        begin=partial(_empty_and_switch_off, site=site),
        heal=partial(_switch_on, site=site),
        lasts_s=OFF_S,
        limits=partial(judge_evacuation, site=site),
        words=f"site-evacuation --site {site}",
    )


def judge_evacuation(history: History, homes: Mapping[str, str], *, site: Site) -> tuple[Finding, ...]:
    """No request failed; every cell had left before the site went dark; pauses within the promise."""
    dark_ns = history.mark_ns("dark")
    left = []
    for cell in homes:
        before = [n for n in history.grants if n.cell == cell and dark_ns is not None and n.at_ns <= dark_ns]
        if not before or f"-{site}-" in before[-1].primary:
            left.append(f"cell {cell} had its primary at {site} when the site was switched off")
    return (
        judge_requests(history),
        limit_finding("site_was_empty", left, len(homes)),
        judge_pauses(history, dict.fromkeys(homes, PAUSE_LIMIT_S)),
    )


async def _empty_and_switch_off(scene: Scene, site: Site) -> None:
    async with open_agents(scene.settings) as agents:
        await agents.hold(other_data_site(site))
        scene.mark("fault", f"hold fail-back, move every cell away from {site}")
        for cell in [name for name, grant in scene.watch.grants.items() if grant.primary.site is site]:
            said = await agents.move(site, cell, other_data_site(site))
            if await scene.watch.until(partial(_is_away, cell=cell, site=site), _MOVE_S) is None:
                raise DrillRefused(f"cell {cell} did not leave {site}: {said}; `biyi why {cell}`")
    scene.dead = site
    await asyncio.to_thread(kill_site, scene.options.home, site)
    scene.mark("dark", f"{site} is switched off")


def _is_away(grants: Grants, cell: str, site: Site) -> bool:
    grant = grants.get(cell)
    return grant is not None and grant.mode is Mode.SYNC and grant.primary.site is not site


async def _switch_on(scene: Scene, site: Site) -> None:
    """Start the site; once its copies have joined, move its cells home: what an operator moved stays put."""
    if scene.dead is not None:
        scene.mark("restart", f"switch {site} on")
        await asyncio.to_thread(start_site, scene.options.home, site)
        scene.dead = None
    if await scene.watch.until(partial(has_rejoined, site=site), REJOIN_LIMIT_S) is None:
        scene.mark("not_rejoined", f"{site} did not rejoin within {REJOIN_LIMIT_S:.0f} s")
    survivor = other_data_site(site)
    async with open_agents(scene.settings) as agents:
        for cell in scene.settings.cells:
            grant = scene.watch.grants.get(cell.name)
            if cell.home is site and grant is not None and grant.primary.site is not site:
                await agents.move(survivor, cell.name, site)
        await agents.release(survivor)
    scene.mark("healed", "the cells were told to go home, the hold is released")
