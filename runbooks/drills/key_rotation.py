"""Runbook: new keys for all personal data under load, cut off, resumed through a failover; nobody may notice.

When: before each yearly rotation, after any change to keys, and once after a root was changed.
Who approves: the security lead (on a stand: administrators).
Expected time: about 90 s; 5 s of load, the rotation with its waits about 35 s, 3 s more, then the cells' way
home.
Abort rule: Ctrl-C at any time; `biyi keys rotate --resume` goes on later, data stay readable meanwhile.

Steps: check -> register people -> load and readers -> rotate -> cut it off among the rows -> rotate again,
which goes on -> move a cell, kill a site's agent with all its primaries meanwhile -> start the agent again ->
stop -> bring every cell home -> resolve -> read everybody by both entrances -> count versions -> verify the
audit trail -> judge -> report.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compliance.protection.ring import State
from compliance.protection.ring_keeper import LocalKeeper
from compliance.protection.vault import open_vault
from core_app.customers.reseal import CUSTOMERS, SEALED_TABLES, TABLE, count_columns
from replication.model import DATA_SITES
from replication.tls import public_tls
from runbooks.drills.audit_check import check_audit
from runbooks.drills.checkers import Finding, check_all, count_of, overall
from runbooks.drills.history import read_history
from runbooks.drills.key_failover import check_failover, move_and_lose, put_back
from runbooks.drills.load import LoadError
from runbooks.drills.measure import compute_latency
from runbooks.drills.plot import PlotMark
from runbooks.drills.readers import Readers
from runbooks.drills.records import History
from runbooks.drills.report import Report
from runbooks.drills.rows import CellRows
from runbooks.drills.scene import DrillOptions, DrillRefused, Scene, open_scene, read_earlier, read_final
from runbooks.drills.story import say_count, tell_timeline
from runbooks.drills.verdict import limit_finding, render_findings, summarise_requests
from runbooks.drills.wording import OVERALL
from runbooks.evidence import StageMark, keep_journals, write_report, write_verdict
from runbooks.keys.cells import CellSilent, run_in_cell
from runbooks.keys.rotate import Rotated, Rotation, RotationStuck
from runbooks.stand.topology import read_stand
from runbooks.tokens import channel_token

_PEOPLE = 300
"""People registered before, besides those of the load. Source: our choice; two seconds of re-wrapping."""
_ROWS_PER_SECOND = 150.0
"""Source: our choice; slow enough to be cut off among the rows."""
_CUT_AT = 0.3
"""Share of the rows re-wrapped when the first run is cut off. Source: our choice."""
_BEFORE_S = 5.0
_AFTER_S = 3.0
"""Load before and after. Source: our choice."""
_STATUS_DEFECT = 500
_ROWS = f"{TABLE}.{CUSTOMERS.columns[0].name}"
"""The column whose values count the customers' rows."""


