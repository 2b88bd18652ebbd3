"""Run the matrix: batches of faults under load; after each one heal, wait until whole, read, judge.

Steps: stand up if needed -> schedule to disk -> tables and working set -> for each batch: workloads and
faults, heal all, wait until the stand is whole, stop the workloads, resolve, read, judge -> lending rows
and everything once more -> verdict. The lending load of the drills runs all the time. A batch that is
not HOLDS ends the run; the stand is left as it is.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from core_app.router import Router
from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import read_world
from replication.model import DATA_SITES, Site
from replication.tls import calling
from runbooks.drills.checkers import Finding, Verdict, make_finding, overall
from runbooks.drills.history import HistoryWriter
from runbooks.drills.load import LoadError
from runbooks.drills.read_rows import Unreadable
from runbooks.drills.scene import (
    DrillOptions,
    DrillRefused,
    Scene,
    open_scene,
    read_drill_settings,
    read_earlier,
)
from runbooks.faults.checkers import check_workloads, find_not_served, merge_findings
from runbooks.faults.ground import Ground
from runbooks.faults.inject import Injection, start_over
from runbooks.faults.model import Batch, BatchDone, FaultDone, Schedule
from runbooks.faults.read_kept import drop_tables, make_tables, read_kept
from runbooks.faults.records import Begun, Op, Resolved, settle, unfinished
from runbooks.faults.rows import KeptRows
from runbooks.faults.schedule import write_schedule
from runbooks.faults.server_evidence import note_sizes
from runbooks.faults.workloads import OPENING_FEN, Workloads
from runbooks.stand.status import read_status
from runbooks.stand.topology import LOOPBACK, read_stand
from runbooks.stand.up import cells_serve

WHOLE_S = 180.0
"""Limit for the stand to be whole after healing. Source: our choice; three times the 60 s to rejoin, for
two cores that others use as well."""
READ_S = 30.0
"""Patience with a cell that moves while its rows are wanted. Source: our choice, a move and a rejoin."""
_LOOK_S = 0.2
CALM_S = 30.0
"""Workloads go on until each cell has acknowledged each of them in this batch, at most so long. Source:
our choice; at a few operations a second on a whole stand it takes a second or two."""
_TYPES = {
    "begun": Begun, "op": Op, "resolved": Resolved, "fault": FaultDone, "batch": BatchDone,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MatrixOptions:
    """What is asked of a run. Rates in operations a second, `minutes` bounds when batches may begin."""

    home: Path
    schedule: Schedule
    minutes: float | None = None
    lending_rate: float = 10.0
    matrix_rate: float = 20.0


@dataclass(slots=True)
class Run:
    """A run under way: what the live view shows and what the verdict is made of."""

    options: MatrixOptions
    scene: Scene
    injection: Injection
    workloads: Workloads
    log_sizes: dict[Path, int]
    begun: dict[int, Begun] = field(default_factory=dict)
    ops: dict[int, Op] = field(default_factory=dict)
    resolved: list[Resolved] = field(default_factory=list)
    faults: list[FaultDone] = field(default_factory=list)
    batches: list[BatchDone] = field(default_factory=list)
    rounds: list[tuple[Finding, ...]] = field(default_factory=list)
    phase: str = "prepare"

    @property
    def happened(self) -> int:
        """Faults that took place so far."""
        return sum(fault.happened for fault in self.faults)

    def settled(self, batch: int | None = None) -> list[Op]:
        """Return the operations of a batch (None: all), resolved ones with their outcome."""
        wanted = [b for b in self.begun.values() if batch is None or b.batch == batch]
        return settle([self.ops.get(b.op_id) or unfinished(b) for b in wanted], self.resolved)


async def run_matrix(
    options: MatrixOptions,
    say: Callable[[str], None],
    on_run: Callable[[Run], None] = lambda run: None,
    judge: Callable[[Run], Any] = lambda run: None,
) -> Any:
    """Run a schedule; returns what `judge` makes of the ended run. DrillRefused when it may not begin."""
    async with _open_run(options, say) as run:
        on_run(run)
        await _prepare(run)
        stop = asyncio.Event()
        lending = asyncio.create_task(run.scene.load.run(stop))
        try:
            await _run_batches(run)
        finally:
            stop.set()
            await asyncio.wait({lending})
        run.scene.mark("resolve", "repeat the keys of unknown operations")
        await run.scene.load.resolve()
        run.scene.mark("judge", "read everything once more and judge")
        run.rounds.append(await _judge_rows(run, None))
        verdict = await judge(run)
        if overall(merge_findings(run.rounds)) is Verdict.HOLDS:
            await _drop_patiently(run)
        return verdict


@contextlib.asynccontextmanager
async def _open_run(options: MatrixOptions, say: Callable[[str], None]) -> AsyncIterator[Run]:
    drill = DrillOptions(options.home, options.lending_rate, options.schedule.seed)
    sizes = note_sizes(options.home)
    facts = {"site": "matrix", "faults": options.schedule.faults, "matrix_rate": options.matrix_rate}
    async with contextlib.AsyncExitStack() as stack:
        scene = await stack.enter_async_context(open_scene("faults", None, drill, say, **facts))
        stack.enter_context(_own_log(scene.folder / "runner.log"))
        write_schedule(scene.folder / "schedule.json", options.schedule)
        history = HistoryWriter(scene.folder / "faults.jsonl", _TYPES)
        stack.callback(history.close)
        routers = {}
        for site in DATA_SITES:
            settings = read_drill_settings(options.home, site)
            routers[str(site)] = await stack.enter_async_context(
                Router.start(settings, tls=calling(settings.tls_dir, "etcd"))
            )
        etcd = await stack.enter_async_context(
            Etcd(scene.settings.etcd_urls, calling(scene.settings.tls_dir, "etcd"))
        )
        http = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))

        def record(value: Any) -> None:
            history.write(value)
            _remember(run, value)

        workloads = Workloads(routers, record, scene.load.settings.key_prefix)
        injection = Injection(Ground(options.home), scene.watch, etcd, http, record)
        run = Run(options, scene, injection, workloads, sizes)
        try:
            yield run
        finally:
            await workloads.close()
            if injection.ground.active:
                say("healing what is still broken")
                await asyncio.shield(start_over(injection, WHOLE_S))


@contextlib.contextmanager
def _own_log(path: Path) -> Iterator[None]:
    """Send what the pools tell of lost connections to a file: here it is what is to be expected."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("psycopg", "asyncio", "core_app")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True
        handler.close()


