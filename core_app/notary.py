"""Keeps the audit trail of one site: `python -m core_app.notary --settings <site.json>`.

Seals what cells wrote and signs checkpoints with the site's key, as biyi_audit. Answers on `notary_port`:
`GET /v1/status`.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import click
from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from compliance.audit.errors import AuditError
from compliance.audit.signing import read_signer
from core_app.audit.memory import FILE
from core_app.audit.notary import Clerk, Notary
from core_app.router import Router
from core_app.router_line import BACKGROUND_SECONDS, Sessions
from replication.gate import admit_only
from replication.health import alive_routes, health_served
from replication.loops import run
from replication.metrics import metrics_routes
from replication.postgres.copy import AUDIT
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import OPERATOR, Identity, open_identity

SESSIONS = Sessions(1, 2, AUDIT, "biyi-notary", after_seconds=BACKGROUND_SECONDS, of_customers=False)
"""Two with a cell under load: one seals while the other signs."""


async def serve(site: SiteSettings) -> None:
    """Seal and sign until SIGTERM or SIGINT."""
    if site.audit_key_file is None or site.notary_port is None:
        raise SettingsError("audit_key_file and notary_port: a notary needs both")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clerk = Clerk(site.site, site.cells, read_signer(site.audit_key_file), site.home_dir / FILE, _read_now)
    async with (
        open_identity(site.tls_dir, "notary") as identity,
        Router.start(site, SESSIONS, tls=identity.to("etcd")) as router,
    ):
        notary = Notary(router, clerk)
        async with (
            _status_served(notary, (site.listen_host, site.notary_port), identity),
            health_served(site, identity, alive_routes()),
        ):
            running = asyncio.create_task(notary.run())
            stopping = asyncio.create_task(stop.wait())
            # A notary that ends has met what it was not made for: the process ends with it.
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (running, stopping):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


def _read_now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")  # noqa: TID251 - this process's clock


def show_status(notary: Notary) -> dict[str, Any]:
    """Return what the notary did since it started."""
    newest = notary.newest.statement if notary.newest else None
    return {
        "site": str(notary.clerk.site),
        "key": notary.clerk.signer.key_id,
        "sealed": notary.sealed,
        "checkpoint": newest.number if newest else None,
        "checkpoint_at": newest.at if newest else None,
        "lost": {name: [mark.number, mark.hash] for name, mark in notary.lost.items()},
    }


def notary_figures(notary: Notary) -> Iterator[Metric]:
    """Return the figures of the notary, for Prometheus."""
    yield CounterMetricFamily("biyi_audit_sealed", "Entries sealed since the start", value=notary.sealed)
    yield GaugeMetricFamily("biyi_audit_lost", "Cells whose trail is cut", value=len(notary.lost))
    number = notary.newest.statement.number if notary.newest else 0
    yield GaugeMetricFamily("biyi_audit_checkpoint", "Number of the newest checkpoint", value=number)


@contextlib.asynccontextmanager
async def _status_served(notary: Notary, address: tuple[str, int], identity: Identity) -> AsyncIterator[None]:
    async def get_status(_: web.Request) -> web.Response:
        return web.json_response(show_status(notary))

    application = web.Application(middlewares=admit_only(identity, asking={OPERATOR}))
    application.router.add_get("/v1/status", get_status)
    application.add_routes(metrics_routes(lambda: notary_figures(notary)))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, *address, ssl_context=identity.serving()).start()
    yield
    await runner.cleanup()


@click.command()
@click.option("--settings", "settings_file", type=click.Path(path_type=Path), required=True)
def main(settings_file: Path) -> None:
    """Keep the audit trail of one site until SIGTERM."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run(serve(read_site_settings(settings_file)))
    except (SettingsError, AuditError) as error:
        click.echo(f"biyi notary: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