@dataclass(frozen=True, slots=True)
class KeyRotationResult:
    """A key-rotation drill, judged."""

    rotated: Rotated
    findings: tuple[Finding, ...]
    plain: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was found when all was over."""

    rotated: Rotated
    cut_off: bool
    states: Mapping[str, Mapping[str, Mapping[str, str]]]
    """By site and table: versions, and what each may do."""
    uses: Mapping[str, Mapping[str, Mapping[int, int]]]
    """By cell and sealed column: values under each version."""
    readers: Readers


async def run_key_rotation(
    options: DrillOptions,
    say: Callable[[str], None],
    on_scene: Callable[[Scene], None] = lambda scene: None,
) -> KeyRotationResult:
    """Run the drill; DrillRefused when it may not begin or the rotation is stuck."""
    async with open_scene("key-rotation", None, options, say) as scene:
        on_scene(scene)
        readers = Readers(
            scene.load.entrances,
            scene.load.settings.key_prefix + "-read",
            public_tls(scene.settings.tls_dir),
            channel_token(scene.settings),
        )
        scene.mark("prepare", f"lend the working set, register {_PEOPLE} people")
        await read_earlier(scene)
        try:
            await scene.load.prepare(scene.homes)
            await readers.register(_PEOPLE)
        except LoadError as error:
            raise DrillRefused(f"{error}; look at `biyi stand logs`") from error
        try:
            rotated, cut_off = await _rotate_under_load(scene, readers)
        finally:
            await put_back(scene)
        scene.mark("resolve", "repeat the keys of unknown operations")
        await scene.load.resolve()
        scene.mark("final", "read everybody by both entrances, count key versions")
        await readers.read_all()
        uses = {
            c.name: await run_in_cell(scene.settings, c.name, count_columns) for c in scene.settings.cells
        }
        states = {site: keeper.head().states for site, keeper in _keepers(scene).items()}
        rows = await read_final(scene)
        return _judge(
            scene, _Seen(rotated, cut_off, states, uses, readers), rows, await check_audit(scene, rows)
        )


def _keepers(scene: Scene) -> dict[str, LocalKeeper]:
    stand = read_stand(scene.options.home)
    return {str(site): LocalKeeper(stand.ring_path(site)) for site in DATA_SITES}


async def _rotate_under_load(scene: Scene, readers: Readers) -> tuple[Rotated, bool]:
    stop = asyncio.Event()
    load = asyncio.create_task(scene.load.run(stop))
    reading = asyncio.create_task(readers.read_until(stop))
    scene.mark("load_start", f"load, {scene.options.rate:g} operations a second, and readers")
    try:
        await asyncio.sleep(_BEFORE_S)
        scene.intend("rotate every key", "biyi keys rotate --resume")
        cut_off = await _rotate_and_cut(scene)
        scene.mark("resume", "rotate again: it goes on where it stood")
        rotated = await _rotate_through_a_failover(scene, begin=not cut_off)
        await asyncio.sleep(_AFTER_S)
        scene.mark("load_stop", "stop the load")
    except (RotationStuck, CellSilent) as error:
        raise DrillRefused(f"the rotation did not end: {error}") from error
    finally:
        stop.set()
        await asyncio.wait({load, reading})
    await load
    await reading
    return rotated, cut_off


async def _rotate_and_cut(scene: Scene) -> bool:
    """Rotate, and end it among the rows as a crash would; say whether it was cut off there."""
    enough = asyncio.Event()

    def advance(done: int, total: int) -> None:
        if done >= _CUT_AT * total:
            enough.set()

    scene.mark("rotate", "rotate the keys of every sealed table")
    work = asyncio.create_task(_rotation(scene, advance).run())
    waiting = asyncio.create_task(enough.wait())
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    cut_off = work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    if cut_off:
        scene.mark("cut", "the rotation is cut off among the rows")
    return cut_off


async def _rotate_through_a_failover(scene: Scene, *, begin: bool) -> Rotated:
    """Carry the rotation through a move and a take-over, which begin with the first rows re-wrapped."""
    rows = asyncio.Event()

    async def carry() -> Rotated:
        rotated = await _rotation(scene, lambda done, total: rows.set()).run(begin=begin)
        scene.mark("rotated", f"version {rotated.versions[TABLE]} everywhere, the one before retired")
        return rotated

    work = asyncio.create_task(carry())
    waiting = asyncio.create_task(rows.wait())
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        await move_and_lose(scene)
        return await work
    finally:
        work.cancel()


def _rotation(scene: Scene, advance: Callable[[int, int], None]) -> Rotation:
    keepers = _keepers(scene)
    vault = open_vault(next(iter(keepers.values())).path)
    return Rotation(dict(keepers), vault, scene.settings, _ROWS_PER_SECOND, scene.say, advance)


def check_rotation(seen: "_Seen", history: History) -> tuple[Finding, ...]:
    """Return what must hold of a rotation: nobody noticed, no row under an old version, both sites agree."""
    refused = [
        f"{op.kind} {op.key}: {attempt.status} by {attempt.entrance}"
        for op in history.ops
        for attempt in op.attempts
        if attempt.status >= _STATUS_DEFECT
    ]
    newest = seen.rotated.versions
    states = [
        f"{site}: version {version} of {table} is {state}"
        for site, tables in seen.states.items()
        for table in SEALED_TABLES
        for version, state in tables[table].items()
        if state != (State.PRIMARY if int(version) == newest[table] else State.RETIRED)
        and state != State.DESTROYED
    ]
    rows = [
        f"cell {cell}: {count} values of {path} under version {version}"
        for cell, columns in seen.uses.items()
        for path, uses in columns.items()
        for version, count in uses.items()
        if version != newest[path.rpartition(".")[0]]
    ]
    looked = sum(
        count for columns in seen.uses.values() for uses in columns.values() for count in uses.values()
    )
    return (
        limit_finding("keys_no_error_answered", refused, len(history.ops)),
        limit_finding("keys_everybody_was_readable", seen.readers.defects, seen.readers.reads),
        limit_finding("keys_no_row_under_a_retired_version", rows, looked),
        limit_finding("keys_sites_agree", states, len(seen.states)),
        limit_finding("keys_rotation_was_resumed", [] if seen.cut_off else ["it was not cut off"], 1),
    )


def _judge(
    scene: Scene, seen: _Seen, rows: dict[str, CellRows | None], audit: tuple[Finding, ...]
) -> KeyRotationResult:
    history = read_history(scene.folder / "history.jsonl")
    checks = check_all(history.settled(), rows, scene.load.settings.key_prefix)
    requests = summarise_requests(history)
    failed = [f"{requests['failed']} failed"] if requests["failed"] else []
    findings = (*checks, limit_finding("keys_no_request_failed", failed, requests["requests"]),
                *check_rotation(seen, history), *check_failover(history), *audit)  # fmt: skip
    begun, ended = history.mark_ns("rotate") or 0, history.mark_ns("rotated") or time.monotonic_ns()
    plain = {
        "drill": "key-rotation",
        "verdict": str(overall(findings)),
        "version": seen.rotated.versions[TABLE],
        "versions": dict(seen.rotated.versions),
        "seconds": round((ended - begun) / 1e9, 2),
        "rows": {cell: {str(v): n for v, n in uses[_ROWS].items()} for cell, uses in seen.uses.items()},
        "proofs": {cell: {"left": dict(p.left), "lsn": p.lsn} for cell, p in seen.rotated.proofs.items()},
        "reads": seen.readers.reads,
        "bad_reads": len(seen.readers.defects),
        "latency_ms": asdict(compute_latency([op for op in history.ops if op.phase == "load"])),
        **requests,
        "lost": count_of(findings, "acknowledged_is_kept"),
        "checks": {finding.name: str(finding.verdict) for finding in findings},
        "evidence": str(scene.folder),
    }
    stages = keep_journals(scene.folder, scene.options.home, scene.started_ns, time.monotonic_ns())
    write_verdict(scene.folder, plain, render_findings(findings))
    result = KeyRotationResult(seen.rotated, findings, plain)
    write_report(scene.folder, _tell(scene, history, result, stages))
    return result


def _tell(scene: Scene, history: History, result: KeyRotationResult, stages: Sequence[StageMark]) -> Report:
    end_en, end_zh = OVERALL[overall(result.findings)]
    plain = result.plain
    rows = sum(count for found in plain["rows"].values() for count in found.values())
    marks = [(history.mark_ns(name), name) for name in ("rotate", "cut", "resume", "move", "kill", "rotated")]
    return Report(
        title=("Key rotation drill", "密钥轮换演练"),
        summary=(
            f"The keys of all personal data were replaced under load within {plain['seconds']} s, cut "
            f"off among the rows, carried on through a move and a take-over. {plain['reads']:,} reads of "
            f"people meanwhile, {say_count(plain['bad_reads'])} wrong. {end_en}",
            f"负载下 {plain['seconds']} 秒内更换全部个人信息密钥，途中切断，"
            f"并历经一次迁移与一次接管后继续。期间读取客户信息 {plain['reads']:,} 次，"
            f"异常 {plain['bad_reads']:,} 次。{end_zh}",
        ),
        figures=[
            (f"{plain['seconds']} s", "rotation, its waits included", "轮换耗时（含等待）"),
            (f"{rows:,}", "rows under the new version", "新版本密钥下的行数"),
            (say_count(plain["bad_reads"]), "reads of people gone wrong", "客户信息读取异常"),
            (say_count(plain["failed"]), "requests failed", "失败请求"),
            (say_count(plain["lost"]), "acknowledged writes lost", "丢失"),
        ],
        cells=[{"cell": cell, **{f"version {v}": n for v, n in found.items()}}
               for cell, found in plain["rows"].items()],
        history=history,
        homes=scene.homes,
        findings=result.findings,
        marks=[PlotMark(at_ns, label) for at_ns, label in marks if at_ns is not None],
        timeline=tell_timeline(history, stages),
        origin_ns=history.mark_ns("rotate") or scene.started_ns,
        zero="the rotation",
        verdict=overall(result.findings),
        plain=plain,
        command=f"biyi stand up\nbiyi drill run key-rotation --execute --rate {scene.options.rate:g} "
        f"--seed {scene.options.seed}",
    )  # fmt: skip
