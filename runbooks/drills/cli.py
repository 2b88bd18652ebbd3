"""Commands `biyi drill`: exit 0 all holds, 1 refused or a check broke, 2 usage, 3 could not tell."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
from rich.console import Console

from core_app.router import CellUnavailable
from replication.model import DATA_SITES, Site
from runbooks.drills.approval import ApprovalNeeded, settle_approval
from runbooks.drills.catalogue import DRILLS, Drill, read_runbook
from runbooks.drills.checkers import Verdict
from runbooks.drills.live import live_view
from runbooks.drills.past import make_schedule, read_past
from runbooks.drills.plan import Plan, Target, find_obstacles, say_command
from runbooks.drills.records_cli import (
    history_command,
    list_command,
    schedule_command,
    show_command,
    verify_command,
)
from runbooks.drills.resume import resume_all
from runbooks.drills.runners import RUNNERS, Done, OnScene, Say
from runbooks.drills.scene import DrillOptions, DrillRefused, find_settings
from runbooks.drills.tables import print_plan
from runbooks.stand.home import default_home
from runbooks.stand.topology import StandError

T = TypeVar("T")
EXITS: Mapping[Verdict, int] = {Verdict.HOLDS: 0, Verdict.BROKEN: 1, Verdict.UNKNOWN: 3}
_TAKES: Mapping[str, Callable[[Any], Any]] = {
    "site": click.option(
        "--site", type=click.Choice([str(s) for s in DATA_SITES]), required=True, help="The site it is about."
    ),
    "cell": click.option("--cell", default="a", show_default=True, help="The cell it is about."),
    "rounds": click.option(
        "--rounds", type=click.IntRange(1, 1000), default=1, show_default=True, help="Times there and back."
    ),
}
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
_no_live = click.option("--no-live", is_flag=True, help="Plain lines instead of the live view.")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for: whether to act, with whose approval, how to tell."""

    execute: bool
    approval: str | None
    as_json: bool
    no_live: bool


@click.group()
def drill() -> None:
    """Break things on purpose, measure what customers saw, keep the evidence.

    \b
    Which there are:    biyi drill list; biyi drill show site-loss
    Could it begin?     biyi drill run site-loss --site idc
    Run it:             biyi drill run site-loss --site idc --execute
    It was killed:      biyi drill resume
    What is due:        biyi drill schedule; biyi drill due --execute
    What came of them:  biyi drill history; biyi drill verify --keys auditor-keys.json
    """  # fmt: skip


@drill.group()
def run() -> None:
    """Run a drill on the stand: without --execute only its plan and whether it could begin.

    Where there are staff accounts, a dangerous drill takes two people: a system administrator who is logged
    in (`biyi staff login`) asks by running it, a security administrator approves (`biyi staff approve ID`),
    the first runs it with --approval ID, once.
    """


for _command in (list_command, show_command, history_command, schedule_command, verify_command):
    drill.add_command(_command)


