"""Commands `biyi stand`, `biyi site` and `biyi link`; exit 0 done, 1 refused or failed, 2 usage."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from replication.model import DATA_SITES, Site
from runbooks.stand.certificates import authority_file
from runbooks.stand.home import UpOptions, default_home
from runbooks.stand.links import HEALED, LinkMode, LinkState, link_name
from runbooks.stand.sites import kill_site, set_link
from runbooks.stand.status import StandStatus, read_status
from runbooks.stand.topology import LOOPBACK, StandError
from runbooks.stand.up import UpDone, down, plain_up, start_site, up

P = ParamSpec("P")
R = TypeVar("R")
_SITE = click.Choice([str(site) for site in Site])
_FOLLOW_EVERY_S = 0.2
_COLOURS = {"listening": "green", "starting": "yellow", "dead": "red", "stopped": "dim"}


def _says_what_failed(command: Callable[P, R]) -> Callable[P, R]:
    """Turn StandError, and what the file system refuses, into a message and exit 1."""

    @wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return command(*arguments, **options)
        except (StandError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return run


@click.group()
def stand() -> None:
    """The embedded stand: both sites and the witness on this machine."""


@stand.command("up")
@click.option(
    "--copies",
    type=click.IntRange(2, 3),
    help="Copies a cell (default 2; 3 adds a stand-in beside the home primary).",
)
@click.option("--cells", type=click.IntRange(1, 64), help="Cells, at home in idc and cloud by turns (2).")
@click.option(
    "--fresh", is_flag=True, help="Stop it, delete its data and keys, choose new ports; keeps evidence."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of progress.")
@click.option(
    "--backups/--no-backups",
    default=None,
    help="Archive WAL and keep base backups at both sites, see `biyi backup` (default: as the stand was "
    "made; a new one does). On a stand that is up it counts from its next start on.",
)
@_says_what_failed
def up_command(
    copies: int | None, cells: int | None, fresh: bool, as_json: bool, backups: bool | None
) -> None:
    """Bring both sites and the witness up; harmless when they are up."""
    options = UpOptions(copies=copies, cells=cells, fresh=fresh, backups=backups)
    try:
        with _progress(hidden=as_json) as progress:
            done = asyncio.run(up(default_home(), options, progress))
    except KeyboardInterrupt as error:
        raise StandError("interrupted; `biyi stand up` goes on, `biyi stand down` stops what runs") from error
    if as_json:
        click.echo(plain_up(done))
    else:
        _print_up(done)


@stand.command("down")
@_says_what_failed
def down_command() -> None:
    """Stop everything, PostgreSQL cleanly; leaves no process."""
    begun = time.monotonic()
    with Console(stderr=True).status("stopping"):
        forced = down(default_home())
    click.echo(f"down after {time.monotonic() - begun:.1f} s")
    for name in forced:
        click.echo(f"  had to be killed: {name}")


@stand.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_says_what_failed
def status_command(as_json: bool) -> None:
    """Show each site's processes, their ports and states, and links that are not ok."""
    status = read_status(default_home())
    if as_json:
        click.echo(json.dumps({**asdict(status), "whole": status.whole}))
    else:
        _print_status(status)


