"""Runbook: lose a site while filings are on their way, and show that each is filed once and none is lost.

When: before each release and after any change to filings or failover.
Who approves: as for site-loss. The business date of the stand is one day ahead afterwards.
Expected time: about 70 s.
Abort rule: Ctrl-C at any time. The killed site is started again; `biyi report submit` ends what is under way.

Steps: check -> lend the working set -> end the day -> load -> compute each filing of that evening and keep it
as a batch -> hand the first one over; the regulator takes it, the answer is lost, and the site is killed that
moment -> the other site computes the filings anew, which have to be the same bytes and so the same batches,
and submits all of them -> restart the site, wait until all is as before -> stop the load -> compare what the
regulator holds with the batches. The regulator is a fake, in the drill's own folder, outside both sites.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from compliance.reporting import submission
from compliance.reporting.batch import Kind, State
from compliance.reporting.catalogue import read_tables
from compliance.reporting.errors import RegulatorSilent
from compliance.reporting.house import House
from compliance.reporting.regulator import FakeRegulator, Fault
from compliance.reporting.run import make_filing
from compliance.reporting.settings import Institution
from compliance.reporting.snapshot import Evening
from core_app.core import LendingCore
from core_app.day_end.service import DayEnd, Step
from core_app.loans.classification import read_class_limits
from core_app.router import Router
from core_app.router_line import STAFF_SESSIONS
from core_app.staff.portal import make_portal
from replication.model import Site, other_data_site
from replication.settings import SiteSettings
from replication.tls import calling
from runbooks.bureau_persons import read_persons
from runbooks.day_end import open_core
from runbooks.drills.audit_check import check_audit
from runbooks.drills.checkers import Finding, check_all
from runbooks.drills.history import read_history
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
from runbooks.drills.under_load import prepare
from runbooks.drills.verdict import judge_site_loss, limit_finding, render_findings, render_site_loss
from runbooks.evidence import keep_journals, write_report, write_verdict
from runbooks.report import connect_report


@dataclass(slots=True)
class Filed:
    """What was kept before the loss, what the other site made of it, and what the regulator holds."""

    before: dict[str, str]
    after: dict[str, str]
    standings: dict[str, State]
    regulator: dict[str, str]
    refused: list[str]


async def run_filing_loss(
    site: Site,
    options: DrillOptions,
    say: Callable[[str], None],
    on_scene: Callable[[Scene], None] = lambda scene: None,
) -> DrillReport:
    """Run the drill; DrillRefused when it may not begin. Leaves the stand with the site running again."""
    async with open_scene("filing-loss", other_data_site(site), options, say, site=str(site)) as scene:
        on_scene(scene)
        await prepare(scene)
        async with _open_office(scene.settings) as (core, writer):
            day = await _end_day(scene, core)
            filed = await _file_and_lose(scene, (core, writer), site, day)
        scene.mark("resolve", "repeat the keys of unknown operations")
        await scene.load.resolve()
        scene.mark("read_rows", "read the final rows of every cell")
        rows = await read_final(scene)
        audit = await check_audit(scene, rows)
        return _judge(scene, site, rows, (*judge_filed(filed), *audit))


@asynccontextmanager
async def _open_office(settings: SiteSettings) -> AsyncIterator[tuple[LendingCore, submission.Writer]]:
    """Yield a core and the writer of batches, seen from the site that survives."""
    tls = calling(settings.tls_dir, "etcd")
    async with open_core(settings) as core, Router.start(settings, STAFF_SESSIONS, tls=tls) as router:
        yield core, make_portal(core, router).desk.directory


async def _end_day(scene: Scene, core: LendingCore) -> date:
    """End the day of every cell; returns it."""
    scene.mark("day_end", "end the day of every cell")

    def tell(_cell: str, _step: Step, _done: int, _of: int) -> None:
        pass

    days = {cell: await DayEnd(core, cell, tell).read_open_day() for cell in scene.homes}
    for cell in scene.homes:
        await DayEnd(core, cell, tell).run(max(days.values()))
    return max(days.values())


async def _compute(
    scene: Scene, office: tuple[LendingCore, submission.Writer], day: date, out: Path
) -> tuple[dict[str, str], list[str]]:
    """Compute every filing and keep it as a batch; returns hashes by batch, and findings that refused one."""
    core, writer = office
    house = House(
        cells=tuple(core.router.cells),
        connect=lambda cell: connect_report(scene.settings, cell),
        persons=lambda cell, ids: read_persons(core, cell, ids),
        tables=read_tables(),
        out=out,
    )
    limits = read_class_limits(core.catalogue.rulebook, day)
    evening = Evening(day, None, Institution(), limits, core.catalogue.versions)
    batches: dict[str, str] = {}
    refused: list[str] = []
    for kind in Kind:
        made = await make_filing(house, kind, evening)
        if made.findings:
            refused.append(f"{kind}: {made.findings[0]}")
            continue
        batches[await submission.prepare(writer, made, core.site)] = made.sm3.hex()
    return batches, refused


async def _file_and_lose(
    scene: Scene, office: tuple[LendingCore, submission.Writer], site: Site, day: date
) -> Filed:
    timeline, stop, (_, writer) = Timeline(), asyncio.Event(), office
    folder = scene.folder / "regulator"
    load = asyncio.create_task(scene.load.run(stop))
    scene.mark("load_start", f"load, {scene.options.rate:g} operations a second over both entrances")
    try:
        await asyncio.sleep(timeline.before_s)
        before, refused = await _compute(scene, office, day, scene.folder / "before")
        waiting = [Fault.LOSE_ANSWER]
        losing = FakeRegulator(folder, lambda: waiting.pop() if waiting else None)
        for batch in sorted(before)[:1]:
            try:
                await submission.submit(writer, losing, batch, str(site))
            except RegulatorSilent:
                scene.mark("answer_lost", f"the regulator has {batch}, its answer is lost")
        await kill_now(scene, site)
        after, again = await _compute(scene, office, day, scene.folder / "after")
        survivor = FakeRegulator(folder)
        for batch in sorted(after):
            await submission.submit(writer, survivor, batch, str(other_data_site(site)))
        scene.mark("filed", "every filing is with the regulator, without the site")
        await restart(scene, site)
        await watch_return(scene, site, timeline)
        await asyncio.sleep(timeline.after_s)
        standings = {one.batch_id: one.state for one in await submission.read_standings(writer)}
        scene.mark("load_stop", "stop the load")
    except BaseException:
        load.cancel()
        if scene.dead is not None:
            await restart_whatever_happens(scene, site)
        raise
    finally:
        stop.set()
        await asyncio.wait({load})
    await load
    return Filed(before, after, standings, survivor.filed(), [*refused, *again])


def judge_filed(filed: Filed) -> tuple[Finding, ...]:
    """Judge that the same was filed, all of it, once."""
    differ = [
        f"{batch}: {digest[:16]}, at the other site {filed.after.get(batch, 'another batch')[:16]}"
        for batch, digest in filed.before.items()
        if filed.after.get(batch) != digest
    ]
    lost = [f"{batch}: not with the regulator" for batch in filed.before if batch not in filed.regulator]
    open_still = [
        f"{batch}: {filed.standings.get(batch)}"
        for batch in filed.before
        if filed.standings.get(batch) is not State.ACCEPTED
    ]
    doubled = [
        f"{batch}: filed, but no batch of ours" for batch in filed.regulator if batch not in filed.before
    ]
    wrong = [f"{b}: another content" for b, sm3 in filed.regulator.items() if filed.before.get(b, sm3) != sm3]
    missing = [f"{len(filed.before)} filings, needs {len(Kind)}"] if len(filed.before) != len(Kind) else []
    looked_at = len(filed.before)
    return (
        limit_finding("filings_equal_at_both_sites", [*filed.refused, *missing, *differ], looked_at),
        limit_finding("no_filing_lost", [*lost, *open_still], looked_at),
        limit_finding("no_filing_doubled", [*doubled, *wrong], looked_at),
    )


def _judge(
    scene: Scene, site: Site, rows: dict[str, CellRows | None], filings: tuple[Finding, ...]
) -> DrillReport:
    history = read_history(scene.folder / "history.jsonl")
    checks = (*check_all(history.settled(), rows, scene.load.settings.key_prefix), *filings)
    result = judge_site_loss(history, checks, scene.homes, str(site))
    balances = [cell.trial_balance_fen for cell in rows.values() if cell is not None]
    trial_balance_fen = sum(map(abs, balances)) if len(balances) == len(rows) else None
    plain = render_site_loss(result, history, trial_balance_fen) | {
        "drill": "filing-loss",
        "filings": filings[0].looked_at,
        "evidence": str(scene.folder),
        "drill_seconds": round((time.monotonic_ns() - scene.started_ns) / 1e9, 1),
    }
    stages = keep_journals(scene.folder, scene.options.home, scene.started_ns, time.monotonic_ns())
    write_verdict(scene.folder, plain, render_findings(result.findings))
    told = tell_site_loss(history, result, plain, stages)
    title = (f"Filings and the loss of {site}", f"监管报送过程中的站点失效演练：{site}")
    again = told.command.replace("site-loss", "filing-loss")
    write_report(scene.folder, replace(told, title=title, command=again))
    return DrillReport(plain, result, history)
