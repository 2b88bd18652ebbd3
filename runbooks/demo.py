"""`biyi demo`: a fresh stand of its own, one site lost under load, everything stopped again.

Its last lines say where the drill's report lies and how to look at the console: what can be opened now, and
the command that makes the rest openable.
"""

import os
import shlex
import sys
import time
from contextlib import redirect_stdout
from typing import Any

import click

from replication.model import DATA_SITES
from runbooks.backup import now_command, status_command
from runbooks.drills.cli import run as drills
from runbooks.drills.past import read_past
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
@click.option("--keep", is_flag=True, help="Leave the stand up afterwards.")
@click.option("--json", "as_json", is_flag=True, help="Print the drill's JSON object.")
@click.pass_context
def demo_command(
    context: click.Context, *, site: str, rate: float, backups: bool, keep: bool, as_json: bool
) -> None:
    """Show the main job: lend money through both entrances, lose a whole site, lose nothing else.

    \b
    1. brings up idc, cloud and the witness in $BIYI_HOME/demo (default .biyi/demo)
    2. runs the drill `site-loss`: load, kill, take-over, restart, rejoin, going home
    3. takes a backup of every cell at both sites, shows what could be restored (not with --no-backups)
    4. stops everything (not with --keep), says where the drill's report lies and where the console is
    """  # fmt: skip
    os.environ["BIYI_HOME"] = str(default_home() / "demo")
    begun = time.monotonic()
    code: int | str | None = 1
    said = sys.stderr if as_json else sys.stdout
    drill = {"site": site, "rate": rate, "seed": 1, "execute": True, "approval": None}
    drill |= {"as_json": as_json, "no_live": False}
    try:
        with redirect_stdout(said):
            context.invoke(up_command, copies=None, fresh=True, as_json=False, backups=backups)
        code = _exit_of(context, drills.commands["site-loss"], **drill)
        if backups and not code:
            with redirect_stdout(said):
                code = _show_backups(context)
    finally:
        if not keep:
            with redirect_stdout(sys.stderr):
                context.invoke(down_command)
    click.echo(f"demo ended after {time.monotonic() - begun:.0f} s", err=True)
    for line in _say_what_is_left(keep=keep):
        click.echo(line, err=True)
    sys.exit(code)


def _say_what_is_left(*, keep: bool) -> list[str]:
    """Return the last lines: the report, which can be opened now, and the console, which needs the stand."""
    home = default_home()
    lines = []
    past = read_past(home)
    if past and (report := past[0].folder / "report.html").is_file():
        lines.append(f"report:  {report.as_uri()}")
    try:
        consoles = [f"https://{LOOPBACK}:{read_stand(home).port(site, 'console')}/" for site in DATA_SITES]
    except StandError:
        return lines
    where = f"export BIYI_HOME={shlex.quote(str(home))}"
    start = "" if keep else " biyi stand up;"
    there = "is there" if keep else "will be there after the first command"
    lines.append(f"console: {' and '.join(consoles)} {there}; to sign in for the first time:")
    lines.append(f"         {where};{start} biyi console")
    if keep:
        lines.append("         the stand is up; at the end: biyi stand down")
    return lines


def _show_backups(context: click.Context) -> int | str | None:
    where = {"cell": None, "site": None, "as_json": False}
    return _exit_of(context, now_command, full=True, **where) or _exit_of(context, status_command, **where)


def _exit_of(context: click.Context, command: click.Command, **options: Any) -> int | str | None:
    try:
        context.invoke(command, **options)
    except SystemExit as end:
        return end.code
    return 0