@stand.command("logs")
@click.argument("site", type=_SITE)
@click.argument("process", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on showing what is added, until Ctrl-C.")
@click.option("--lines", "-n", default=20, show_default=True, help="Lines of each log to begin with.")
@_says_what_failed
def logs_command(site: str, process: str | None, follow: bool, lines: int) -> None:
    """Show the end of a site's logs, or of one process (border, etcd, valkey, agent, api ...)."""
    directory = default_home() / site / "logs"
    paths = sorted(directory.glob("*.log"))
    if process is not None:
        paths = [path for path in paths if path.stem == process]
    if not paths:
        there = ", ".join(sorted(path.stem for path in directory.glob("*.log"))) or "none"
        raise StandError(f"{directory}: no log of {process or 'any process'}; there are: {there}")
    offsets = {path: _print_tail(path, lines, named=len(paths) > 1) for path in paths}
    while follow:
        time.sleep(_FOLLOW_EVERY_S)
        for path, offset in offsets.items():
            offsets[path] = _print_from(path, offset, named=len(paths) > 1)


@click.group()
def site() -> None:
    """Lose a whole site, and bring it back."""


@site.command("kill")
@click.argument("name", type=_SITE)
@click.option(
    "--keep-links", is_flag=True, help="Do not silence its links first: the others see FIN and RST."
)
@_says_what_failed
def kill_command(name: str, keep_links: bool) -> None:
    """Lose a site: silence on its links, SIGKILL to every process of it."""
    begun = time.monotonic()
    kill_site(default_home(), Site(name), keep_links=keep_links)
    click.echo(f"{name} is lost: nothing of it runs ({time.monotonic() - begun:.2f} s)")


@site.command("start")
@click.argument("name", type=_SITE)
@_says_what_failed
def start_command(name: str) -> None:
    """Bring a site back: heal its links, start its processes; rejoining goes on afterwards."""
    started = start_site(default_home(), Site(name))
    click.echo(f"{name}: links healed; started {', '.join(started) or 'nothing, all was running'}")


@click.command("link")
@click.argument("words", nargs=-1, required=True, metavar="show | FROM TO cut|hole|heal | FROM TO delay MS")
@click.option("--both", is_flag=True, help="The opposite direction as well.")
@click.option("--json", "as_json", is_flag=True, help="With show: print one JSON object.")
@_says_what_failed
def link(words: tuple[str, ...], both: bool, as_json: bool) -> None:
    """Cut (reset), black-hole, delay or heal a directed link between two sites, or show all links."""
    if words == ("show",):
        links = read_status(default_home()).links
        rows = "\n".join(f"{name.replace('>', ' to '):18}{text}" for name, text in sorted(links.items()))
        click.echo(json.dumps(links) if as_json else rows)
        return
    try:
        source, destination, state = _parse_link(words)
        names = [link_name(source, destination)] + ([link_name(destination, source)] if both else [])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for name in names:
        set_link(default_home(), name, state)
        click.echo(f"{name.replace('>', ' to ')}: {state.text}")


def _parse_link(words: tuple[str, ...]) -> tuple[str, str, LinkState]:
    match words:
        case (source, destination, "cut" | "hole" as mode):
            return source, destination, LinkState(LinkMode(mode))
        case (source, destination, "heal"):
            return source, destination, HEALED
        case (source, destination, "delay", delay_ms) if delay_ms.isdigit():
            return source, destination, LinkState(LinkMode.OK, int(delay_ms))
    raise ValueError(f"link {' '.join(words)!r}: needs <from> <to> cut|hole|heal, or <from> <to> delay <ms>")


@contextmanager
def _progress(*, hidden: bool) -> Iterator[Callable[[str, int, int], None]]:
    columns = (SpinnerColumn(), TextColumn("{task.description:12}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task("programs", total=1)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total)


def _print_up(done: UpDone) -> None:
    click.echo(f"up after {done.seconds:.1f} s in {done.stand.home} ({len(done.started)} processes started)")
    for text in done.healed:
        click.echo(f"  healed the link {text}")
    for name in DATA_SITES:
        click.echo(f"  entrance {name:6} https://{LOOPBACK}:{done.stand.port(name, 'api')}/openapi.json")
    for name in DATA_SITES:
        click.echo(
            f"  console  {name:6} https://{LOOPBACK}:{done.stand.port(name, 'console')}/  (biyi console)"
        )
    click.echo(f"  their certificates are vouched for by {authority_file(done.stand.home)} (curl --cacert)")


def _print_status(status: StandStatus) -> None:
    table = Table("site", "process", "pid", "port", "state", box=None, header_style="bold")
    for each in status.processes:
        state = f"[{_COLOURS[each.state]}]{each.state}[/]"
        table.add_row(each.site, each.program, str(each.pid or ""), str(each.port), state)
    console = Console()
    console.print(table)
    console.print(f"caches are reached by {status.caches}", soft_wrap=True, highlight=False)
    for name, text in sorted(status.links.items()):
        if text != "ok":
            console.print(f"link {name.replace('>', ' to ')}: [red]{text}[/]")


def _print_tail(path: Path, lines: int, *, named: bool) -> int:
    with path.open("rb") as stream:
        text = stream.read()
    for line in text.decode(errors="replace").splitlines()[-lines:] if lines > 0 else []:
        click.echo(f"{path.stem}: {line}" if named else line)
    return len(text)


def _print_from(path: Path, offset: int, *, named: bool) -> int:
    if path.stat().st_size < offset:
        return _print_tail(path, 0, named=named)
    with path.open("rb") as stream:
        stream.seek(offset)
        whole, _, _ = stream.read().rpartition(b"\n")
    for line in whole.decode(errors="replace").splitlines():
        click.echo(f"{path.stem}: {line}" if named else line)
    return offset + len(whole) + (1 if whole else 0)
