"""Keeps the warm cache of one site: `python -m core_app.projector --settings <site.json>`.

How is `replication.projection`'s; what a row means is `core_app.read_models`'. Reads the site's own
copies, writes the site's own Valkey; answers on `projector_port`:
`GET /v1/status`, `POST /v1/cells/<cell>/resync`.
"""

import asyncio
import contextlib
import logging
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from aiohttp import web
from prometheus_client.core import GaugeMetricFamily, Metric
from redis.exceptions import RedisError

from core_app.outbox import SCHEMA, TABLE
from core_app.read_models.windows import map_row
from replication.gate import admit_only
from replication.health import alive_routes, health_served
from replication.loops import run
from replication.metrics import metrics_routes
from replication.projection.projector import CellProjector, Feed, State
from replication.projection.status import show_status
from replication.projection.valkey import Valkey, forget, open_valkey, reread_certificates
from replication.settings import SettingsError, SiteSettings, TlsAddress, read_site_settings
from replication.tls import OPERATOR, open_identity

log = logging.getLogger("biyi.projector")

VALKEY_SECONDS = 2.0
"""Patience with Valkey. Source: our choice; a page takes milliseconds, a start with a log of 100 MB
under a second, and nobody waits for the projector."""
RENEWAL_SECONDS = 600.0
"""Pause between two times that Valkey is told to read its certificate again. Source: our choice; certificates
are renewed weeks before they run out."""
FEED = Feed(SCHEMA, TABLE, map_row)


def make_projectors(settings: SiteSettings, valkey: Valkey) -> dict[str, CellProjector]:
    """Return one projector for each cell that has a copy at the site."""
    places = sorted(settings.own_places(), key=lambda place: place.ordinal)
    made = {}
    for cell in settings.cells:
        own = tuple(place for place in places if place.cell == cell.name)
        if own:
            made[cell.name] = CellProjector(
                cell.name, own, settings.passfile, FEED, valkey, lambda: secrets.token_hex(8), time.time
            )
    return made


async def keep_certificates_read(valkey: Valkey) -> None:
    """Tell the site's Valkey of renewed certificates until cancelled: nobody else always talks to it."""
    while True:
        await asyncio.sleep(RENEWAL_SECONDS)
        try:
            await reread_certificates(valkey)
        except RedisError as error:
            log.warning("Valkey keeps the certificate it has: %s", type(error).__name__)


def routes(projectors: dict[str, CellProjector], valkey: Valkey) -> web.RouteTableDef:
    """Return the projector's HTTP face."""
    table = web.RouteTableDef()

    @table.get("/v1/status")
    async def get_status(_: web.Request) -> web.Response:
        shown: dict[str, Any] = {
            cell: show_status(projector, time.time()) for cell, projector in projectors.items()
        }
        return web.json_response({"cells": shown})

    @table.post("/v1/cells/{cell}/resync")
    async def post_resync(request: web.Request) -> web.Response:
        cell = request.match_info["cell"]
        if cell not in projectors:
            return web.json_response({"outcome": "refused", "why": f"no cell {cell!r} here"}, status=409)
        before = projectors[cell].read_anew
        try:
            await forget(valkey, cell)
        except RedisError as error:
            return web.json_response({"outcome": "unknown", "why": type(error).__name__}, status=504)
        return web.json_response({"outcome": "begun", "read_anew_before": before})

    return table


def cache_figures(projectors: Mapping[str, CellProjector], now_seconds: float) -> Iterator[Metric]:
    """Return the figures of the warm cache; `now_seconds` is the wall clock.

    The outbox's age is that of what the cache shows while rows wait, and 0 while none do.
    """
    age = GaugeMetricFamily("biyi_cache_age_seconds", "Age of what the cache shows", labels=["cell"])
    waits = GaugeMetricFamily("biyi_outbox_age_seconds", "Age while rows are untold", labels=["cell"])
    state = GaugeMetricFamily("biyi_cache_state", "1 for the state", labels=["cell", "state"])
    for cell, projector in projectors.items():
        shown = show_status(projector, now_seconds)
        for each in State:
            state.add_metric([cell, str(each)], float(projector.state is each))
        if shown["age_ms"] is not None:
            age.add_metric([cell], shown["age_ms"] / 1000)
            waiting = projector.state is not State.WARM or (shown["applied"] or 0) < (shown["total"] or 0)
            waits.add_metric([cell], shown["age_ms"] / 1000 if waiting else 0.0)
    yield from (age, waits, state)


async def serve(settings: SiteSettings) -> None:
    """Project every cell until SIGTERM or SIGINT."""
    if settings.valkey_passfile is None or settings.projector_port is None:
        raise SettingsError("valkey_passfile and projector_port: a projector needs both")
    at = settings.valkey_address("projector")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with (
        open_identity(settings.tls_dir, "projector") as identity,
        open_valkey(at, settings.valkey_passfile, VALKEY_SECONDS) as valkey,
        health_served(settings, identity, alive_routes()),
    ):
        projectors = make_projectors(settings, valkey)
        application = web.Application(middlewares=admit_only(identity, asking={OPERATOR}))
        application.add_routes(routes(projectors, valkey))
        application.add_routes(metrics_routes(lambda: cache_figures(projectors, time.time())))
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        address = (settings.listen_host, settings.projector_port)
        await web.TCPSite(runner, *address, ssl_context=identity.serving()).start()
        running = [asyncio.create_task(projector.run()) for projector in projectors.values()]
        if isinstance(at, TlsAddress):
            running.append(asyncio.create_task(keep_certificates_read(valkey)))
        stopping = asyncio.create_task(stop.wait())
        # A projector that ends has met what it was not made for: the process ends with it.
        await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*running, stopping):
            task.cancel()
        ended = await asyncio.gather(*running, return_exceptions=True)
        with contextlib.suppress(asyncio.CancelledError):
            await runner.cleanup()
        for each in ended:
            if isinstance(each, BaseException) and not isinstance(each, asyncio.CancelledError):
                raise each


@click.command()
@click.option("--settings", "settings_file", type=click.Path(path_type=Path), required=True)
def main(settings_file: Path) -> None:
    """Keep the warm cache of one site until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run(serve(read_site_settings(settings_file)))
    except SettingsError as error:
        click.echo(f"biyi projector: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
