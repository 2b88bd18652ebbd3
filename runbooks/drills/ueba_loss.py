"""Runbook: lose a site while staff look at customers; both sites' scoring must count each look exactly once.

When: after any change to `ueba.follow`, `ueba.stream` or `replication.projection`, and quarterly.
Who approves: the operations lead on duty (on a stand: administrators).
Expected time: about 70 s; as the site-loss drill, whose steps it takes.
Abort rule: Ctrl-C at any time. The killed site is started again and its links are healed.

Steps: check -> lend the working set -> looks by both sites' portals, and customers' load -> kill the site ->
go on -> restart it -> wait until cells are home -> stop -> wait until both watchers have everything ->
compare each site's counts and ids with what the cells' primaries hold -> judge.
"""

import asyncio
import contextlib
import datetime as dt
import itertools
import random
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compliance.protection.vault import open_vault
from core_app.core import LendingCore
from core_app.errors import Refused
from core_app.products.catalogue import read_catalogue
from core_app.router import CellUnavailable, Router
from core_app.router_line import STAFF_SESSIONS, Sessions
from core_app.staff.looks import Purpose, Subject, Viewer, Wish
from core_app.staff.service import look
from replication.model import DATA_SITES, Site, other_data_site
from replication.projection.valkey import open_valkey
from replication.settings import SiteSettings
from replication.tls import OPERATOR, calling
from runbooks.drills.audit_check import check_audit
from runbooks.drills.checkers import Finding, Verdict, check_all, overall
from runbooks.drills.history import read_history
from runbooks.drills.report import Report
from runbooks.drills.scene import (
    DrillOptions,
    DrillRefused,
    Scene,
    open_scene,
    read_drill_settings,
    read_final,
)
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
from runbooks.evidence import keep_journals, write_report, write_verdict
from ueba.settings import day_number
from ueba.watcher import read_pseudonyms

LOOKS_PER_S = 20.0
"""Looks a second by each site's portal. Source: our choice; a few hundred over the drill at each site."""
CAUGHT_UP_S = 60.0
"""Patience with both watchers to have everything. Source: our choice, that of rejoining."""
_STAFF = 12
_DEADLINE_S = 10.0
_LOCAL = dt.timezone(dt.timedelta(hours=8))
_READ_CUSTOMERS = "select customer_id from core.customers order by customer_id limit 40"
_READ_LOOKS = "select look_id, staff from core.staff_looks where staff = any(%s)"


@dataclass(slots=True)
class Lookers:
    """Staff who look at customers by one site's portal, and what they were shown."""

    site: Site
    staff: Sequence[str]
    customers: Sequence[str]
    seed: int
    shown: set[str] = field(default_factory=set)
    failed: int = 0

    async def run(self, core: LendingCore, stop: asyncio.Event) -> None:
        """Look on schedule until told to stop; nobody waits for a look that hangs."""
        draw = random.Random(self.seed)  # noqa: S311 - not for keys
        pending: set[asyncio.Task[None]] = set()
        begun = time.monotonic()
        for number in itertools.count():
            wait = begun + number / LOOKS_PER_S - time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(wait, 0.0))
            if stop.is_set():
                break
            task = asyncio.create_task(self._look(core, draw.choice(self.staff), draw.choice(self.customers)))
            pending.add(task)
            task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)

    async def _look(self, core: LendingCore, staff: str, customer: str) -> None:
        viewer = Viewer(staff, "service", "drill", "drill-1", None)
        wish = Wish(Subject.CUSTOMER, customer, ("name",), False, Purpose.CUSTOMER_REQUEST, None)
        try:
            done = await look(core, viewer, wish)
        except (CellUnavailable, Refused, OSError):
            self.failed += 1
            return
        self.shown.add(str(done.answer.body["look_id"]))


@contextlib.asynccontextmanager
async def open_entrance(settings: SiteSettings, sessions: Sessions) -> AsyncIterator[LendingCore]:
    """Yield a core as a site's entrance has it, past the same border."""
    async with Router.start(settings, sessions, tls=calling(settings.tls_dir, "etcd")) as router:
        yield LendingCore(
            router=router,
            vault=open_vault(settings.key_file),
            catalogue=read_catalogue(),
            site=str(settings.site),
            deadline_seconds=_DEADLINE_S,
            new_uuid=uuid.uuid4,
            read_today=lambda: dt.datetime.now(dt.UTC).date(),  # noqa: TID251 - a runbook is a shell
        )


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
        first_day = _today()
        await _break_and_heal(scene, site, lookers, entrances)
        await scene.load.resolve()
        scene.mark("compare", "wait until both watchers have everything, compare with the cells' rows")
        staff = [name for each in lookers for name in each.staff]
        rows = await _read_all(entrances[other_data_site(site)], _READ_LOOKS, staff)
        wanted = {name: frozenset(key for key, by in rows if by == name) for name in staff}
        days = days_of(first_day)
        found = {one: await wait_for_counts(sites[one], wanted, days) for one in DATA_SITES}
        final = await read_final(scene)
        audit = await check_audit(scene, final)
        settled = read_history(scene.folder / "history.jsonl").settled()
        checks = check_all(settled, final, scene.load.settings.key_prefix)
        return _judge(scene, site, lookers, wanted, found=found, checks=(*checks, *audit))


