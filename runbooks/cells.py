"""`biyi cells | why | move | hold`: what the agents see and decide, in words; planned moves."""

import asyncio
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from replication.model import DATA_SITES, Site, parse_lsn
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import calling
from runbooks.exposure import compute_exposure, word_exposure
from runbooks.stand.home import default_home

ANSWER_SECONDS = 2.0
"""Patience with an agent's status. Source: our choice; on loopback it takes milliseconds."""
MOVE_SECONDS = 30.0
"""Patience with a move; the agent itself gives up after 20 s."""

REASONS = {
    "etcd_silent": "no etcd member answers: nothing is decided on old knowledge",
    "kept_by_peer": "no etcd, but the sync copies acknowledge and the other agent, without etcd too, waits",
    "grant_unconfirmed": "the grant could not be confirmed for too long: stop rather than serve stale reads",
    "no_grant_yet": "the cell has no grant yet; its home site makes the first one",
    "grant_lost": "there are data but no grant: only a person can say who was primary",
    "emptiness_not_proven": "no grant and no data here, but not every site says that it holds none",
    "bootstrap": "a new cell is made at its home",
    "superseded": "the grant names another copy: this one must not run as a primary",
    "granted": "the grant names this copy primary and its server does not run",
    "server_mute": "the server did not answer for too long",
    "disk_stalled": "no WAL gets onto this disk: the sync copy shall take the cell over",
    "disk_full": "a disk is nearly full: free space there; nothing is moved onto it",
    "server_starting": "the server is starting or does not answer yet",
    "epoch_not_marked": "the epoch must stand in the database before clients may",
    "sync_set_silent": "a copy of the sync set has not acknowledged for degrade_after_ms: go on without it",
    "sync_site_silent": "a copy of the sync set is silent and so is its whole site: go on without it",
    "better_copy_in_sync": "a better placed copy is in the sync set: the stand-in is not waited for",
    "blocked_without_copy": "no sync copy acknowledges, and this cell never writes alone: clients wait",
    "waiting_for_sync_set": "clients wait until the sync set has the end of this server's WAL",
    "sync_set_has_everything": "the sync set has the end of this server's WAL: let clients in",
    "names_behind_grant": "PostgreSQL must wait for every copy the grant promises",
    "copy_caught_up": "a copy has caught up: commits wait for it from now on",
    "copy_named": "commits wait for the copy: prove it with a marker, then grant it",
    "going_home": "the home copy has been in the sync set long enough",
    "operator_asked": "an operator asked for the move",
    "move_target_not_in_sync": "the wanted copy is not in the sync set, so it may not be promoted",
    "moving": "a planned move is under way",
    "move_target_silent": "the copy to move to fell silent: the move is given up",
    "serving": "primary, open, sync set true",
    "primary_site_silent": "the primary's beat stands still and its stream or probe is dead",
    "primary_declared_down": "the primary's own agent says it cannot run it",
    "candidate_failed": "the candidate fell silent before it acknowledged anything",
    "silent_but_stream_alive": "the beat stands still but the WAL stream lives: an etcd hiccup is no death",
    "promised_to_wait": "this agent promised the other one, while neither saw etcd, to take nothing over yet",
    "alone_never_promotes": "no other copy has every acknowledged commit: nothing is promoted by itself",
    "not_in_sync_set": "this copy may lack acknowledged commits: it is not promoted",
    "forced_by_operator": "an operator accepts the loss: this copy takes the cell over",
    "candidate": "the grant lets this copy take the cell over",
    "other_candidate": "another copy is taking the cell over",
    "waiting_for_primary": "there is no living primary to copy from",
    "no_directory": "there is no directory: copy the primary",
    "directory_broken": "a rewind failed half-way: copy the primary",
    "was_primary": "a former primary comes back as a copy",
    "stream_stuck": "cannot stream although the primary lives: the histories differ",
    "other_primary": "the stream must point at the new primary",
    "following": "standby of the granted primary",
}
"""Each reason of `replication.failover.states.Why` in words for people."""


def site_settings() -> dict[Site, SiteSettings]:
    """Read both data sites' settings of the stand in $BIYI_HOME; ends with exit 1 when there is none."""
    home = default_home()
    try:
        return {site: read_site_settings(home / site / "site.json") for site in DATA_SITES}
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