def make_command(entry: Drill) -> click.Command:
    """Return `biyi drill run NAME` of one drill; all of them take the same options besides their own."""

    def command(
        *,
        rate: float,
        seed: int,
        execute: bool,
        approval: str | None,
        as_json: bool,
        no_live: bool,
        **told: Any,
    ) -> None:
        site = told.get("site")
        target = Target(site and Site(site), told.get("cell", "a"), told.get("rounds", 1))
        conduct(entry, target, (rate, seed), Wish(execute, approval, as_json, no_live))

    options = [
        *(_TAKES[name] for name in entry.takes),
        click.option(
            "--rate", type=click.FloatRange(1, 2000), default=entry.rate, show_default=True,
            help="Operations a second.",
        ),
        click.option("--seed", type=int, default=1, show_default=True, help="The same seed, the same load."),
        click.option("--execute", is_flag=True, help="Do it; without this, only the plan is shown."),
        click.option("--approval", metavar="ID", help="Of a dangerous drill, where there are accounts."),
        _json,
        _no_live,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return click.command(entry.name, help=f"{entry.text}. {entry.note}")(command)


for _entry in DRILLS.values():
    run.add_command(make_command(_entry))


def conduct(entry: Drill, target: Target, load: tuple[float, int], wish: Wish) -> None:
    """Show a drill's plan, or run it to its end; ends with the exit code of what came of it."""
    words = {**target.of(entry), "rate": load[0], "seed": load[1]}
    if not wish.execute:
        _show_plan(entry, target, say_command(entry.name, words), as_json=wish.as_json)
    try:
        _run(_need_stand())
        approval = _run(settle_approval(entry, target.of(entry), wish.approval))
    except ApprovalNeeded as needed:
        if wish.as_json:
            plain = {"drill": entry.name, "executed": False, "refused": str(needed)}
            click.echo(json.dumps(plain | {"approval": needed.approval_id or None}, ensure_ascii=False))
        click.echo(str(needed), err=True)
        sys.exit(1)
    options = DrillOptions(default_home(), *load, approval)
    done = perform(entry, target, options, wish)
    if wish.as_json:
        click.echo(json.dumps(done.plain, ensure_ascii=False))
    else:
        done.show(Console())
    sys.exit(EXITS[done.verdict])


async def _need_stand() -> None:
    find_settings(default_home(), Site.IDC)


def perform(entry: Drill, target: Target, options: DrillOptions, wish: Wish) -> Done:
    """Run a drill; click's exception with what refused it."""
    title = " ".join((entry.name, *map(str, target.of(entry).values())))
    with _watching(title, wish.as_json, wish.no_live) as (say, on_scene):
        return _run(RUNNERS[entry.name](target, options, say, on_scene))


def _show_plan(entry: Drill, target: Target, command: str, *, as_json: bool) -> None:
    plan = Plan(entry, read_runbook(entry), tuple(_run(find_obstacles(default_home(), target))), command)
    if as_json:
        click.echo(json.dumps(plan.to_plain(), ensure_ascii=False))
    else:
        print_plan(Console(), plan)
    sys.exit(1 if plan.obstacles else 0)


@drill.command("resume")
@_json
def resume_command(as_json: bool) -> None:
    """Put back what a killed drill broke, and close its evidence: what it measured counts for nothing.

    Links are healed, what does not run is started, the hold is released, every cell goes home. Its verdict is
    `unknown`, so it stays due. Exit 0 when all is as before, 3 when that could not be reached: repeat it.
    """
    resumed = _run(resume_all(default_home(), lambda text: click.echo(text, err=True)))
    if as_json:
        click.echo(json.dumps(resumed, ensure_ascii=False))
    elif not resumed:
        click.echo("no drill was killed here")
    for one in resumed if not as_json else ():
        click.echo(f"{one['evidence']}: {'closed, all is as before' if one['whole'] else one['why']}")
        for intent in one["intended"]:
            click.echo(f"  was {intent}")
    sys.exit(0 if all(one["whole"] for one in resumed) else 3)


@drill.command("due")
@click.option("--execute", is_flag=True, help="Run them; without this, only which they are.")
@click.option("--most", type=click.IntRange(1), help="Run so many at most.")
@_json
def due_command(execute: bool, most: int | None, as_json: bool) -> None:
    """Run what is due, the most urgent first, unattended: for a timer or a CronJob.

    Each is run as its runbook's example says. It stops at the first that does not hold: what a drill found is
    looked at by people before the next one breaks something. A drill that is refused, or takes two people, is
    named and left out.

    Exit 0: all held, or nothing is due; 1: one broke, was refused or left out; 3: could not tell.
    """
    now = datetime.now(UTC)  # noqa: TID251 - a calendar is about people's time
    names = [due.drill for due in make_schedule(read_past(default_home()), now) if due.overdue]
    if execute:
        told, code = _run_due(names, most or len(names), as_json=as_json)
    else:
        commands = {name: f"biyi drill run {DRILLS[name].words} --execute" for name in names[:most]}
        told, code = [{"drill": n, "executed": False, "command": c} for n, c in commands.items()], 0
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        for one in told:
            click.echo(f"{one['drill']}: {one.get('verdict') or one.get('refused') or one['command']}")
        if not names:
            click.echo("nothing is due")
    sys.exit(code)


def _run_due(names: Sequence[str], most: int, *, as_json: bool) -> tuple[list[dict[str, Any]], int]:
    """Run up to `most` drills; return what came of each, refusals among them, and the exit code."""
    told: list[dict[str, Any]] = []
    code = ran = 0
    for name in names:
        entry, target = DRILLS[name], example_of(DRILLS[name])
        try:
            approval = _run(settle_approval(entry, target.of(entry), None))
            options = DrillOptions(default_home(), entry.rate, 1, approval)
            done = perform(entry, target, options, Wish(True, None, as_json, True))
        except (ApprovalNeeded, click.ClickException) as refused:
            told.append({"drill": name, "executed": False, "refused": str(refused)})
            code = 1
            continue
        told.append({"executed": True, **done.plain})
        code, ran = EXITS[done.verdict] or code, ran + 1
        if done.verdict is not Verdict.HOLDS or ran == most:
            break
    return told, code


def example_of(entry: Drill) -> Target:
    """Return what the catalogue's example tells the drill."""
    words = entry.words.split()
    told = {words[n].removeprefix("--"): words[n + 1] for n in range(1, len(words), 2)}
    site = Site(told["site"]) if "site" in told else None
    return Target(site, told.get("cell", "a"), int(told.get("rounds", 1)))


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except (DrillRefused, StandError) as error:
        raise click.ClickException(str(error)) from error
    except CellUnavailable as error:
        raise click.ClickException(f"cell {error.cell}: {error.outcome}; see `biyi cells`") from error
    except KeyboardInterrupt as error:
        raise click.ClickException(
            "interrupted; what was written so far lies in the evidence folder"
        ) from error


@contextmanager
def _watching(title: str, as_json: bool, no_live: bool) -> Iterator[tuple[Say, OnScene]]:
    """Yield how a drill tells its steps: the live view on a terminal, lines on stderr otherwise."""
    console = Console(stderr=as_json)
    if as_json or no_live or not console.is_terminal:
        yield (lambda text: click.echo(text, err=True)), (lambda scene: None)
        return
    with live_view(title, console) as view:
        yield (lambda text: console.print(text, style="dim", highlight=False)), view.show
