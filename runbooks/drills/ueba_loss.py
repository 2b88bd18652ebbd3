"""Runbook: lose a site while staff look around; both sites' scoring must have each look and search once.

When: after any change to `ueba.follow`, `ueba.stream` or `replication.projection`, and quarterly.
Who approves: the operations lead on duty (on a stand: administrators).
Expected time: about 70 s; as the site-loss drill, whose steps it takes.
Abort rule: Ctrl-C at any time. The killed site is started again and its links are healed.

Steps: check -> lend the working set -> looks, searches and logins by both sites' portals, and customers'
load -> kill the site -> go on -> restart it -> wait until cells are home -> stop -> wait until both watchers
have everything -> compare each site's counts and ids with what the cells' primaries hold -> judge.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core_app.core import LendingCore
from core_app.router_line import STAFF_SESSIONS, Sessions
from replication.model import DATA_SITES, Site, other_data_site
from runbooks.drills.audit_check import check_audit
from runbooks.drills.checkers import Finding, Verdict, check_all, overall
from runbooks.drills.history import read_history
from runbooks.drills.lookers import LOOKS_PER_S, Lookers, open_entrance
from runbooks.drills.read_rows import connect_granted
from runbooks.drills.read_scored import days_since, read_day, wait_for_counts
from runbooks.drills.report import Report
from runbooks.drills.scene import (
    DrillOptions,
    DrillRefused,
    Scene,
    open_scene,
    read_drill_settings,
    read_final,
)
from runbooks.drills.scored import Acted, Counted, find_doubled, find_lost
from runbooks.drills.site_loss import (
    Timeline,
    kill_now,
    restart,
    restart_whatever_happens,
    watch_return,
)
from runbooks.drills.story import tell_site_loss
from runbooks.drills.under_load import prepare
from runbooks.drills.verdict import judge_site_loss, limit_finding, render_findings, render_site_loss
from runbooks.drills.wording import OVERALL
from runbooks.evidence import keep_journals, write_report, write_verdict

_STAFF = 12
_DEADLINE_S = 10.0
_READ_CUSTOMERS = "select customer_id from core.customers order by customer_id limit 40"
_READ_LOOKS = """
select staff, look_id, kind in ('view', 'unmask') and customer_id is not null from core.staff_looks
where staff = any(%s)
"""
_READ_EVENTS = """
select payload->>'staff', key from core.staff_events
where payload->>'staff' = any(%s) and topic not in ('staff.looked', 'staff.look_ended', 'staff.look_beat')
"""


async def run_ueba_loss(
    site: Site,
    options: DrillOptions,
    say: Callable[[str], None],
    on_scene: Callable[[Scene], None] = lambda scene: None,
) -> dict[str, Any]:
    """Run the drill and return its verdict; DrillRefused when it may not begin."""
    sites = {one: read_drill_settings(options.home, one) for one in DATA_SITES}
    async with (
        open_scene("ueba-loss", other_data_site(site), options, say, site=str(site)) as scene,
        contextlib.AsyncExitStack() as stack,
    ):
        on_scene(scene)
        await prepare(scene)
        survivor = await stack.enter_async_context(
            open_entrance(sites[other_data_site(site)], Sessions(1, 2))
        )
        customers = await _read_all(survivor, _READ_CUSTOMERS)
        if not customers:
            raise DrillRefused("no customer is registered; look at `biyi stand logs`")
        token = secrets.token_hex(4)
        entrances = {
            one: await stack.enter_async_context(open_entrance(sites[one], STAFF_SESSIONS)) for one in sites
        }
        lookers = [
            Lookers(
                one, [f"drill-{token}.{one}-{n}" for n in range(_STAFF)], [row[0] for row in customers], place
            )
            for place, one in enumerate(DATA_SITES)
        ]
        first_day = read_day()
        await _break_and_heal(scene, site, lookers, entrances)
        await scene.load.resolve()
        scene.mark("compare", "wait until both watchers have everything, compare with the cells' rows")
        acted = await _read_acts(scene, entrances[other_data_site(site)], lookers)
        days = days_since(first_day)
        found = {one: await wait_for_counts(sites[one], acted, days) for one in DATA_SITES}
        final = await read_final(scene)
        audit = await check_audit(scene, final)
        settled = read_history(scene.folder / "history.jsonl").settled()
        checks = check_all(settled, final, scene.load.settings.key_prefix)
        return _judge(scene, site, lookers, acted, found=found, checks=(*checks, *audit))


async def _break_and_heal(
    scene: Scene, site: Site, lookers: Sequence[Lookers], entrances: Mapping[Site, LendingCore]
) -> None:
    timeline, stop = Timeline(), asyncio.Event()
    running = [asyncio.create_task(scene.load.run(stop))]
    running += [asyncio.create_task(each.run(entrances[each.site], stop)) for each in lookers]
    scene.mark("load_start", f"{LOOKS_PER_S:g} looks, searches and logins a second by each portal")
    try:
        await asyncio.sleep(timeline.before_s)
        await kill_now(scene, site)
        await asyncio.sleep(timeline.dead_s)
        await restart(scene, site)
        await watch_return(scene, site, timeline)
        await asyncio.sleep(timeline.after_s)
        scene.mark("load_stop", "stop the load")
    except BaseException:
        if scene.dead is not None:
            await restart_whatever_happens(scene, site)
        raise
    finally:
        stop.set()
        await asyncio.wait(running)
    await asyncio.gather(*running)


async def _read_all(core: LendingCore, query: str, *values: Any) -> list[tuple[Any, ...]]:
    async def work(connection: Any, _epoch: int) -> list[tuple[Any, ...]]:
        return list(await (await connection.execute(query, values)).fetchall())

    reads = [await core.router.read(cell, work, deadline_seconds=_DEADLINE_S) for cell in core.router.cells]
    return [row for read in reads for row in read.value]


async def _read_acts(scene: Scene, core: LendingCore, lookers: Sequence[Lookers]) -> Mapping[str, Acted]:
    """Return what the cells' primaries have of each: looks from their records, the rest as it was told."""
    staff = [name for each in lookers for name in each.names]
    rows = await _read_all(core, _READ_LOOKS, staff)
    others = [(name, key) for name, key, at_customer in rows if not at_customer]
    for grant in scene.watch.grants.values():
        async with await connect_granted(scene.settings, grant) as connection:
            others += await (await connection.execute(_READ_EVENTS, [staff])).fetchall()
    return {
        name: Acted(
            frozenset(key for by, key, at_customer in rows if by == name and at_customer),
            frozenset(key for by, key in others if by == name),
        )
        for name in staff
    }


