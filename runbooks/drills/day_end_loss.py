"""Runbook: lose a site in the middle of day-end, under load, and show that day-end ends with the right rows.

When: before each release and after any change to day-end or failover.
Who approves: as for site-loss. The business date of the stand is some months ahead afterwards.
Expected time: about 60 s.
Abort rule: Ctrl-C at any time. The killed site is started again; day-end is finished by `biyi day-end run`.

Steps: check -> lend the working set -> let 80 days pass, so that two instalments are overdue -> load ->
run day-end of every cell -> kill the site once a quarter of its cell's chunks is closed -> day-end ends at
the other site -> restart the site, wait until all is as before -> stop the load -> read the final rows.
Then the same portfolio is built anew beside each cell, from the loans as they were drawn and the
repayments dated up to that day, and day-end is run over it undisturbed: both have to hash alike.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import psycopg

from core_app.core import LendingCore
from core_app.day_end.service import DayClosed, DayEnd, Step
from replication.model import Site, other_data_site
from runbooks.day_end import open_core, read_day_fingerprint
from runbooks.drills.audit_check import check_audit
from runbooks.drills.checkers import Finding, Verdict, check_all
from runbooks.drills.history import read_history
from runbooks.drills.read_rows import connect_granted
from runbooks.drills.rows import CellRows
from runbooks.drills.scene import DrillOptions, Scene, open_scene, read_final
from runbooks.drills.site_loss import (
    DrillReport,
    Timeline,
    kill_now,
    restart,
    restart_whatever_happens,
    watch_return,
)
from runbooks.drills.story import tell_site_loss
from runbooks.drills.twin import run_undisturbed
from runbooks.drills.under_load import prepare
from runbooks.drills.verdict import judge_site_loss, limit_finding, render_findings, render_site_loss
from runbooks.evidence import keep_journals, write_report, write_verdict

AGE_DAYS = 80
"""Days between the draws and the day that ends. Source: our choice; two instalments are overdue by then."""
LOANS_PER_CELL = 40
"""Loans of each cell's working set. Source: our choice; most chunks get none or one, some two."""
KILL_AT_SHARE = 4
"""The site is killed when one in so many chunks of its cell is closed. Source: our choice."""


async def run_day_end_loss(
    site: Site,
    options: DrillOptions,
    say: Callable[[str], None],
    on_scene: Callable[[Scene], None] = lambda scene: None,
) -> DrillReport:
    """Run the drill; DrillRefused when it may not begin. Leaves the stand with the site running again."""
    timeline = Timeline()
    async with open_scene("day-end-loss", other_data_site(site), options, say, site=str(site)) as scene:
        on_scene(scene)
        scene.load.settings = replace(scene.load.settings, loans_per_cell=LOANS_PER_CELL)
        await prepare(scene)
        async with open_core(scene.settings) as core:
            evenings = {cell: await _let_days_pass(scene, core, cell) for cell in scene.homes}
            closed = await _end_day_under_load(scene, core, site, timeline)
            scene.mark("resolve", "repeat the keys of unknown operations")
            await scene.load.resolve()
            scene.mark("read_rows", "read the final rows of every cell")
            rows = await read_final(scene)
            scene.mark("twin", "build each portfolio of that evening anew, run its day-end undisturbed")
            hashes = {cell: await _compare(scene, core, cell, day) for cell, day in evenings.items()}
        audit = await check_audit(scene, rows)
        return _judge(scene, site, rows, (*_judge_day_end(closed, hashes, evenings), *audit))


async def _let_days_pass(scene: Scene, core: LendingCore, cell: str) -> date:
    """Put the cell's business date `AGE_DAYS` on without ending the days between; return it."""
    day = await DayEnd(core, cell, _tell_nobody).read_open_day() + timedelta(days=AGE_DAYS)
    async with await connect_granted(scene.settings, scene.watch.grants[cell]) as connection:
        await connection.execute("update core.business_date set on_date = %s", [day])
    return day


def _tell_nobody(cell: str, step: Step, done: int, of: int) -> None:
    pass


