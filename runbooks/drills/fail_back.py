"""Runbook: bring a lost site's cells home when people say so, under load; customers may hardly notice.

When: after any loss of a site whose cause is not yet understood; as a drill monthly and after any change to
moves. In earnest: `biyi hold` while the site is repaired, `biyi hold --release` when it may serve again.
Who approves: the operations lead on duty and the business owner of the day (on a stand: administrators).
Expected time: about 70 s; 6 s of load, 12 s without the site, its rejoin (limit 60 s), 10 s held, 8 s of
`home_after`, the moves home, 4 s more. Source: replication/settings.py and the pauses below.
Abort rule: Ctrl-C at any time; the site is started and the hold released (by hand: `biyi site start SITE`,
`biyi hold --release`). Hold again when a cell that went home is slower there.

Steps: check -> load -> hold fail-back -> kill the site -> the other takes over -> start it -> its copies
rejoin -> look on: nothing goes home while it is held -> release the hold -> every cell goes home -> stop the
load -> resolve -> read the final rows -> verify the audit trail -> judge: taken over within 5 s, nobody moved
while held, home again without a failed request, each cell's writes paused at most 1 s for it.
"""

import asyncio
from collections.abc import Mapping
from functools import partial

from replication.model import Site, other_data_site
from runbooks.drills.asking import open_agents
from runbooks.drills.checkers import Finding
from runbooks.drills.measure import Window, compute_write_pause_seconds, site_of
from runbooks.drills.one_fault import OneFault, judge_take_over
from runbooks.drills.records import History, Outcome
from runbooks.drills.scene import DrillRefused, Scene
from runbooks.drills.verdict import REJOIN_LIMIT_S, limit_finding
from runbooks.drills.watch import has_rejoined
from runbooks.stand.sites import kill_site
from runbooks.stand.up import start_site

DEAD_S = 12.0
"""Time without the site. Source: our choice, that of a site loss."""
HELD_S = 10.0
"""Time to look at the hold. Source: our choice, above `home_after` (8 s), after which cells would go."""
PAUSE_LIMIT_S = 1.0
"""Longest write pause of a cell going home. Source: our choice, twice the p99 promised of planned moves: one
move is no percentile."""


def make_fail_back(site: Site) -> OneFault:
    """Return the drill that loses `site` and brings its cells home by hand."""
    return OneFault(
        drill="fail-back",
        site=str(site),
        viewer=other_data_site(site),
        title=(f"Fail-back drill: {site}", f"回切演练：{site}"),
        told=(
            f"{site} was lost and came back while fail-back was held; its cells stayed away until it was "
            "released, then went home.",
            f"站点 {site} 失效后恢复，期间暂停回切；其单元留在另一站点，解除暂停后方才回切。",
        ),
        begin=partial(_lose_and_hold, site=site),
        heal=partial(_release, site=site),
        lasts_s=HELD_S,
        limits=partial(judge_fail_back, site=site),
        words=f"fail-back --site {site}",
    )


def judge_fail_back(history: History, homes: Mapping[str, str], *, site: Site) -> tuple[Finding, ...]:
    """Taken over in time; nothing moved while held; home again without failures, pauses within the limit."""
    lost = [cell for cell, home in homes.items() if home == site]
    back_ns, free_ns = history.mark_ns("rejoined"), history.mark_ns("released")
    end_ns = max(history.mark_ns("load_stop") or 0, free_ns or 0)
    early = [
        f"cell {note.cell} went home to {site} while it was held"
        for note in history.grants
        if note.cell in lost and back_ns is not None and site_of(note.primary) == site
        and back_ns < note.at_ns < (free_ns or end_ns)
    ]  # fmt: skip
    late = [] if back_ns is not None else [f"{site} did not rejoin within {REJOIN_LIMIT_S:.0f} s"]
    load = [op for op in history.ops if op.phase == "load"]
    after = [op for op in load if free_ns is not None and op.scheduled_ns >= free_ns]
    failed = [f"{op.kind} {op.key}: {op.outcome}" for op in after if op.outcome is not Outcome.OK]
    pauses = {c: compute_write_pause_seconds(load, c, Window(free_ns or end_ns, end_ns)) for c in lost}
    slow = [f"cell {c}: {s:.2f} s, limit {PAUSE_LIMIT_S:g} s" for c, s in pauses.items() if s > PAUSE_LIMIT_S]
    return (
        judge_take_over(history, lost),
        limit_finding("rejoined_in_time", late, 1),
        limit_finding("stayed_while_held", early, len(lost)),
        limit_finding("fail_back_failed_nobody", failed, len(after)),
        limit_finding("fail_back_pauses_in_limit", slow, len(lost)),
    )


async def _lose_and_hold(scene: Scene, site: Site) -> None:
    async with open_agents(scene.settings) as agents:
        await agents.hold(other_data_site(site))
    scene.say(f"fail-back is held; kill {site}")
    scene.dead = site
    lost_at_s = await asyncio.to_thread(kill_site, scene.options.home, site)
    scene.mark("fault", f"{site} is dead, fail-back is held", int(lost_at_s * 1e9))
    await asyncio.sleep(DEAD_S)
    await _start(scene, site)
    at_ns = await scene.watch.until(partial(has_rejoined, site=site), REJOIN_LIMIT_S)
    if at_ns is None:
        raise DrillRefused(
            f"{site} did not rejoin within {REJOIN_LIMIT_S:.0f} s; `biyi cells`, `biyi why CELL`"
        )
    scene.mark("rejoined", f"{site} has everything again; its cells stay away, as they are told", at_ns)


async def _start(scene: Scene, site: Site) -> None:
    scene.mark("restart", f"start {site} again")
    await asyncio.to_thread(start_site, scene.options.home, site)
    scene.dead = None


async def _release(scene: Scene, site: Site) -> None:
    if scene.dead is not None:
        await _start(scene, site)
    async with open_agents(scene.settings) as agents:
        await agents.release(other_data_site(site))
    scene.mark("released", "the hold is released: cells go home")
    scene.mark("healed", "waiting until every cell is at home")
