"""`biyi demo`: a fresh stand of its own, one site lost under load, everything stopped again."""

import os
import sys
import time
from contextlib import redirect_stdout

import click

from replication.model import DATA_SITES
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
@click.option("--keep", is_flag=True, help="Leave the stand up afterwards.")
@click.option("--json", "as_json", is_flag=True, help="Print the drill's JSON object.")
@click.pass_context
def demo_command(context: click.Context, site: str, rate: float, keep: bool, as_json: bool) -> None:
    """Show the main job: lend money through both entrances, lose a whole site, lose nothing else.

    \b
    1. brings up idc, cloud and the witness in $BIYI_HOME/demo (default .biyi/demo)
    2. runs the drill `site-loss`: load, kill, take-over, restart, rejoin, going home
    3. stops everything and says where the evidence lies
    """  # fmt: skip
    os.environ["BIYI_HOME"] = str(default_home() / "demo")
    begun = time.monotonic()
    code: int | str | None = 1
    try:
        with redirect_stdout(sys.stderr if as_json else sys.stdout):
            context.invoke(up_command, copies=None, fresh=True, as_json=False, backups=False)
        context.invoke(site_loss_command, site=site, rate=rate, seed=1, as_json=as_json, no_live=False)
    except SystemExit as end:
        code = end.code
    finally:
        if not keep:
            with redirect_stdout(sys.stderr):
                context.invoke(down_command)
    click.echo(f"demo ended after {time.monotonic() - begun:.0f} s", err=True)
    if keep:
        click.echo(f"the stand is up: export BIYI_HOME={os.environ['BIYI_HOME']}; biyi cells", err=True)
    sys.exit(code)
