"""`biyi ueba collect | publish | watch`: between the staff portal and a folder of events and scores."""

import asyncio
import datetime as dt
import sys
from pathlib import Path
from typing import Any

import aiohttp
import click

from replication.settings import SiteSettings
from replication.tls import calling
from runbooks.cells import site_settings
from runbooks.funder import run
from runbooks.lending_core import open_portal
from runbooks.ueba import (
    _as_click_errors,
    _date,
    _home,
    _json,
    _settings,
    _steps,
    load_settings,
    open_home,
    show,
)
from runbooks.ueba_review import ueba

__all__ = ["ueba"]
_PATIENCE_S = 2.0
"""Patience with a watcher. Source: our choice; on loopback it takes milliseconds."""
_LOCAL = dt.timezone(dt.timedelta(hours=8))


@ueba.command("collect")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d"]), help="First local day; the last 7 days without it."
)
@click.option("--today", is_flag=True, help="Also today, which has not ended: dwell may be missing.")
@_home
@_settings
@_json
def collect_command(
    since: dt.datetime | None, today: bool, home_dir: Path, settings_file: Path | None, as_json: bool
) -> None:
    """Bring what staff did on the portal into the home, with the personnel register and the reviews.

    Staff and customers come as keyed tokens. Safe to repeat: nothing is doubled. Exit 1 when a row or
    an account was rejected (it is named in <home>/rejects; nobody leaves the register then), 3 when a cell
    cannot be read now.
    """
    with _as_click_errors(), _steps() as told:
        from ueba import collect
        from ueba.watcher import read_pseudonyms

        now = dt.datetime.now(dt.UTC)  # noqa: TID251 - the shell's clock
        midnight = now.astimezone(_LOCAL).replace(hour=0, minute=0, second=0, microsecond=0)
        begin = since.replace(tzinfo=_LOCAL) if since else midnight - dt.timedelta(days=7)
        site = next(iter(site_settings().values()))
        names = read_pseudonyms(site.key_file)

        async def read() -> tuple[list[Any], list[dict[str, Any]], list[Any]]:
            told("events of every cell")
            rows = await collect.read_portal_rows(site, begin)
            told("accounts and reviews")
            async with open_portal() as portal:
                staff = await collect.read_staff(portal, names, now.astimezone(_LOCAL).date())
                return rows, staff, await collect.read_portal_acts(portal)

        rows, staff, acts = run(read())
        told("taking in")
        home, settings = open_home(home_dir), load_settings(settings_file)
        wanted = [row for row in rows if today or row.at < midnight or "look_" in row.topic]
        taken = collect.take_events(home, wanted, names, now, settings)
        register = collect.take_staff(home, staff, now, settings)
        found = collect.plain(taken) | {
            "staff": register.taken, "staff_rejected": register.rejected,
            "reviews": collect.take_acts(home, acts),
        }  # fmt: skip
    show(found, as_json)
    sys.exit(1 if taken.rejected or register.rejected else 0)


@ueba.command("publish")
@_date
@click.option("--seed", default=1, show_default=True, help="Of the queue's random slots.")
@_home
@_settings
@_json
def publish_command(
    date: dt.datetime, seed: int, home_dir: Path, settings_file: Path | None, as_json: bool
) -> None:
    """Put a scored day's queue before the reviewers, and tell both sites' watchers what is usual.

    Cases come with reasons and log lines. Needs `biyi ueba score` of that day. A day is published once; the
    same again changes nothing.
    """
    with _as_click_errors(), _steps() as told:
        from ueba.publish import make_publication, publish

        made = make_publication(open_home(home_dir), date.date(), seed, load_settings(settings_file), told)

        async def write() -> bool:
            async with open_portal() as portal:
                return await publish(portal, made)

        told("publishing")
        new = run(write())
    show(
        {"day": str(made.day), "cases": len(made.cases), "profiles": len(made.profiles), "new": new}, as_json
    )


@ueba.command("watch")
@click.option("--most", default=10, show_default=True, help="People with the highest scores to show.")
@_json
def watch_command(most: int, as_json: bool) -> None:
    """Show each site's watcher: how far it follows each cell, and today's highest provisional scores.

    Exit 3 when a watcher does not answer.
    """
    day = dt.datetime.now(_LOCAL).date()  # noqa: TID251 - the shell's clock
    found = {str(site): asyncio.run(_ask(one, day, most)) for site, one in site_settings().items()}
    if as_json:
        show(found, as_json=True)
    else:
        for site, answer in found.items():
            click.echo(f"watcher of {site}: {'does not answer' if answer is None else ''}")
            for cell, state in (answer or {}).get("cells", {}).items():
                lag = f", p99 {state['lag_p99_ms']} ms" if state["lag_p99_ms"] is not None else ""
                click.echo(f"  cell {cell}: {state['state']}, {state['scored']} scored{lag}")
            for one in (answer or {}).get("staff", []):
                click.echo(f"  {one['staff']}: {one['score']}")
    sys.exit(3 if None in found.values() else 0)


async def _ask(settings: SiteSettings, day: dt.date, most: int) -> dict[str, Any] | None:
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    at, tls = f"https://127.0.0.1:{settings.watcher_port}/v1", calling(settings.tls_dir, "watcher")
    found: dict[str, Any] = {}
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for path in ("status", f"provisional?day={day}&most={most}"):
                async with http.get(f"{at}/{path}", ssl=tls) as answer:
                    found |= await answer.json()
    except (aiohttp.ClientError, TimeoutError):
        return None
    return found


@ueba.command("canaries")
@_date
@click.option("--seed", default=1, show_default=True, help="Of who is doubled.")
@click.option("--least", default=4, show_default=True, help="Fewer caught than this is red.")
@_home
@_settings
@_json
def canaries_command(
    *, date: dt.datetime, seed: int, least: int, home_dir: Path, settings_file: Path | None, as_json: bool
) -> None:
    """Prove that detection still works: put known misuse beside a scored day, see whether the queue has it.

    Doubles of five members of staff misuse something; they never enter the home. What was caught is kept in
    <home>/canaries. Exit 1 when fewer than --least of them would have been looked at.

    \b
    Example: biyi ueba canaries --date 2026-04-30
    """
    with _as_click_errors(), _steps() as told:
        from ueba.canary import run_canaries

        found = run_canaries(open_home(home_dir), date.date(), seed, load_settings(settings_file), told)
    if as_json:
        show(found, as_json=True)
    else:
        show(found["canaries"], False, ("kind", "score", "caught"))
    sys.exit(0 if found["caught"] >= least else 1)