def _judge(
    scene: Scene,
    site: Site,
    lookers: Sequence[Lookers],
    acted: Mapping[str, Acted],
    *,
    found: Mapping[Site, Mapping[str, Counted]],
    checks: Sequence[Finding],
) -> dict[str, Any]:
    recorded = frozenset().union(*(one.ids for one in acted.values()))
    looks = sum(len(one.looks) for one in acted.values())
    shown = frozenset().union(*(each.shown | each.searches for each in lookers))
    findings = [
        *checks,
        limit_finding("shown_looks_are_recorded", sorted(shown - recorded), len(shown)),
    ]
    lost, doubled = {}, {}
    for watcher, counted in found.items():
        missing, twice = find_lost(acted, counted), find_doubled(acted, counted)
        lost[str(watcher)], doubled[str(watcher)] = len(missing), len(twice)
        findings.append(limit_finding(f"{watcher}_scored_each_look", missing, len(recorded)))
        findings.append(limit_finding(f"{watcher}_scored_none_twice", twice, len(recorded)))
    for name, done in (
        ("somebody_looked", any(each.shown for each in lookers)),
        ("somebody_searched", all(each.searches and each.logins for each in lookers)),
    ):
        if not done:
            findings.append(limit_finding(name, ["nobody was shown anything"], 0))
    plain = {
        "drill": "ueba-loss",
        "verdict": str(overall(tuple(findings))),
        "looks_recorded": looks,
        "looks_shown": sum(len(each.shown) for each in lookers),
        "looks_not_shown": sum(each.failed for each in lookers),
        "others_recorded": len(recorded) - looks,
        "searches_shown": sum(len(each.searches) for each in lookers),
        "logins_refused": sum(each.logins for each in lookers),
        "lost": lost,
        "doubled": doubled,
        "drill_seconds": round((time.monotonic_ns() - scene.started_ns) / 1e9, 1),
        "checks": {finding.name: str(finding.verdict) for finding in findings},
        "evidence": str(scene.folder),
    }
    stages = keep_journals(scene.folder, scene.options.home, scene.started_ns, time.monotonic_ns())
    write_verdict(scene.folder, plain, render_findings(tuple(findings)))
    history = read_history(scene.folder / "history.jsonl")
    measured = judge_site_loss(history, findings, scene.homes, str(site))
    told = tell_site_loss(history, measured, render_site_loss(measured, history, None), stages)
    write_report(scene.folder, tell_ueba_loss(told, site, findings, plain))
    return plain


def tell_ueba_loss(told: Report, site: Site, findings: Sequence[Finding], plain: Mapping[str, Any]) -> Report:
    """Return the report: that of a site loss, with this drill's judgement in the place of the other's."""
    lost, doubled = sum(plain["lost"].values()), sum(plain["doubled"].values())
    end_en, end_zh = OVERALL[verdict_of(plain)]
    return replace(
        told,
        title=(f"Staff behaviour and the loss of {site}", f"员工行为评分与站点失效演练：{site}"),
        summary=(
            f"Every process of site {site} was killed while staff looked at customers and searched by both "
            f"portals. {plain['looks_recorded']:,} looks and {plain['others_recorded']:,} other events were "
            f"recorded; the watchers of both sites missed {lost:,} of them and counted {doubled:,} too "
            f"often. {end_en}",
            f"员工经两个门户查看与检索客户期间，站点 {site} 的全部进程被终止。"
            f"记录查看 {plain['looks_recorded']:,} 次、其他事件 {plain['others_recorded']:,} 次；"
            f"两站点评分合计漏评 {lost:,} 次，多计 {doubled:,} 次。{end_zh}",
        ),
        figures=[
            (f"{plain['looks_recorded']:,}", "looks recorded", "已记录的查看"),
            (f"{plain['others_recorded']:,}", "other events recorded (searches)", "已记录的其他事件（检索）"),
            (f"{lost:,}", "events that a site did not score", "某站点漏评的事件"),
            (f"{doubled:,}", "counts that are too high or strange", "重复或多出的计数"),
            (f"{plain['looks_not_shown']:,}", "looks refused meanwhile", "期间被拒的查看"),
        ],
        findings=findings,
        verdict=Verdict(plain["verdict"]),
        plain=plain,
        command=told.command.replace("site-loss", "ueba-loss"),
    )


def verdict_of(plain: Mapping[str, Any]) -> Verdict:
    """Return the verdict of a finished drill."""
    return Verdict(plain["verdict"])
