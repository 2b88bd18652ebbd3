"""Commands `biyi drill`: exit 0 all holds, 1 refused or a check broke, 2 usage, 3 could not tell."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from rich.console import Console

from replication.model import DATA_SITES, Site
from runbooks.drills.cache_loss import make_cache_loss
from runbooks.drills.certificate_rotation import run_certificate_rotation
from runbooks.drills.channel_loss import run_channel_loss
from runbooks.drills.checkers import Verdict
from runbooks.drills.day_end_loss import run_day_end_loss
from runbooks.drills.filing_loss import run_filing_loss
from runbooks.drills.key_rotation import run_key_rotation
from runbooks.drills.link_cut import make_link_cut
from runbooks.drills.live import live_view
from runbooks.drills.one_fault import OneFault, run_one_fault
from runbooks.drills.planned_move import MOVE_RATE, run_planned_move
from runbooks.drills.primary_crash import make_primary_crash
from runbooks.drills.records_cli import (
    history_command,
    list_command,
    schedule_command,
    show_command,
    verify_command,
)
from runbooks.drills.restore_drill import make_restore_drill
from runbooks.drills.scene import DrillOptions, DrillRefused, Scene
from runbooks.drills.site_evacuation import make_site_evacuation
from runbooks.drills.site_isolation import make_site_isolation
from runbooks.drills.site_loss import run_site_loss
from runbooks.drills.tables import (
    print_channel_loss,
    print_key_rotation,
    print_moves,
    print_one_fault,
    print_rotation,
    print_site_loss,
)
from runbooks.drills.ueba_loss import run_ueba_loss, verdict_of
from runbooks.drills.witness_loss import make_witness_loss
from runbooks.stand.home import default_home
from runbooks.stand.topology import StandError, read_stand

T = TypeVar("T")
Say = Callable[[str], None]
OnScene = Callable[[Scene], None]
EXITS: Mapping[Verdict, int] = {Verdict.HOLDS: 0, Verdict.BROKEN: 1, Verdict.UNKNOWN: 3}


def _data_site(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--site", type=click.Choice([str(s) for s in DATA_SITES]), required=True, help=text)


_rate = click.option(
    "--rate", type=click.FloatRange(1, 2000), default=40.0, show_default=True, help="Operations a second."
)
_seed = click.option("--seed", type=int, default=1, show_default=True, help="The same seed, the same load.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
_no_live = click.option("--no-live", is_flag=True, help="Plain lines instead of the live view.")


@click.group()
def drill() -> None:
    """Break things on purpose, measure what customers saw, keep the evidence."""


for _command in (list_command, show_command, history_command, schedule_command, verify_command):
    drill.add_command(_command)


@drill.group()
def run() -> None:
    """Run a drill on the stand."""


@run.command("site-loss")
@click.option(
    "--site", type=click.Choice([str(s) for s in DATA_SITES]), required=True, help="The site to lose."
)
@_rate
@_seed
@_json
@_no_live
def site_loss_command(site: str, rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Kill a site under load, restart it, wait until all is as before; nothing may be lost."""
    options = DrillOptions(default_home(), rate, seed)
    with _watching(f"site loss: {site}", as_json, no_live) as (say, on_scene):
        report = _run(run_site_loss(Site(site), options, say, on_scene))
    if as_json:
        click.echo(json.dumps(report.plain, ensure_ascii=False))
    else:
        print_site_loss(Console(), report.result, report.plain)
    sys.exit(EXITS[report.result.verdict])


