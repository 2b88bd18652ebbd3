"""`biyi demo`: a fresh stand of its own, one site lost under load; it stays up to be looked at in a browser.

Its last lines say where the drill's report lies, where the console is, who can sign in there, and how
everything is stopped.
"""

import asyncio
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from replication.model import DATA_SITES
from runbooks.backup import now_command, status_command
from runbooks.console.rights import find_sections
from runbooks.console.words import word
from runbooks.day_end import run_command as day_end_command
from runbooks.demo_people import DemoPeople, DemoPerson, make_people, read_people, say_code, write_people
from runbooks.drills.arrivals import make_person
from runbooks.drills.cli import run as drills
from runbooks.drills.past import read_past
from runbooks.lending_core import open_portal
from runbooks.stand.certificates import authority_file
from runbooks.stand.cli import down_command, up_command
from runbooks.stand.home import default_home
from runbooks.stand.topology import LOOPBACK, StandError, read_stand


@click.command("demo")
@click.option(
    "--site",
    type=click.Choice([str(s) for s in DATA_SITES]),
    default="idc",
    show_default=True,
    help="The site to lose.",
)
@click.option("--rate", type=float, default=40.0, show_default=True, help="Operations a second.")
@click.option("--backups/--no-backups", default=True, help="Archive, end with backups (the default).")
@click.option("--keep/--no-keep", default=True, help="Leave the stand up afterwards (the default).")
@click.option("--codes", is_flag=True, help="Only say again how to sign in to the demo that is up.")
@click.option("--down", is_flag=True, help="Only stop the demo that is up.")
@click.option("--json", "as_json", is_flag=True, help="Print the drill's JSON object.")
@click.pass_context
def demo_command(
    context: click.Context,
    *,
    site: str,
    rate: float,
    backups: bool,
    keep: bool,
    codes: bool,
    down: bool,
    as_json: bool,
) -> None:
    """Show the main job: lend money through both entrances, lose a whole site, lose nothing else.

    \b
    1. brings up idc, cloud and the witness in $BIYI_HOME/demo (default .biyi/demo)
    2. runs the drill `site-loss`: load, kill, take-over, restart, rejoin, going home
    3. closes the day, takes a backup of every cell at both sites (not with --no-backups)
    4. makes accounts for the console and leaves everything up (not with --no-keep): biyi demo --down
    """  # fmt: skip
    os.environ["BIYI_HOME"] = str(default_home() / "demo")
    if down:
        context.invoke(down_command)
        return
    if codes:
        _say_lines(_say_people())
        return
    begun = time.monotonic()
    code: int | str | None = 1
    left = False
    said = sys.stderr if as_json else sys.stdout
    drill = {"site": site, "rate": rate, "seed": 1, "execute": True, "approval": None}
    drill |= {"as_json": as_json, "no_live": False}
    try:
        with redirect_stdout(said):
            context.invoke(up_command, copies=None, fresh=True, as_json=False, backups=backups)
        code = _exit_of(context, drills.commands["site-loss"], **drill)
        if keep:  # not before the drill: where there are administrators, it takes two of them
            write_people(default_home(), asyncio.run(_make_people()))
        with redirect_stdout(said):
            code = code or _exit_of(context, day_end_command, ahead=True)
            if backups:
                code = code or _show_backups(context)
        left = keep
    finally:
        if not left:
            with redirect_stdout(sys.stderr):
                context.invoke(down_command)
    click.echo(f"demo ended after {time.monotonic() - begun:.0f} s", err=True)
    _say_lines(_say_what_is_left(keep=keep))
    sys.exit(code)


def _say_lines(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line, err=True)


async def _make_people() -> DemoPeople:
    async with open_portal() as portal:
        return await make_people(portal.desk)


def _say_what_is_left(*, keep: bool) -> Iterator[str]:
    """Yield the last lines: the report, which can be opened now, and the console while it is there."""
    home = default_home()
    past = read_past(home)
    if past and (report := past[0].folder / "report.html").is_file():
        yield f"report:   {report.as_uri()}"
    if not keep:
        yield f"console:  stopped; up again by: BIYI_HOME={shlex.quote(str(home))} biyi stand up"
        return
    yield from _say_people()


def _say_people() -> Iterator[str]:
    """Yield where the console is, who can sign in with which code, and how the demo ends."""
    home = default_home()
    made = read_people(home)
    try:
        stand = read_stand(home)
    except StandError as error:
        raise click.ClickException(str(error)) from error
    if made is None:
        raise click.ClickException(f"nobody can sign in to the demo of {home}: run biyi demo")
    urls = [f"https://{LOOPBACK}:{stand.port(site, 'console')}/" for site in reversed(DATA_SITES)]
    biyi = shlex.quote(os.path.relpath(sys.argv[0])) if Path(sys.argv[0]).name == "biyi" else "biyi"
    yield f"console:  {urls[0]} (cloud), {urls[1]} (idc)"
    yield f"          your browser asks whether to trust the stand's own certificates: {authority_file(home)}"
    yield f"password: {made.password}"
    yield "account   code    pages"
    for person in made.people:
        yield f"{person.staff:9} {say_code(person, time.time()):7} {_pages_of(person)}"
    if (phone := _find_phone(home)) is not None:
        yield f"          {made.people[-1].staff} can look for the customer with the phone {phone}"
    yield f"new codes: {biyi} demo --codes     stop everything: {biyi} demo --down"


def _pages_of(person: DemoPerson) -> str:
    return ", ".join(word("en", f"nav.{one.name}") for one in find_sections([str(person.role)]))


def _find_phone(home: Path) -> str | None:
    """Return the phone of the newest drill's first customer, who has a loan; None before a drill."""
    past = read_past(home)
    if not past:
        return None
    with (past[0].folder / "history.jsonl").open(encoding="utf-8") as lines:
        prefix = json.loads(next(lines)).get("key_prefix")
    return make_person(prefix, 1).phone if prefix else None


def _show_backups(context: click.Context) -> int | str | None:
    where = {"cell": None, "site": None, "as_json": False}
    return _exit_of(context, now_command, full=True, **where) or _exit_of(context, status_command, **where)


def _exit_of(context: click.Context, command: click.Command, **options: Any) -> int | str | None:
    try:
        context.invoke(command, **options)
    except SystemExit as end:
        return end.code
    return 0
