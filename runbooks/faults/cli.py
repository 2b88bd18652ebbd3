"""Commands `biyi faults`: exit 0 all holds, 1 refused or a check broke, 2 usage, 3 could not tell."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from runbooks.drills.checkers import Finding, Verdict
from runbooks.drills.cli import EXITS
from runbooks.drills.scene import DrillRefused
from runbooks.drills.tables import print_checks
from runbooks.faults.catalogue import INJECTORS, list_injectors
from runbooks.faults.live import run_view
from runbooks.faults.runner import MatrixOptions, Run, run_matrix
from runbooks.faults.schedule import ScheduleError, compose_schedule, read_schedule
from runbooks.faults.verdict import judge_run
from runbooks.stand.home import UpOptions, default_home
from runbooks.stand.status import read_status
from runbooks.stand.topology import StandError, make_cells, read_stand, stand_path
from runbooks.stand.up import down, up

_CELLS = tuple(cell.name for cell in make_cells(2))
_FAULTS_A_MINUTE = 60
"""Faults composed for each minute that may be used: more than there is time for."""


@click.group()
def faults() -> None:
    """Break the stand in many ways at once, from a seed, and prove that nothing was lost.

    \b
    biyi faults list                      what can be broken
    biyi faults run --faults 20           about two minutes
    biyi faults run --minutes 60          the whole matrix
    biyi faults run site-kill link-hole   only these
    biyi faults run --seed 7              the same faults again
    """


@faults.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead of a table.")
def list_command(as_json: bool) -> None:
    """Show every injector: what it does, at what it is aimed, what must hold, how it heals."""
    if as_json:
        click.echo(json.dumps(list_injectors(), ensure_ascii=False))
        return
    table = Table("name", "target", "seconds", "does", "must hold", "heals", show_lines=False)
    for i in INJECTORS.values():
        table.add_row(i.name, str(i.aim), f"{i.least_s:g}-{i.most_s:g}", i.does, i.must_hold, i.heals)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@faults.command("run")
@click.argument("names", nargs=-1)
@click.option("--faults", "count", type=click.IntRange(1, 100_000), help="How many faults to inject.")
@click.option("--minutes", type=click.FloatRange(min=0.1), help="Begin no batch after so many minutes.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed, the same faults.")
@click.option(
    "--schedule",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Replay a schedule.json (of an earlier run, perhaps cut down) instead of composing one.",
)
@click.option(
    "--stand",
    "home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the stand; brought up when it is not. Default: $BIYI_HOME/faults.",
)
@click.option("--keep", is_flag=True, help="Leave the stand up afterwards (a run that does not hold does).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--no-live", is_flag=True, help="Plain lines instead of the live view.")
def run_command(
    names: tuple[str, ...], *, count: int | None, minutes: float | None, seed: int, path: Path | None,
    home: Path | None, keep: bool, as_json: bool, no_live: bool,
) -> None:  # fmt: skip
    """Inject faults (all kinds, or NAMES) under load; without limits 60 faults, about five minutes.

    The schedule is written down before the run. After each batch of 10 to 20 faults everything is healed,
    read from the elected primaries and judged. Exit 0: all holds; 1: a check broke; 3: could not tell.
    """
    place = (home or default_home() / "faults").resolve()
    try:
        if path is not None:
            schedule = read_schedule(path, _CELLS)
        else:
            total = count or (int(minutes * _FAULTS_A_MINUTE) + 1 if minutes else 60)
            schedule = compose_schedule(seed, total, _CELLS, names)
    except ScheduleError as error:
        raise click.UsageError(str(error)) from error
    options = MatrixOptions(place, schedule, minutes)
    with _watching(as_json, no_live) as (say, on_run):
        plain = _run(options, say, on_run)
    findings: tuple[Finding, ...] = plain.pop("findings")
    verdict = Verdict(plain["verdict"])
    if verdict is Verdict.HOLDS and not keep:
        down(place)
    if as_json:
        click.echo(json.dumps(plain, ensure_ascii=False))
    else:
        _print(Console(), plain, findings)
    if verdict is not Verdict.HOLDS:
        evidence = plain["evidence"]
        click.echo(
            f"The stand is left as it is: export BIYI_HOME={place}. The same faults again: biyi faults run "
            f"--schedule {evidence}/schedule.json (seed {plain['seed']}, {len(schedule.batches)} batches)",
            err=True,
        )
    sys.exit(EXITS[verdict])


def _run(options: MatrixOptions, say: Callable[[str], None], on_run: Callable[[Run], None]) -> dict[str, Any]:
    try:
        if not (stand_path(options.home).exists() and read_status(options.home).whole):
            say(f"bringing the stand in {options.home} up")
            asyncio.run(up(options.home, UpOptions()))
        _check_cells(options)
        plain: dict[str, Any] = asyncio.run(run_matrix(options, say, on_run, judge_run))
        return plain
    except (DrillRefused, StandError, ScheduleError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt as error:
        raise click.ClickException(
            f"interrupted; what was written so far lies in {options.home}/evidence, the stand is still up"
        ) from error


def _check_cells(options: MatrixOptions) -> None:
    cells = tuple(cell.name for cell in read_stand(options.home).cells)
    if cells != _CELLS:
        raise ScheduleError(f"the stand has cells {', '.join(cells)}; schedules are for {', '.join(_CELLS)}")


@contextmanager
def _watching(as_json: bool, no_live: bool) -> Iterator[tuple[Callable[[str], None], Callable[[Run], None]]]:
    console = Console(stderr=as_json)
    if as_json or no_live or not console.is_terminal:
        yield (lambda text: click.echo(text, err=True)), (lambda run: None)
        return
    with run_view(console) as view:
        yield (lambda text: console.print(text, style="dim", highlight=False)), view.show


def _print(console: Console, plain: dict[str, Any], findings: tuple[Finding, ...]) -> None:
    table = Table(title="Write pauses by fault, seconds", title_justify="left", title_style="bold")
    for name in ("fault", "took place", "missed", "median", "max", "alone", "max alone"):
        table.add_column(name, justify="left" if name == "fault" else "right")
    for row in plain["pauses"]:
        alone = "" if row["alone_max_s"] is None else f"{row['alone_max_s']:.2f}"
        table.add_row(
            row["name"], str(row["faults"]), str(row["missed"]), f"{row['median_s']:.2f}",
            f"{row['max_s']:.2f}", str(row["alone"]), alone,
        )  # fmt: skip
    console.print(table)
    work, lent = plain["workloads"], plain["lending"]
    console.print(
        f"{plain['faults']:,} faults in {plain['batches']} batches, {plain['seconds']:,.0f} s; workloads "
        f"{work['operations']:,} operations ({work['ok']:,} ok, {work['fail']:,} failed, {work['unknown']:,} "
        f"unknown, {work['unknown_unresolved']} still so); lending {lent['requests']:,} "
        f"({lent['failed']:,} failed, {lent['unknown']:,} unknown, {lent['unknown_unresolved']} still so).",
        highlight=False,
    )
    print_checks(console, findings)
    console.print(f"Evidence: {plain['evidence']}", highlight=False, soft_wrap=True)
