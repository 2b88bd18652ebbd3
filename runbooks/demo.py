"""`biyi demo`: a fresh stand of its own, one site lost under load, everything stopped again."""

import os
import sys
import time
from contextlib import redirect_stdout
from typing import Any

import click

from replication.model import DATA_SITES
from runbooks.backup import now_command, status_command
from runbooks.drills.cli import site_loss_command
from runbooks.stand.cli import down_command, up_command
from runbooks.stand.home import default_home


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
    4. stops everything and says where the evidence lies
    """  # fmt: skip
    os.environ["BIYI_HOME"] = str(default_home() / "demo")
    begun = time.monotonic()
    code: int | str | None = 1
    said = sys.stderr if as_json else sys.stdout
    drill = {"site": site, "rate": rate, "seed": 1, "as_json": as_json, "no_live": False}
    try:
        with redirect_stdout(said):
            context.invoke(up_command, copies=None, fresh=True, as_json=False, backups=backups)
        code = _exit_of(context, site_loss_command, **drill)
        if backups and not code:
            with redirect_stdout(said):
                code = _show_backups(context)
    finally:
        if not keep:
            with redirect_stdout(sys.stderr):
                context.invoke(down_command)
    click.echo(f"demo ended after {time.monotonic() - begun:.0f} s", err=True)
    if keep:
        click.echo(f"the stand is up: export BIYI_HOME={os.environ['BIYI_HOME']}; biyi cells", err=True)
    sys.exit(code)


def _show_backups(context: click.Context) -> int | str | None:
    where = {"cell": None, "site": None, "as_json": False}
    return _exit_of(context, now_command, full=True, **where) or _exit_of(context, status_command, **where)


def _exit_of(context: click.Context, command: click.Command, **options: Any) -> int | str | None:
    try:
        context.invoke(command, **options)
    except SystemExit as end:
        return end.code
    return 0