def _remember(run: Run, value: Any) -> None:
    match value:
        case Begun():
            run.begun[value.op_id] = value
        case Op():
            run.ops[value.op_id] = value
        case Resolved():
            run.resolved.append(value)
        case FaultDone():
            run.faults.append(value)
        case BatchDone():
            run.batches.append(value)


async def _prepare(run: Run) -> None:
    run.scene.mark("prepare", "make the tables, lend the working set")
    try:
        await _each_cell(run, make_tables)
        await read_earlier(run.scene)
        await run.scene.load.prepare(run.scene.homes)
    except (LoadError, Unreadable) as error:
        raise DrillRefused(f"{error}; look at `biyi stand logs`") from error


async def _run_batches(run: Run) -> None:
    end_s = time.monotonic() + run.options.minutes * 60 if run.options.minutes else None
    for batch in run.options.schedule.batches:
        if end_s is not None and time.monotonic() > end_s:
            return
        findings = await _run_batch(run, batch)
        run.rounds.append(findings)
        run.scene.say(_tell_batch(run, batch, overall(findings)))
        if overall(findings) is not Verdict.HOLDS:
            run.scene.say(f"batch {batch.number} does not hold: the run ends here")
            return


def _tell_batch(run: Run, batch: Batch, verdict: Verdict) -> str:
    done = run.batches[-1]
    whole = (
        "never whole"
        if done.whole_ns is None
        else f"whole {(done.whole_ns - done.healed_ns) / 1e9:.1f} s later"
    )
    broke = (done.healed_ns - done.began_ns) / 1e9
    return (
        f"batch {batch.number}: {len(batch.faults)} faults in {broke:.0f} s, {whole}, {verdict}; "
        f"{run.happened} of {run.options.schedule.faults} faults so far"
    )


