"""Runbook: renew every certificate of the stand under load; nobody may notice, and the old ones are refused.

When: every quarter, when somebody who could read a key has left, and after any change to `replication.tls`.
Who approves: the security administrator.
Expected time: about 15 s. Source: our choice of pauses below; processes look for new files twice a second.
Abort rule: Ctrl-C at any time; until the last step the old certificates still count, so repeat the drill.

Steps: check -> load -> keep the old certificates -> make new ones, put them in force, wait until every
process presents them -> revoke the old -> knock at every door with the new and the old -> stop the load ->
resolve -> read the final rows -> judge -> report.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from replication.model import Site
from runbooks.drills.audit_check import check_audit
from runbooks.drills.checkers import Finding, check_all, count_of, overall
from runbooks.drills.history import read_history
from runbooks.drills.measure import compute_latency
from runbooks.drills.plot import PlotMark
from runbooks.drills.records import History
from runbooks.drills.report import Report
from runbooks.drills.rows import CellRows
from runbooks.drills.scene import DrillOptions, Scene, open_scene, read_final
from runbooks.drills.story import say_count, tell_timeline
from runbooks.drills.under_load import prepare, under_load
from runbooks.drills.verdict import limit_finding, render_findings, summarise_requests
from runbooks.drills.wording import OVERALL
from runbooks.evidence import keep_journals, write_report, write_verdict
from runbooks.stand.certificates import serials_in_force
from runbooks.stand.doors import Door, Knock, context_for, doors_of, knock
from runbooks.stand.renewal import Renewal, renew_certificates
from runbooks.stand.topology import read_stand

_BEFORE_S = 3.0
"""Load before the renewal. Source: our choice, 120 operations to compare with."""
_AFTER_S = 5.0
"""Load afterwards. Source: our choice; long enough that every process makes new connections."""


@dataclass(frozen=True, slots=True)
class RotationResult:
    """A certificate rotation, judged. Each door with what came of the new and of the old certificate."""

    renewal: Renewal
    doors: tuple[tuple[Door, Knock, Knock], ...]
    findings: tuple[Finding, ...]
    plain: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Done:
    renewal: Renewal
    doors: tuple[tuple[Door, Knock, Knock], ...]
    start_ns: int
    end_ns: int


async def run_certificate_rotation(
    options: DrillOptions,
    say: Callable[[str], None],
    on_scene: Callable[[Scene], None] = lambda scene: None,
) -> RotationResult:
    """Run the drill; DrillRefused when it may not begin, StandError when a process does not follow."""
    async with open_scene("certificate-rotation", Site.IDC, options, say) as scene:
        on_scene(scene)
        await prepare(scene)
        done = await _renew_under_load(scene)
        scene.mark("resolve", "repeat the keys of unknown operations")
        await scene.load.resolve()
        rows = await read_final(scene)
        return _judge(scene, done, rows, await check_audit(scene, rows))


async def _renew_under_load(scene: Scene) -> _Done:
    async with under_load(scene):
        await asyncio.sleep(_BEFORE_S)
        stand, home = read_stand(scene.options.home), scene.options.home
        doors = doors_of(stand)
        old = {door.name: context_for(stand, door) for door in doors}
        start_ns = time.monotonic_ns()
        scene.mark("renew", "make new keys and certificates, revoke the old ones when all present the new")
        now = dt.datetime.now(dt.UTC)  # noqa: TID251 - a runbook is a shell
        scene.intend("renew every certificate, revoke the old", "renew them again")
        renewal = await asyncio.to_thread(renew_certificates, home, now, scene.say)
        end_ns = time.monotonic_ns()
        scene.mark("revoked", f"{renewal.revoked} old certificates are revoked; knock at {len(doors)} doors")
        knocks = [
            (door, await knock(door, context_for(stand, door)), await knock(door, old[door.name]))
            for door in doors
        ]
        await asyncio.sleep(_AFTER_S)
    return _Done(renewal, tuple(knocks), start_ns, end_ns)


def judge_doors(doors: Sequence[tuple[Door, Knock, Knock]], in_force: frozenset[int]) -> tuple[Finding, ...]:
    """Judge what came of knocking with the new and the old certificates at each door."""
    shut = [f"{door.name}: {new.refused}" for door, new, _ in doors if new.refused]
    stale = [door.name for door, new, _ in doors if new.serial is not None and new.serial not in in_force]
    asked = [(door, old) for door, _, old in doors if door.caller is not None and door.knows_revoked]
    open_ = [door.name for door, old in asked if not old.refused]
    return (
        limit_finding("renewed_are_let_in", shut, len(doors)),
        limit_finding("renewed_are_presented", stale, len(doors)),
        limit_finding("revoked_are_refused", open_, len(asked)),
    )


def _judge(
    scene: Scene, done: _Done, rows: dict[str, CellRows | None], audit: tuple[Finding, ...]
) -> RotationResult:
    history = read_history(scene.folder / "history.jsonl")
    checks = check_all(history.settled(), rows, scene.load.settings.key_prefix)
    requests = summarise_requests(history)
    not_good = requests["failed"] + requests["unknown"]
    findings = (
        *checks,
        limit_finding(
            "no_failed_request", [f"{not_good} not acknowledged"] if not_good else [], requests["requests"]
        ),
        *judge_doors(done.doors, serials_in_force(scene.options.home)),
        *audit,
    )
    latency = compute_latency(op for op in history.ops if op.phase == "load")
    plain = {
        "drill": "certificate-rotation",
        "verdict": str(overall(findings)),
        "renewed": done.renewal.revoked,
        "confirmed_by": len(done.renewal.confirmed),
        "renewal_seconds": round((done.end_ns - done.start_ns) / 1e9, 2),
        "doors": {
            door.name: {"new": new.refused or "let in", "old": old.refused or "let in", "tls": new.version}
            for door, new, old in done.doors
        },
        **requests,
        "lost": count_of(findings, "acknowledged_is_kept", "earlier_rows_are_kept"),
        "latency": {"p50_ms": latency.p50_ms, "p99_ms": latency.p99_ms, "max_ms": latency.max_ms},
        "checks": {finding.name: str(finding.verdict) for finding in findings},
        "evidence": str(scene.folder),
    }
    stages = keep_journals(scene.folder, scene.options.home, scene.started_ns, time.monotonic_ns())
    write_verdict(scene.folder, plain, render_findings(findings))
    result = RotationResult(done.renewal, done.doors, findings, plain)
    timeline = tell_timeline(history, stages)
    write_report(scene.folder, _tell(scene, history, result, (done.start_ns, timeline)))
    return result


def _tell(scene: Scene, history: History, result: RotationResult, times: tuple[int, Any]) -> Report:
    end_en, end_zh = OVERALL[overall(result.findings)]
    plain = result.plain
    return Report(
        title=("Certificate rotation drill", "证书轮换演练"),
        summary=(
            f"All {plain['renewed']} certificates of the stand were renewed under load in "
            f"{plain['renewal_seconds']} s; {plain['failed']} requests failed. Every door was knocked at "
            f"with the new ones and the old ones. {end_en}",
            f"负载下 {plain['renewal_seconds']} 秒内更换全部 {plain['renewed']} 张证书；"
            f"失败请求 {plain['failed']} 个。各入口均以新旧证书逐一检验。{end_zh}",
        ),
        figures=[
            (f"{plain['renewed']}", "certificates renewed", "已更换证书"),
            (f"{plain['renewal_seconds']:.1f} s", "until the old ones were revoked", "至旧证书吊销"),
            (f"{plain['failed']:,}", "failed for the customer", "失败请求"),
            (say_count(plain["lost"]), "acknowledged writes lost", "已确认写入丢失"),
            (f"{plain['requests']:,}", "operations asked for", "请求总数"),
        ],
        cells=[{"door": name, **facts} for name, facts in plain["doors"].items()],
        history=history,
        homes=scene.homes,
        findings=result.findings,
        marks=[PlotMark(times[0], "renewal")],
        timeline=times[1],
        origin_ns=times[0],
        zero="the renewal",
        verdict=overall(result.findings),
        plain=plain,
        command=f"biyi stand up\nbiyi drill run certificate-rotation --execute --rate {scene.options.rate:g} "
        f"--seed {scene.options.seed}",
    )
