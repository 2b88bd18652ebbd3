"""Scores staff within a second at one site: `python -m ueba.watcher --settings <site.json>`.

Follows every cell's staff events from the site's own copies and keeps counts and provisional scores in the
site's own Valkey. Both sites do so, each for itself. Answers on `watcher_port`: `GET /v1/status`,
`GET /v1/provisional?day=&most=`. Loads neither numpy nor an engine: the daily path is elsewhere.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from compliance.protection.errors import ProtectionError
from compliance.protection.index import compute_hmac_sm3
from compliance.protection.vault import open_secret
from core_app.staff.pseudonyms import customer_namer, staff_namer
from replication.gate import admit_only
from replication.health import alive_routes, health_served
from replication.loops import run
from replication.metrics import metrics_routes
from replication.projection.valkey import Valkey, open_valkey
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import OPERATOR, open_identity
from ueba.follow import CellFollower, Desk, show
from ueba.portal import Pseudonyms
from ueba.settings import Settings, day_number
from ueba.standing import Keeper
from ueba.stream import StreamScorer

VALKEY_SECONDS = 2.0
"""Patience with Valkey. Source: our choice, that of the projector."""
_MOST = 500


def make_followers(site: SiteSettings, valkey: Valkey, names: Pseudonyms) -> dict[str, CellFollower]:
    """Return one follower for each cell that has a copy at the site."""
    own = sorted(site.own_places(), key=lambda place: place.ordinal)
    cells = tuple(cell.name for cell in site.cells if any(place.cell == cell.name for place in own))
    scorer = StreamScorer(valkey, Settings())
    desk = Desk(valkey, scorer, names, cells, lambda: secrets.token_hex(8), _read_now)
    return {
        name: CellFollower(name, tuple(place for place in own if place.cell == name), site.passfile, desk)
        for name in cells
    }


def read_pseudonyms(key_file: Path) -> Pseudonyms:
    """Return the makers of tokens with the site's key; ProtectionError when it cannot be had."""
    key = open_secret(key_file, "request")

    def digest(text: bytes) -> bytes:
        return compute_hmac_sm3(key, text)

    return Pseudonyms(staff_namer(digest), customer_namer(digest))


def routes(followers: Mapping[str, CellFollower], keeper: Keeper) -> web.RouteTableDef:
    """Return the watcher's HTTP face."""
    table = web.RouteTableDef()

    @table.get("/v1/status")
    async def get_status(_: web.Request) -> web.Response:
        shown = {cell: show(follower) for cell, follower in followers.items()}
        return web.json_response({"cells": shown, "profiles": keeper.show()})

    @table.get("/v1/provisional")
    async def get_provisional(request: web.Request) -> web.Response:
        try:
            day = dt.date.fromisoformat(request.query["day"])
            most = min(_MOST, int(request.query.get("most", "20")))
        except (KeyError, ValueError):
            return web.json_response({"why": "day: needs YYYY-MM-DD; most: a number"}, status=422)
        desk = next(iter(followers.values())).desk
        found = await desk.scorer.highest(day_number(day), most)
        return web.json_response(
            {"staff": [{"staff": name, "score": round(score, 1)} for name, score in found]}
        )

    return table


def watcher_figures(followers: Mapping[str, CellFollower]) -> Iterator[Metric]:
    """Return the figures of the watcher, for Prometheus."""
    scored = CounterMetricFamily("biyi_staff_events_scored", "Events scored since the start", labels=["cell"])
    lag = GaugeMetricFamily("biyi_staff_score_p99_seconds", "Event to provisional score", labels=["cell"])
    for cell, follower in followers.items():
        shown = show(follower)
        scored.add_metric([cell], follower.scored)
        if isinstance(shown["lag_p99_ms"], float):
            lag.add_metric([cell], shown["lag_p99_ms"] / 1000)
    yield from (scored, lag)


async def serve(site: SiteSettings) -> None:
    """Follow every cell until SIGTERM or SIGINT."""
    if site.valkey_passfile is None or site.watcher_port is None:
        raise SettingsError("valkey_passfile and watcher_port: a watcher needs both")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    names = read_pseudonyms(site.key_file)
    async with (
        open_identity(site.tls_dir, "watcher") as identity,
        open_valkey(site.valkey_address("watcher"), site.valkey_passfile, VALKEY_SECONDS) as valkey,
        health_served(site, identity, alive_routes()),
    ):
        followers = make_followers(site, valkey, names)
        keeper = Keeper.of(site, valkey, next(iter(followers.values())).desk.scorer)
        application = web.Application(middlewares=admit_only(identity, asking={OPERATOR}))
        application.add_routes(routes(followers, keeper))
        application.add_routes(metrics_routes(lambda: watcher_figures(followers)))
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, site.listen_host, site.watcher_port, ssl_context=identity.serving()).start()
        running = [asyncio.create_task(each.run()) for each in followers.values()]
        running.append(asyncio.create_task(keeper.run()))
        stopping = asyncio.create_task(stop.wait())
        # A follower that ends has met what it was not made for: the process ends with it.
        await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*running, stopping):
            task.cancel()
        ended = await asyncio.gather(*running, return_exceptions=True)
        with contextlib.suppress(asyncio.CancelledError):
            await runner.cleanup()
        for each in ended:
            if isinstance(each, BaseException) and not isinstance(each, asyncio.CancelledError):
                raise each


def _read_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - this process's clock


@click.command()
@click.option("--settings", "settings_file", type=click.Path(path_type=Path), required=True)
def main(settings_file: Path) -> None:
    """Score what staff do at one site until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run(serve(read_site_settings(settings_file)))
    except (SettingsError, ProtectionError) as error:
        click.echo(f"biyi watcher: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
