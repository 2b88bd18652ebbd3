"""Runbook: lose a whole site under load, and show that nothing acknowledged was lost.

When: before each release, after any change to failover, and quarterly on the production twin.
Who approves: the operations lead on duty and the business owner of the day (on a stand: administrators).
Expected time: about 60 s; 8 s of load, 12 s without the site, restart and rejoin (a few seconds for
a small cell, limit 60 s), 8 s of `home_after`, the move home, 5 s more. Source: the README's promises and
replication/settings.py.
Abort rule: Ctrl-C at any time. The killed site is started again and its links are healed; the
evidence written so far is kept. Abort by hand when a cell of the surviving site stops serving.

Steps: check -> load -> kill the site -> go on under load -> restart it -> wait until its copies are
back in the sync sets -> wait until the cells are home -> stop the load -> resolve what is unknown ->
read the final rows -> wait until every payout is final -> verify the audit trail -> judge, payouts against
the banks' books -> report.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from replication.model import Site, other_data_site
from runbooks.drills.audit_check import check_audit
from runbooks.drills.checkers import Finding, check_all
from runbooks.drills.history import read_history
from runbooks.drills.payout_checkers import BookLine, Payouts, check_payouts
from runbooks.drills.read_payouts import read_books, wait_until_final
from runbooks.drills.records import History
from runbooks.drills.rows import CellRows
from runbooks.drills.scene import DrillOptions, Scene, open_scene, read_final
from runbooks.drills.story import tell_site_loss
from runbooks.drills.under_load import prepare, under_load
from runbooks.drills.verdict import SiteLossResult, judge_site_loss, render_findings, render_site_loss
from runbooks.drills.watch import has_rejoined, is_home
from runbooks.evidence import keep_journals, write_report, write_verdict
from runbooks.stand.ports import BANKS
from runbooks.stand.sites import kill_site
from runbooks.stand.up import start_site


@dataclass(frozen=True, slots=True)
class Timeline:
    """How long each step takes or may take, in seconds."""

    before_s: float = 8.0
    """Load on a healthy stand. Source: our choice, 300 operations to compare with."""
    dead_s: float = 12.0
    """Time without the site. Source: our choice, over twice the 5 s limit."""
    rejoin_s: float = 60.0
    """Limit for the dead site's copies to be back. Source: the promise in the README."""
    home_s: float = 60.0
    """Limit for the cells to go home. Source: our choice; home_after 8 s and one move a cell."""
    after_s: float = 5.0
    """Load after everything is home. Source: our choice."""
    payouts_s: float = 30.0
    """Limit for the last payouts to be final. Source: our choice; one in doubt is asked for each second."""


@dataclass(frozen=True, slots=True)
class Final:
    """What is left when all is over: the cells' rows, their payouts, the banks' books, the audit trail."""

    rows: dict[str, CellRows | None]
    payouts: Payouts
    books: tuple[BookLine, ...]
    audit: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class DrillReport:
    """A finished drill: the object for programs, and what the table for people is made of."""

    plain: dict[str, Any]
    result: SiteLossResult
    history: History
    timeline: Timeline = field(default_factory=Timeline)


async def run_site_loss(
    site: Site,
    options: DrillOptions,
    say: Callable[[str], None],
    on_scene: Callable[[Scene], None] = lambda scene: None,
) -> DrillReport:
    """Run the drill; DrillRefused when it may not begin. Leaves the stand with the site running again."""
    timeline = Timeline()
    async with open_scene("site-loss", other_data_site(site), options, say, site=str(site)) as scene:
        on_scene(scene)
        await prepare(scene)
        await _break_and_heal(scene, site, timeline)
        scene.mark("resolve", "repeat the keys of unknown operations")
        await scene.load.resolve()
        scene.mark("read_rows", "read the final rows of every cell")
        rows = await read_final(scene)
        payouts = await wait_until_final(scene.settings, timeline.payouts_s)
        audit = await check_audit(scene, rows)
        scene.mark("judge", "judge the history")
        return _judge(scene, Final(rows, payouts, read_books(options.home, BANKS), audit), site, timeline)