@run.command("day-end-loss")
@click.option(
    "--site", type=click.Choice([str(s) for s in DATA_SITES]), required=True, help="The site to lose."
)
@_rate
@_seed
@_json
@_no_live
def day_end_loss_command(site: str, rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Kill a site in the middle of day-end; it ends at the other one, with the rows of an undisturbed run.

    The stand's business date is 81 days further on afterwards.
    """
    options = DrillOptions(default_home(), rate, seed)
    with _watching(f"day-end and loss of {site}", as_json, no_live) as (say, on_scene):
        report = _run(run_day_end_loss(Site(site), options, say, on_scene))
    if as_json:
        click.echo(json.dumps(report.plain, ensure_ascii=False))
    else:
        print_site_loss(Console(), report.result, report.plain)
    sys.exit(EXITS[report.result.verdict])


@run.command("filing-loss")
@click.option(
    "--site", type=click.Choice([str(s) for s in DATA_SITES]), required=True, help="The site to lose."
)
@_rate
@_seed
@_json
@_no_live
def filing_loss_command(site: str, rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Kill a site while filings are on their way; the other one files each of them, once.

    The stand's business date is one day further on afterwards.
    """
    options = DrillOptions(default_home(), rate, seed)
    with _watching(f"filings and loss of {site}", as_json, no_live) as (say, on_scene):
        report = _run(run_filing_loss(Site(site), options, say, on_scene))
    if as_json:
        click.echo(json.dumps(report.plain, ensure_ascii=False))
    else:
        print_site_loss(Console(), report.result, report.plain)
    sys.exit(EXITS[report.result.verdict])


@run.command("planned-move")
@click.option(
    "--rounds", type=click.IntRange(1, 1000), default=1, show_default=True, help="Times there and back."
)
@click.option(
    "--rate",
    type=click.FloatRange(1, 2000),
    default=MOVE_RATE,
    show_default=True,
    help="Operations a second; a pause shows only as finely as customers come.",
)
@_seed
@_json
@_no_live
def planned_move_command(rounds: int, rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Move every cell to the other site and back under load; no request may fail."""
    options = DrillOptions(default_home(), rate, seed)
    with _watching("planned move", as_json, no_live) as (say, on_scene):
        result = _run(run_planned_move(options, rounds, say, on_scene))
    if as_json:
        click.echo(json.dumps(result.plain, ensure_ascii=False))
    else:
        print_moves(Console(), result)
    sys.exit(EXITS[Verdict(result.plain["verdict"])])


@run.command("certificate-rotation")
@_rate
@_seed
@_json
@_no_live
def certificate_rotation_command(rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Renew every certificate under load; no request may fail, the old ones are refused afterwards."""
    options = DrillOptions(default_home(), rate, seed)
    with _watching("certificate rotation", as_json, no_live) as (say, on_scene):
        result = _run(run_certificate_rotation(options, say, on_scene))
    if as_json:
        click.echo(json.dumps(result.plain, ensure_ascii=False))
    else:
        print_rotation(Console(), result)
    sys.exit(EXITS[Verdict(result.plain["verdict"])])


@run.command("channel-loss")
@_rate
@_seed
@_json
@_no_live
def channel_loss_command(rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Kill the favoured payment channel under load; payouts move within 10 s, none is paid twice or lost."""
    options = DrillOptions(default_home(), rate, seed)
    with _watching("channel loss", as_json, no_live) as (say, on_scene):
        result = _run(run_channel_loss(options, say, on_scene))
    if as_json:
        click.echo(json.dumps(result.plain, ensure_ascii=False))
    else:
        print_channel_loss(Console(), result)
    sys.exit(EXITS[Verdict(result.plain["verdict"])])


@run.command("ueba-loss")
@click.option(
    "--site", type=click.Choice([str(s) for s in DATA_SITES]), required=True, help="The site to lose."
)
@_rate
@_seed
@_json
@_no_live
def ueba_loss_command(site: str, rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Kill a site while staff look at customers; both sites must score each look once, none lost."""
    options = DrillOptions(default_home(), rate, seed)
    with _watching(f"staff scoring and loss of {site}", as_json, no_live) as (say, on_scene):
        plain = _run(run_ueba_loss(Site(site), options, say, on_scene))
    if as_json:
        click.echo(json.dumps(plain, ensure_ascii=False))
    else:
        for name, value in plain.items():
            click.echo(f"{name}: {value}")
    sys.exit(EXITS[verdict_of(plain)])


@run.command("key-rotation")
@_rate
@_seed
@_json
@_no_live
def key_rotation_command(rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Replace the key of customers' personal data under load; no error, no row left under the old one."""
    options = DrillOptions(default_home(), rate, seed)
    with _watching("key rotation", as_json, no_live) as (say, on_scene):
        result = _run(run_key_rotation(options, say, on_scene))
    if as_json:
        click.echo(json.dumps(result.plain, ensure_ascii=False))
    else:
        print_key_rotation(Console(), result)
    sys.exit(EXITS[Verdict(result.plain["verdict"])])


def _one_fault(fault: OneFault, options: DrillOptions, as_json: bool, no_live: bool) -> None:
    with _watching(fault.title[0], as_json, no_live) as (say, on_scene):
        result = _run(run_one_fault(fault, options, say, on_scene))
    if as_json:
        click.echo(json.dumps(result.plain, ensure_ascii=False))
    else:
        print_one_fault(Console(), result)
    sys.exit(EXITS[result.verdict])


@run.command("site-evacuation")
@_data_site("The site to empty.")
@_rate
@_seed
@_json
@_no_live
def site_evacuation_command(site: str, rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Move every cell away from a site, switch it off and on again; no request may fail."""
    _one_fault(make_site_evacuation(Site(site)), DrillOptions(default_home(), rate, seed), as_json, no_live)


@run.command("site-isolation")
@_data_site("The site to cut off.")
@_rate
@_seed
@_json
@_no_live
def site_isolation_command(site: str, rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Cut a site off from everybody; it may acknowledge nothing that the other site's history lacks."""
    _one_fault(make_site_isolation(Site(site)), DrillOptions(default_home(), rate, seed), as_json, no_live)


@run.command("link-cut")
@_rate
@_seed
@_json
@_no_live
def link_cut_command(rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Cut the line between the data sites under load; nothing may be promoted, every cell goes on."""
    _one_fault(make_link_cut(), DrillOptions(default_home(), rate, seed), as_json, no_live)


@run.command("witness-loss")
@_rate
@_seed
@_json
@_no_live
def witness_loss_command(rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Kill the witness under load; nothing may happen to customers."""
    _one_fault(make_witness_loss(), DrillOptions(default_home(), rate, seed), as_json, no_live)


@run.command("primary-crash")
@click.option("--cell", default="a", show_default=True, help="The cell whose primary is killed.")
@_rate
@_seed
@_json
@_no_live
def primary_crash_command(cell: str, rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Kill the primary of one cell under load; the cell writes again within 5 s, nothing is lost."""
    try:
        homes = read_stand(default_home()).homes
    except StandError as error:
        raise click.ClickException(str(error)) from error
    if cell not in homes:
        raise click.BadParameter(f"{cell!r}: there are {', '.join(sorted(homes))}", param_hint="--cell")
    fault = make_primary_crash(cell, Site(homes[cell]))
    _one_fault(fault, DrillOptions(default_home(), rate, seed), as_json, no_live)


@run.command("restore")
@click.option("--cell", default="a", show_default=True, help="The cell to restore.")
@_rate
@_seed
@_json
@_no_live
def restore_command(cell: str, rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Restore one cell to a chosen second under load, beside the running one; every row must be right."""
    _one_fault(make_restore_drill(cell), DrillOptions(default_home(), rate, seed), as_json, no_live)


@run.command("cache-loss")
@_data_site("The site whose cache is lost.")
@_rate
@_seed
@_json
@_no_live
def cache_loss_command(site: str, rate: float, seed: int, as_json: bool, no_live: bool) -> None:
    """Kill a site's cache with everything in it; reads go on, it is filled anew by itself."""
    _one_fault(make_cache_loss(Site(site)), DrillOptions(default_home(), rate, seed), as_json, no_live)


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except (DrillRefused, StandError) as error:
        raise click.ClickException(str(error)) from error
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