async def _run_batch(run: Run, batch: Batch) -> tuple[Finding, ...]:
    run.phase = f"batch {batch.number}: {len(batch.faults)} faults"
    stop = asyncio.Event()
    seed = f"{run.options.schedule.seed}-{batch.number}"
    load = asyncio.create_task(run.workloads.run(seed, run.options.matrix_rate, batch.number, stop))
    began_ns = time.monotonic_ns()
    try:
        await run.injection.run(batch)
        run.phase = f"batch {batch.number}: healing"
        surprises = await start_over(run.injection, WHOLE_S)
        healed_ns = time.monotonic_ns()
        whole_ns = await _wait_until_whole(run)
        await _wait_until_served(run, batch.number)
    finally:
        stop.set()
        await asyncio.wait({load})
    done = BatchDone(batch.number, began_ns, healed_ns, whole_ns, surprises)
    run.injection.record(done)
    run.phase = f"batch {batch.number}: judging"
    await run.workloads.resolve()
    await run.scene.load.resolve()
    return (*await _judge_rows(run, batch.number), *judge_batch(done))


def judge_batch(done: BatchDone) -> tuple[Finding, ...]:
    """Return what a batch's recovery comes to."""
    late = [] if done.whole_ns else [f"batch {done.number}: not whole {WHOLE_S:.0f} s after healing"]
    fell = [f"batch {done.number}: {text}" for text in done.surprises]
    return (
        make_finding("whole_after_healing", late, 1, {}),
        make_finding("nothing_ended_by_itself", fell, 1, {}),
    )


async def _wait_until_whole(run: Run) -> int | None:
    """Wait until every process listens and every cell is in sync and open; None when that takes too long."""
    stand, end_s = read_stand(run.options.home), time.monotonic() + WHOLE_S
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
        while time.monotonic() < end_s:
            status = await asyncio.to_thread(read_status, run.options.home)
            if status.whole and await cells_serve(http, stand) and await _entrances_serve(http, run):
                return time.monotonic_ns()
            await asyncio.sleep(_LOOK_S)
    return None


async def _wait_until_served(run: Run, batch: int) -> None:
    """Let the workloads go on until each cell has served each of them; the check tells if it never did."""
    end_s = time.monotonic() + CALM_S
    while time.monotonic() < end_s:
        if not find_not_served([op for op in run.ops.values() if op.batch == batch], run.scene.homes):
            return
        await asyncio.sleep(_LOOK_S)


async def _entrances_serve(http: aiohttp.ClientSession, run: Run) -> bool:
    stand = run.injection.ground.stand
    for site in (Site.IDC, Site.CLOUD):
        try:
            url = f"https://{LOOPBACK}:{stand.port(site, 'api')}/readyz"
            async with http.get(url, ssl=stand.calling("api")) as answer:
                if answer.status != 200:
                    return False
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
    return True


async def _judge_rows(run: Run, batch: int | None) -> tuple[Finding, ...]:
    kept = {cell: await _read_patiently(run, cell, batch) for cell in run.scene.homes}
    return check_workloads(run.settled(batch), kept, OPENING_FEN)


async def _read_patiently(run: Run, cell: str, batch: int | None) -> KeptRows | None:
    """Read a cell at the granted primary of the highest epoch; None when that takes too long."""
    end_s = time.monotonic() + READ_S
    while True:
        try:
            grant = (await read_world(run.injection.etcd)).grants[cell].grant
            return await read_kept(run.scene.settings, grant, batch)
        except (EtcdUnavailable, Unreadable) as error:
            if time.monotonic() > end_s:
                run.scene.say(f"rows of cell {cell} could not be read: {error}")
                return None
            await asyncio.sleep(0.5)


async def _drop_patiently(run: Run) -> None:
    """Drop the tables; a cell may just be on its way home. Left-over tables are dropped by the next run."""
    end_s = time.monotonic() + READ_S
    while True:
        try:
            await _each_cell(run, drop_tables)
            return
        except (EtcdUnavailable, Unreadable) as error:
            if time.monotonic() > end_s:
                run.scene.say(f"the tables of the matrix were left: {error}")
                return
        await asyncio.sleep(0.5)


async def _each_cell(run: Run, work: Callable[[Any, Any], Any]) -> None:
    grants = (await read_world(run.injection.etcd)).grants
    for cell in run.scene.homes:
        await work(run.scene.settings, grants[cell].grant)