async def _break_and_heal(scene: Scene, site: Site, timeline: Timeline) -> None:
    try:
        async with under_load(scene):
            await asyncio.sleep(timeline.before_s)
            await kill_now(scene, site)
            await asyncio.sleep(timeline.dead_s)
            await restart(scene, site)
            await watch_return(scene, site, timeline)
            await asyncio.sleep(timeline.after_s)
    except BaseException:
        if scene.dead is not None:
            await restart_whatever_happens(scene, site)
        raise


async def kill_now(scene: Scene, site: Site) -> None:
    """Lose the site: silence on its links, SIGKILL to its processes."""
    scene.say(f"kill {site}: silence on its links, SIGKILL to every process of it")
    scene.intend(f"kill {site}", f"biyi site start {site}")
    scene.dead = site
    # In a thread: customers must go on while processes are looked up and killed.
    lost_at_s = await asyncio.to_thread(kill_site, scene.options.home, site)
    scene.mark("kill", f"{site} is dead", int(lost_at_s * 1e9))


async def restart(scene: Scene, site: Site) -> None:
    """Start the site again."""
    scene.intend(f"start {site}")
    scene.mark("restart", f"start {site} again")
    await asyncio.to_thread(start_site, scene.options.home, site)
    scene.dead = None
    scene.mark("restarted", f"{site}: processes run, waiting for its copies to rejoin")


async def watch_return(scene: Scene, site: Site, timeline: Timeline) -> None:
    """Wait until the site's copies are in the sync sets and the cells at home; marks say which."""
    rejoined = partial(has_rejoined, site=site)
    at_ns = await scene.watch.until(rejoined, timeline.rejoin_s)
    if at_ns is None:
        scene.mark("not_rejoined", f"{site} did not rejoin within {timeline.rejoin_s:.0f} s")
    else:
        scene.mark("rejoined", f"{site} is back in every sync set, waiting for the cells to go home", at_ns)
    at_ns = await scene.watch.until(partial(is_home, scene.settings.cells), timeline.home_s)
    if at_ns is None:
        scene.mark("not_home", f"not every cell went home within {timeline.home_s:.0f} s")
    else:
        scene.mark("home", "every cell is in sync at home", at_ns)


async def restart_whatever_happens(scene: Scene, site: Site) -> None:
    """After Ctrl-C: leave no site dead. Cancelling again while this runs leaves it to the person."""
    scene.say(
        f"aborted: starting {site} again (by hand: `biyi site start {site}`); evidence in {scene.folder}"
    )
    await asyncio.shield(asyncio.to_thread(start_site, scene.options.home, site))
    scene.mark("aborted", "aborted, the site is running again")


def _judge(scene: Scene, final: Final, site: Site, timeline: Timeline) -> DrillReport:
    history = read_history(scene.folder / "history.jsonl")
    rows, ops = final.rows, history.settled()
    checks = (
        *check_all(ops, rows, scene.load.settings.key_prefix),
        *check_payouts(ops, final.payouts, final.books),
        *final.audit,
    )
    result = judge_site_loss(history, checks, scene.homes, str(site))
    balances = [cell.trial_balance_fen for cell in rows.values() if cell is not None]
    # Never a zero that nobody saw: a cell that was not read has no trial balance.
    trial_balance_fen = sum(map(abs, balances)) if len(balances) == len(rows) else None
    plain = render_site_loss(result, history, trial_balance_fen) | {"evidence": str(scene.folder)}
    plain["drill_seconds"] = round((time.monotonic_ns() - scene.started_ns) / 1e9, 1)
    stages = keep_journals(scene.folder, scene.options.home, scene.started_ns, time.monotonic_ns())
    write_verdict(scene.folder, plain, render_findings(result.findings))
    write_report(scene.folder, tell_site_loss(history, result, plain, stages))
    return DrillReport(plain, result, history, timeline)