def read_published(statuses: Mapping[Site, Any]) -> dict[str, Any]:
    """Return what the sites' agents published of their exposed cells: site -> cell -> the newest figures."""
    newest: dict[str, dict[str, Any]] = {}
    for status in statuses.values():
        for site, cells in status.get("exposures", {}).items():
            for cell, known in cells.items():
                held = newest.setdefault(site, {})
                if cell not in held or held[cell]["at"] < known["at"]:
                    held[cell] = known
    return newest


def utc_now() -> datetime:
    """Return the wall clock, for ages shown to people."""
    return datetime.now(UTC)  # noqa: TID251  the command line is a shell


def summarise(statuses: Mapping[Site, Any], now: datetime | None = None) -> list[dict[str, Any]]:
    """Return one row a cell: the newest grant any agent has read, the lag its primary sees, the exposure.

    `now` is aware UTC, for ages; None: the wall clock.
    """
    rows = []
    now = now or utc_now()
    published = read_published(statuses)
    places = {name: facts for status in statuses.values() for name, facts in status["places"].items()}
    cells = sorted({cell for status in statuses.values() for cell in status["grants"]})
    for cell in cells:
        known = (s["grants"][cell] for s in statuses.values() if cell in s["grants"] and s["etcd_answers"])
        grant = max(known, key=lambda g: g["epoch"], default=None)
        if grant is None:
            continue
        place = grant["primary"].rsplit("-", 1)[0]
        seen = (places.get(place) or {}).get("seen") or {}
        own = seen.get("own", {})
        flushed = [f["flush_lsn"] for f in own.get("followers", []) if f["copy"] in grant["sync_set"]]
        rows.append(
            {
                "cell": cell,
                "home": seen.get("home"),
                "epoch": grant["epoch"],
                "mode": grant["mode"],
                "primary": place,
                "at_home": seen.get("home") is not None and place.split("-")[1] == seen["home"],
                "open": own.get("open"),
                "sync_set": [copy.rsplit("-", 1)[0] for copy in grant["sync_set"]],
                "replay_lag_bytes": own["wal_flush_lsn"] - min(flushed) if flushed else None,
                "timeline": grant["timeline"],
                "marker_bytes": parse_lsn(grant["lsn_marker"]),
                "why": grant["why"],
                "exposure": compute_exposure(grant, published, now),
            }
        )
    return rows


def find_alarms(statuses: Mapping[Site, Any]) -> list[str]:
    """Return what leaves the cells with less protection than they are meant to have, in words."""
    silent = sorted({member for status in statuses.values() for member in status["etcd_members_silent"]})
    alarms = [
        f"no failover protection: the etcd member of {member} does not answer; the loss of another site, or a"
        " cut between the sites, would stop every cell. Bring it back."
        for member in silent
    ]
    full = sorted(
        name
        for status in statuses.values()
        for name, facts in status["places"].items()
        if ((facts["seen"] or {}).get("own") or {}).get("disk_full")
    )
    return alarms + [f"{name}: its disk is full; free space, nothing is moved onto it" for name in full]


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


def explain(name: str, facts: Mapping[str, Any]) -> list[str]:
    """Return the lines that explain one place."""
    seen, decision = facts["seen"], facts["decision"]
    own, held = seen["own"], seen["grant"]
    grant = held["grant"] if held else None
    why = REASONS.get(decision["why"], decision["why"])
    lines = [f"[bold]{name}[/bold]: {own['state']}, does {decision['step']}: {why} ({decision['why']})"]
    if grant is None:
        return [*lines, "  no grant of this cell is known"]
    copy = own["copy"]
    if copy == grant["primary"]:
        role = "it is the granted primary"
    elif copy in grant["sync_set"]:
        role = "it is in the sync set: it has every acknowledged commit and may be promoted"
    else:
        role = "it is not in the sync set: it may lack acknowledged commits and is never promoted"
    lines.append(f"  copy {copy}: {role}")
    lines.append(
        f"  grant: epoch {grant['epoch']}, mode {grant['mode']}, primary {grant['primary']}, "
        f"revision {held['revision']}, confirmed {seen['confirmed_age_ms']} ms ago"
    )
    silent = ", ".join(f"{site} {ms} ms" for site, ms in seen["silent_for_ms"].items())
    stream = own["stream"] if own["state"] == "standby" else "-"
    lines.append(
        f"  evidence: beats unchanged {silent}; own WAL stream {stream}; probe {seen['probe_answered']}"
    )
    return lines


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
