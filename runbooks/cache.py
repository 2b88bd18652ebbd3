"""`biyi cache status | resync`: the warm caches of both sites, as their projectors tell."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from replication.model import DATA_SITES, Site
from replication.settings import SiteSettings
from replication.tls import calling
from runbooks.cells import site_settings

ANSWER_SECONDS = 2.0
"""Patience with a projector's answer. Source: our choice; on loopback it takes milliseconds."""
_LOOK_SECONDS = 0.2
STATES = {
    "starting": "the projector has just started",
    "warm": "everything the local copy has is in the cache",
    "reading_anew": "everything is being read anew; until then readers go to the primary",
    "catching_up": "rows are waiting",
    "copy_behind": "the local copy is behind what was applied: it has to catch up",
    "copy_silent": "the site's own copy does not answer",
    "valkey_silent": "the site's Valkey does not answer",
}
"""Each `replication.projection.projector.State` in words for people."""


@click.group("cache")
def cache() -> None:
    """Look after the warm caches: one at each site, fed from the site's own copies."""


_SITE = click.option("--site", type=click.Choice([str(s) for s in DATA_SITES]), help="One site only.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def _chosen(site: str | None) -> dict[Site, SiteSettings]:
    return {s: settings for s, settings in site_settings().items() if site in (None, str(s))}


async def _ask(settings: SiteSettings, method: str, path: str) -> Any | None:
    """Return the projector's answer, None when there is none."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    url, tls = f"https://127.0.0.1:{settings.projector_port}{path}", calling(settings.tls_dir, "projector")
    try:
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.request(method, url, timeout=timeout, ssl=tls) as answer,
        ):
            return await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


async def read_caches(sites: Mapping[Site, SiteSettings]) -> dict[Site, Any]:
    """Return each site's cells as its projector shows them, None for a site that does not answer."""
    answers = await asyncio.gather(*(_ask(settings, "GET", "/v1/status") for settings in sites.values()))
    return {site: answer and answer["cells"] for site, answer in zip(sites, answers, strict=True)}


@cache.command("status")
@_SITE
@_JSON
def status_command(site: str | None, as_json: bool) -> None:
    """Show each site's cache of each cell: how far, how old, how long a row takes to get there.

    Exit 0 when all are warm, 1 when one is not, 3 when a projector does not answer.
    """
    found = asyncio.run(read_caches(_chosen(site)))
    if as_json:
        click.echo(json.dumps(found))
    else:
        Console().print(_table(found))
    if None in found.values():
        sys.exit(3)
    sys.exit(0 if all(c["state"] == "warm" for cells in found.values() for c in cells.values()) else 1)


def _table(found: Mapping[Site, Any]) -> Table:
    table = Table("site", "cell", "state", "copy", "epoch", "rows", "age", "lag p50 / p99")
    for site, cells in found.items():
        if cells is None:
            table.add_row(str(site), "-", "the projector does not answer; `biyi stand status`")
        for cell, facts in (cells or {}).items():
            state = STATES.get(facts["state"], facts["state"])
            rows = f"{facts['applied']}/{facts['total']}" if facts["total"] else str(facts["applied"])
            age = "-" if facts["age_ms"] is None else f"{facts['age_ms']} ms"
            lag = f"{facts['lag_p50_ms']} / {facts['lag_p99_ms']} ms" if facts["lag_samples"] else "-"
            why = f"{state} ({facts['why']})" if facts["why"] else state
            if facts["state"] == "warm":
                why = "warm"
            table.add_row(str(site), cell, why, facts["copy"], str(facts["epoch"]), rows, age, lag)
    return table


@cache.command("resync")
@_SITE
@_JSON
@click.option("--within", default=600.0, show_default=True, help="Patience in seconds.")
def resync_command(site: str | None, as_json: bool, within: float) -> None:
    """Read everything anew from the site's own copies; meanwhile readers go to the primary.

    A projector does so by itself when it finds its Valkey empty. Exit 0 when all are warm again, 3
    when a projector does not answer or is not done in time.
    """
    chosen = _chosen(site)
    begun = time.monotonic()
    hidden = as_json or not sys.stderr.isatty()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=hidden) as progress:
        bars: dict[str, TaskID] = {}

        def show(name: str, applied: int, total: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name)
            progress.update(bars[name], completed=applied, total=total)

        rows = asyncio.run(_resync(chosen, begun + within, show))
    seconds = round(time.monotonic() - begun, 2)
    if as_json:
        outcome = "unknown" if rows is None else "done"
        click.echo(json.dumps({"outcome": outcome, "rows": rows, "seconds": seconds}))
    else:
        told = "not known to be done: see `biyi cache status`" if rows is None else f"done: {rows} rows"
        click.echo(f"{told}, {seconds} s")
    sys.exit(3 if rows is None else 0)


async def _resync(
    sites: Mapping[Site, SiteSettings], end: float, show: Callable[[str, int, int], None]
) -> int | None:
    """Begin at every cell, then wait until each has been read anew; None when that is not known."""
    before: dict[tuple[Site, str], int] = {}
    for site, cells in (await read_caches(sites)).items():
        for cell in cells or {}:
            answer = await _ask(sites[site], "POST", f"/v1/cells/{cell}/resync")
            if answer is None or answer["outcome"] != "begun":
                return None
            before[site, cell] = answer["read_anew_before"]
        if cells is None:
            return None
    while time.monotonic() < end:
        now = await read_caches(sites)
        facts = {(site, cell): (now[site] or {}).get(cell) for site, cell in before}
        for (site, cell), fact in facts.items():
            if fact and fact["read_anew"] > before[site, cell] and fact["applied"] is not None:
                show(f"{site} {cell}", fact["applied"], fact["total"] or fact["applied"])
        warm = [
            fact["applied"]
            for key, fact in facts.items()
            if fact and fact["read_anew"] > before[key] and fact["state"] == "warm" and not fact["total"]
        ]
        if len(warm) == len(before):
            return sum(map(int, warm))
        await asyncio.sleep(_LOOK_SECONDS)
    return None