async def _end_day_under_load(
    scene: Scene, core: LendingCore, site: Site, timeline: Timeline
) -> dict[str, DayClosed]:
    stop, in_the_middle = asyncio.Event(), asyncio.Event()
    victims = {cell for cell, home in scene.homes.items() if home == str(site)}

    def tell(cell: str, step: Step, done: int, of: int) -> None:
        if cell in victims and step is Step.CLOSE and done * KILL_AT_SHARE >= of:
            in_the_middle.set()

    load = asyncio.create_task(scene.load.run(stop))
    scene.mark("load_start", f"load, {scene.options.rate:g} operations a second over both entrances")
    ends: list[asyncio.Task[DayClosed]] = []
    try:
        await asyncio.sleep(timeline.before_s)
        scene.mark("day_end", "day-end of every cell begins")
        # One chunk at a time: the kill has to find most of them undone.
        ends = [asyncio.create_task(DayEnd(core, cell, tell, at_once=1).run()) for cell in scene.homes]
        await asyncio.wait_for(in_the_middle.wait(), timeline.home_s)
        await kill_now(scene, site)
        closed = await asyncio.wait_for(asyncio.gather(*ends), timeline.home_s)
        scene.mark("day_ended", "day-end of every cell is done, without the site")
        await asyncio.sleep(timeline.before_s)
        await restart(scene, site)
        await watch_return(scene, site, timeline)
        await asyncio.sleep(timeline.after_s)
        scene.mark("load_stop", "stop the load")
    except BaseException:
        load.cancel()
        for end in ends:
            end.cancel()
        if scene.dead is not None:
            await restart_whatever_happens(scene, site)
        raise
    finally:
        stop.set()
        await asyncio.wait({load})
    await load
    return {one.cell: one for one in closed}


async def _compare(scene: Scene, core: LendingCore, cell: str, day: date) -> tuple[str, str, int]:
    """Return the hash of the cell's rows, that of an undisturbed run or nothing, and its number of loans."""
    disturbed = await read_day_fingerprint(core, cell, day)
    grant = scene.watch.grants[cell]
    try:
        undisturbed, loans = await run_undisturbed(core, scene.settings, grant, day)
    except psycopg.Error as error:
        scene.say(f"cell {cell}: no undisturbed run to compare with: {error}")
        return disturbed, "", 0
    return disturbed, undisturbed, loans


def _judge_day_end(
    closed: dict[str, DayClosed], hashes: dict[str, tuple[str, str, int]], evenings: dict[str, date]
) -> tuple[Finding, ...]:
    wrong_day = [f"cell {cell}: {one.day}" for cell, one in closed.items() if one.day != evenings[cell]]
    missing = [f"cell {cell}: not closed" for cell in evenings if cell not in closed]
    looked_at = sum(one.loans for one in closed.values())
    empty = [f"cell {cell}: no loan" for cell, one in closed.items() if not one.loans]
    return (
        limit_finding("day_end_was_finished", [*wrong_day, *missing, *empty], looked_at),
        _compare_hashes(hashes),
    )


def _compare_hashes(hashes: dict[str, tuple[str, str, int]]) -> Finding:
    name = "day_end_rows_equal_undisturbed"
    compared = sum(loans for _, _, loans in hashes.values())
    if unknown := [f"cell {cell}: nothing to compare with" for cell, found in hashes.items() if not found[1]]:
        return Finding(name, Verdict.UNKNOWN, 0, compared, tuple(unknown))
    differ = [
        f"cell {cell}: {found[:16]}, undisturbed {wanted[:16]}"
        for cell, (found, wanted, _) in hashes.items()
        if found != wanted
    ]
    return limit_finding(name, differ, compared)


def _judge(
    scene: Scene, site: Site, rows: dict[str, CellRows | None], day_end: tuple[Finding, ...]
) -> DrillReport:
    history = read_history(scene.folder / "history.jsonl")
    checks = (*check_all(history.settled(), rows, scene.load.settings.key_prefix), *day_end)
    result = judge_site_loss(history, checks, scene.homes, str(site))
    balances = [cell.trial_balance_fen for cell in rows.values() if cell is not None]
    trial_balance_fen = sum(map(abs, balances)) if len(balances) == len(rows) else None
    begun, ended = history.mark_ns("day_end"), history.mark_ns("day_ended")
    plain = render_site_loss(result, history, trial_balance_fen) | {
        "drill": "day-end-loss",
        "day_end_seconds": round((ended - begun) / 1e9, 2) if begun and ended else None,
        "loans_looked_at": day_end[0].looked_at,
        "evidence": str(scene.folder),
        "drill_seconds": round((time.monotonic_ns() - scene.started_ns) / 1e9, 1),
    }
    stages = keep_journals(scene.folder, scene.options.home, scene.started_ns, time.monotonic_ns())
    write_verdict(scene.folder, plain, render_findings(result.findings))
    told = tell_site_loss(history, result, plain, stages)
    title = (f"Day-end and the loss of {site}", f"日终批处理中的站点失效演练：{site}")
    again = told.command.replace("site-loss", "day-end-loss")
    write_report(scene.folder, replace(told, title=title, command=again))
    return DrillReport(plain, result, history)
