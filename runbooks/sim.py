"""Command `biyi sim`: exit 0 no rule broken, 1 one was, 2 usage, 3 could not tell."""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from replication.simulator.mutations import MUTATIONS
from replication.simulator.report import SEEDS_PER_RUN, UNREACHABLE, Tally, compute_failure, run_seeds
from replication.simulator.schedule import run_schedule

BATCH = 100
"""Schedules a process runs before it reports. Source: our choice, about a second of work."""
ENOUGH_FAILURES = 5
"""Failures after which a run ends early: they are shrunk, and more would say no more."""


@click.command("sim")
@click.option("--schedules", type=click.IntRange(1, SEEDS_PER_RUN), default=10_000, show_default=True)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed, the same run."
)
@click.option("--mutation", type=click.Choice(list(MUTATIONS)), help="Break this rule; it must be found.")
@click.option("--replay", type=click.IntRange(0), metavar="SEED", help="Run one schedule, print its trace.")
@click.option("--processes", type=click.IntRange(1), help="Worker processes; as many as cores by default.")
@click.option("--list-mutations", is_flag=True, help="Show which rules can be broken, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def sim_command(
    *,
    schedules: int,
    seed: int,
    mutation: str | None,
    replay: int | None,
    processes: int | None,
    list_mutations: bool,
    as_json: bool,
) -> None:
    """Run the failover loop in a deterministic model of sites, etcd and PostgreSQL under faults.

    \b
    biyi sim --schedules 100000 --seed 1      rules I1-I6 after every step, whole again after healing
    biyi sim --mutation no-fence              a rule broken on purpose: exit 1, it was found
    biyi sim --replay 10000042                one schedule again, step by step, and its smallest faults
    """
    if list_mutations:
        _list_mutations(as_json)
    elif replay is not None:
        sys.exit(_replay(replay, mutation, as_json=as_json))
    else:
        first = seed * SEEDS_PER_RUN
        seeds = range(first, first + schedules)
        sys.exit(_run(seeds, mutation, processes or os.cpu_count() or 1, as_json=as_json))