async def _break_and_heal(
    scene: Scene, site: Site, lookers: Sequence[Lookers], entrances: Mapping[Site, LendingCore]
) -> None:
    timeline, stop = Timeline(), asyncio.Event()
    running = [asyncio.create_task(scene.load.run(stop))]
    running += [asyncio.create_task(each.run(entrances[each.site], stop)) for each in lookers]
    scene.mark("load_start", f"{LOOKS_PER_S:g} looks a second by each portal, and customers")
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


Counted = Mapping[str, tuple[frozenset[str], int]]


async def wait_for_counts(
    settings: SiteSettings, wanted: Mapping[str, frozenset[str]], days: set[int]
) -> Counted:
    """Return each one's ids and count as the site's Valkey has them, once they are whole or patience ends."""
    end = time.monotonic() + CAUGHT_UP_S
    while True:
        try:
            found = await _read_counts(settings, list(wanted), days)
        except OSError:
            found = {}
        whole = all(found.get(name) == (ids, len(ids)) for name, ids in wanted.items())
        if whole or time.monotonic() > end:
            return found
        await asyncio.sleep(0.5)


async def _read_counts(settings: SiteSettings, staff: Sequence[str], days: set[int]) -> Counted:
    if settings.valkey_passfile is None:
        raise DrillRefused(f"{settings.site} has no Valkey")
    names = read_pseudonyms(settings.key_file)
    found = {}
    async with open_valkey(settings.valkey_address(OPERATOR), settings.valkey_passfile, 2.0) as valkey:
        for name in staff:
            ids: set[str] = set()
            looks = 0
            for day in days:
                ids |= {str(key) for key in await valkey.smembers(f"ueba:seen:{day}:{names.staff(name)}")}
                looks += int(await valkey.hget(f"ueba:day:{day}:{names.staff(name)}", "looks") or 0)
            found[name] = (frozenset(ids), looks)
    return found


def _judge(
    scene: Scene,
    site: Site,
    lookers: Sequence[Lookers],
    wanted: Mapping[str, frozenset[str]],
    *,
    found: Mapping[Site, Counted],
    checks: Sequence[Finding],
) -> dict[str, Any]:
    recorded = frozenset().union(*wanted.values())
    shown = frozenset().union(*(each.shown for each in lookers))
    findings = [
        *checks,
        limit_finding("shown_looks_are_recorded", sorted(shown - recorded), len(shown)),
    ]
    lost, doubled = {}, {}
    for watcher, counted in found.items():
        none = (frozenset[str](), 0)
        missing = [key for name, ids in wanted.items() for key in ids - counted.get(name, none)[0]]
        strange = [key for name, ids in wanted.items() for key in counted.get(name, none)[0] - ids]
        off = [
            f"{name}: counted {counted.get(name, none)[1]}, looked {len(ids)}"
            for name, ids in wanted.items()
            if counted.get(name, none)[1] != len(ids)
        ]
        lost[str(watcher)], doubled[str(watcher)] = len(missing), len(strange) + len(off)
        findings.append(limit_finding(f"{watcher}_scored_each_look", sorted(missing), len(recorded)))
        findings.append(
            limit_finding(f"{watcher}_scored_none_twice", sorted([*strange, *off]), len(recorded))
        )
    if not shown:
        findings.append(limit_finding("somebody_looked", ["nobody was shown anything"], 0))
    plain = {
        "drill": "ueba-loss",
        "verdict": str(overall(tuple(findings))),
        "looks_recorded": len(recorded),
        "looks_shown": len(shown),
        "looks_not_shown": sum(each.failed for each in lookers),
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
    return replace(
        told,
        title=(f"Staff behaviour and the loss of {site}", f"员工行为评分与站点失效演练：{site}"),
        summary=(
            f"Every process of site {site} was killed while staff looked at customers by both portals. "
            f"{plain['looks_recorded']:,} looks were recorded; the watchers of both sites missed {lost:,} of "
            f"them and counted {doubled:,} wrongly."
        ),
        figures=[
            (f"{plain['looks_recorded']:,}", "looks recorded", "已记录的查看"),
            (f"{lost:,}", "looks that a site did not score", "某站点漏评的查看"),
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


def days_of(since: dt.date | None = None) -> set[int]:
    """Return the numbers of the days that scoring counts by: today, and `since` where it was yesterday."""
    return {day_number(day) for day in (since, _today()) if day is not None}


def _today() -> dt.date:
    return dt.datetime.now(_LOCAL).date()  # noqa: TID251 - a runbook is a shell
