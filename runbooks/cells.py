"""`biyi cells | why | move | hold`: what the agents see and decide, in words; planned moves."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from replication.model import DATA_SITES, Site
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import calling
from runbooks.cell_facts import compute_cell_rows, explain, find_alarms
from runbooks.exposure import word_exposure
from runbooks.stand.home import default_home

SITE = "BIYI_SITE"
"""The environment variable that names the site a command is run at, where there is one."""
ANSWER_SECONDS = 2.0
"""Patience with an agent's status. Source: our choice; on loopback it takes milliseconds."""
MOVE_SECONDS = 30.0
"""Patience with a move; the agent itself gives up after 20 s."""


def site_settings() -> dict[Site, SiteSettings]:
    """Read both data sites' settings of the stand in $BIYI_HOME; ends with exit 1 when there is none.

    The site that $BIYI_SITE names stands first: commands that need one site's way to the cells take its.
    """
    home, own = default_home(), os.environ.get(SITE)
    try:
        sites = sorted(DATA_SITES, key=lambda site: site != own)
        return {site: read_site_settings(home / site / "site.json") for site in sites}
    except SettingsError as error:
        raise click.ClickException(str(error)) from error


async def ask_agent(
    settings: SiteSettings, path: str, seconds: float, method: str = "GET", body: object = None
) -> tuple[int, Any] | None:
    """Return the status code and JSON answer of a site's agent; None when it gives none in time."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    url, tls = settings.agent_urls[settings.site] + path, calling(settings.tls_dir, "agent")
    try:
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.request(method, url, json=body, timeout=timeout, ssl=tls) as answer,
        ):
            return answer.status, await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


async def read_statuses() -> dict[Site, Any]:
    """Return each living agent's status."""
    settings = site_settings()
    answers = await asyncio.gather(*(ask_agent(s, "/v1/status", ANSWER_SECONDS) for s in settings.values()))
    return {site: answer[1] for site, answer in zip(settings, answers, strict=True) if answer}


def summarise(statuses: Mapping[Site, Any], now: datetime | None = None) -> list[dict[str, Any]]:
    """Return one row a cell (`cell_facts`); `now` is aware UTC, None: the wall clock."""
    return compute_cell_rows(statuses, now or utc_now())


def utc_now() -> datetime:
    """Return the wall clock, for ages shown to people."""
    return datetime.now(UTC)  # noqa: TID251  the command line is a shell


@click.command("cells")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead of a table.")
def cells_command(as_json: bool) -> None:
    """Show every cell: epoch, who writes it, who has everything, why it is so.

    What is not as it should be (an etcd member that does not answer, a full disk) is said on standard
    error. Exit 3 when no agent answers: then nothing is known.
    """
    statuses = asyncio.run(read_statuses())
    if not statuses:
        click.echo("no agent answers; is the stand up? `biyi stand status`", err=True)
        sys.exit(3)
    rows = summarise(statuses)
    for alarm in find_alarms(statuses):
        click.echo(f"alarm: {alarm}", err=True)
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table(
        "cell", "home", "epoch", "mode", "primary", "open", "in sync", "lag", "at risk", "last change",
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for row in rows:
        lag = row["replay_lag_bytes"]
        table.add_row(
            str(row["cell"]), str(row["home"] or "?"), str(row["epoch"]), str(row["mode"]),
            _short(row["primary"]), {True: "yes", False: "no"}.get(bool(row["open"]), "?"),
            ", ".join(map(_short, row["sync_set"])) if isinstance(row["sync_set"], list) else "",
            "-" if lag is None else f"{lag} B", word_exposure(row["exposure"]),
            str(row["why"]).replace("_", " "),
        )  # fmt: skip
    Console().print(table)


def _short(copy: object) -> str:
    """Return site and number of a copy, for a column beside its cell; `--json` has the whole id."""
    return "-".join(str(copy).split("-")[1:3])


@click.command("why")
@click.argument("cell")
@click.option("--json", "as_json", is_flag=True, help="Print what each agent saw and decided as JSON.")
def why_command(cell: str, as_json: bool) -> None:
    """Explain for each copy of CELL what its agent sees, what it does, and why.

    The eligibility proof: only a copy in the sync set of the current grant may ever be promoted.
    """
    statuses = asyncio.run(read_statuses())
    places = {
        name: facts
        for status in statuses.values()
        for name, facts in status["places"].items()
        if facts["seen"] and facts["seen"]["cell"] == cell
    }
    if not places:
        click.echo(f"no living agent knows a cell {cell!r}; `biyi cells` lists those there are", err=True)
        sys.exit(3)
    if as_json:
        click.echo(json.dumps(places))
        return
    console = Console()
    for name, facts in sorted(places.items()):
        for line in explain(name, facts):
            console.print(line, highlight=False)


@click.command("move")
@click.argument("cell")
@click.option(
    "--to",
    "to",
    required=True,
    type=click.Choice([str(s) for s in DATA_SITES]),
    help="The site that shall write the cell.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the agent's answer as JSON.")
def move_command(cell: str, to: str, as_json: bool) -> None:
    """Move CELL's primary to the other site without failing a request.

    A cell moved away from home stays there until it is moved back or its site is lost.
    """
    statuses = asyncio.run(read_statuses())
    row = next((r for r in summarise(statuses) if r["cell"] == cell), None)
    if row is None:
        click.echo(f"no living agent knows a cell {cell!r}; `biyi cells` lists those there are", err=True)
        sys.exit(3)
    settings = site_settings()[Site(str(row["primary"]).split("-")[1])]
    path = f"/v1/cells/{cell}/move"
    answer = asyncio.run(ask_agent(settings, path, MOVE_SECONDS, "POST", {"to": to}))
    outcome = answer[1] if answer else {"outcome": "unknown", "why": "the agent did not answer"}
    click.echo(json.dumps(outcome) if as_json else f"{outcome['outcome']}: {outcome['why']}")
    sys.exit({"done": 0, "refused": 1}.get(outcome["outcome"], 3))


@click.command("hold")
@click.option("--release", is_flag=True, help="Let cells go home again.")
def hold_command(release: bool) -> None:
    """Keep cells where they are: none goes home by itself until released."""
    for settings in site_settings().values():
        method = "DELETE" if release else "PUT"
        if asyncio.run(ask_agent(settings, "/v1/hold", ANSWER_SECONDS, method)):
            click.echo("released: cells go home again" if release else "held: cells stay where they are")
            return
    click.echo("no agent answers; is the stand up? `biyi stand status`", err=True)
    sys.exit(3)