def _list_mutations(as_json: bool) -> None:
    rows = [{"name": m.name, "rules": m.rules, "text": m.text} for m in MUTATIONS.values()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("mutation", "found by", "what is done instead")
    for mutation in MUTATIONS.values():
        table.add_row(mutation.name, " ".join(mutation.rules), mutation.text)
    Console().print(table)


def _replay(seed: int, mutation: str | None, *, as_json: bool) -> int:
    """Run one schedule with its trace; 1 when it breaks a rule."""
    ran = run_schedule(seed, break_rule=MUTATIONS[mutation].apply if mutation else None, trace=True)
    failure = compute_failure(ran, mutation) if ran.found else None
    if as_json:
        found = {
            "violation": asdict(ran.found) if ran.found else None,
            "smallest": asdict(failure) if failure else None,
        }
        plain = {"seed": seed, "mutation": mutation, "faults": list(map(str, ran.faults)), "trace": ran.trace}
        click.echo(json.dumps(plain | found, indent=2))
    else:
        click.echo("\n".join(ran.trace))
        click.echo(f"{ran.virtual_ms} virtual ms, {ran.acknowledged} acknowledged commits")
        if ran.found:
            click.echo(f"broken at {ran.found.at_ms} ms: {ran.found.rule}: {ran.found.text}")
        if failure:
            click.echo("fewest faults that still break it:\n  " + "\n  ".join(failure.faults or ("none",)))
    return 1 if ran.found else 0


def _run(seeds: range, mutation: str | None, workers: int, *, as_json: bool) -> int:
    """Run all schedules; 0 none broke a rule, 1 one did, 3 not all ran or nothing was acknowledged."""
    began = time.monotonic()
    tally, cpu_seconds = Tally(), 0.0
    columns = (
        TextColumn("schedules"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[broken]} broken"),
    )  # fmt: skip
    complete = True
    with Progress(*columns, console=Console(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task("", total=len(seeds), broken=0)
        try:
            for part, part_seconds in _parts(seeds, mutation, workers):
                tally.merge(part)
                cpu_seconds += part_seconds
                progress.update(task, completed=tally.schedules, broken=len(tally.failures))
                if len(tally.failures) >= ENOUGH_FAILURES:
                    break
        except (BrokenProcessPool, KeyboardInterrupt):
            complete = False
    seconds = time.monotonic() - began
    took = (seconds, cpu_seconds)
    _show_json(tally, seeds, mutation, took) if as_json else _show(tally, took)
    if tally.failures:
        return 1
    return 0 if complete and tally.schedules == len(seeds) and tally.acknowledged else 3


def _run_batch(seeds: range, mutation: str | None) -> tuple[Tally, float]:
    """Run a batch; also return the processor seconds it took."""
    began = time.process_time()
    return run_seeds(seeds, mutation), time.process_time() - began


def _parts(seeds: range, mutation: str | None, workers: int) -> Iterator[tuple[Tally, float]]:
    """Yield the tallies of batches as they end; what has not begun is dropped when the reader stops."""
    batches = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
    if workers == 1:
        yield from (_run_batch(batch, mutation) for batch in batches)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the progress bar's thread
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        open_parts: set[Future[tuple[Tally, float]]] = {
            pool.submit(_run_batch, batch, mutation) for batch in batches
        }
        try:
            while open_parts:
                ended, open_parts = wait(open_parts, return_when=FIRST_COMPLETED)
                for part in ended:
                    yield part.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _show_json(tally: Tally, seeds: range, mutation: str | None, took: tuple[float, float]) -> None:
    seconds, cpu_seconds = took
    plain = {
        "first_seed": seeds.start,
        "asked": len(seeds),
        "mutation": mutation,
        "schedules": tally.schedules,
        "seconds": round(seconds, 2),
        "schedules_per_second": round(tally.schedules / seconds, 1),
        "cpu_ms_per_schedule": round(1000 * cpu_seconds / max(1, tally.schedules), 2),
        "virtual_hours": round(tally.virtual_ms / 3_600_000, 2),
        "acknowledged_commits": tally.acknowledged,
        "violations": [asdict(failure) for failure in sorted(tally.failures, key=lambda f: f.seed)],
        "decisions": {f"{step} {why}": count for (step, why), count in sorted(tally.decisions.items())},
        "transitions": {f"{old}->{new}": count for (old, new), count in sorted(tally.transitions.items())},
        "not_reached": {
            "steps": tally.missing_steps(),
            "whys": {why: UNREACHABLE.get(why, "rare") for why in tally.missing_whys()},
            "transitions": tally.missing_transitions(),
        },
    }
    click.echo(json.dumps(plain, indent=2))


def _show(tally: Tally, took: tuple[float, float]) -> None:
    seconds, cpu_seconds = took
    console = Console(highlight=False, soft_wrap=True)
    for failure in sorted(tally.failures, key=lambda f: f.seed):
        console.print(f"[red]{failure.rule}[/red] at {failure.at_ms} ms, seed {failure.seed}: {failure.text}")
        console.print("  fewest faults: " + ("; ".join(failure.faults) or "none"))
        console.print(f"  again: biyi sim --replay {failure.seed}")
    steps, whys = {s for s, _ in tally.decisions}, {w for _, w in tally.decisions}
    console.print(
        f"{tally.schedules} schedules, {len(tally.failures)} broke a rule; {seconds:.1f} s, "
        f"{tally.schedules / seconds:.0f} schedules/s, "
        f"{1000 * cpu_seconds / max(1, tally.schedules):.1f} ms of processor each, "
        f"{tally.virtual_ms / 3_600_000:.1f} virtual hours, "
        f"{tally.acknowledged} acknowledged commits"
    )
    console.print(
        f"reached: {len(steps)} steps, {len(whys)} reasons, {len(tally.decisions)} pairs of both, "
        f"{len(tally.transitions)} changes of mode"
    )
    for name in tally.missing_steps() + tally.missing_transitions():
        console.print(f"  not reached: {name}")
    for why in tally.missing_whys():
        console.print(f"  not reached: {why} ({UNREACHABLE.get(why, 'rare: more schedules')})")
