"""Pays out what was drawn, collects what is due, tells borrowers: `python -m core_app.payer --settings
<site.json>`.

One runs at each site, on the orders of all cells; it also tells whether their day-end is late, and for how
long slots have been moving. Its channels and limits stand in `channels.json` beside the site's settings; it
answers on `status_port`: `GET /v1/status`.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path

import aiohttp
import click
from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from compliance.protection.errors import ProtectionError
from compliance.protection.vault import open_vault
from core_app.business_calendar import business_date_at
from core_app.core import LendingCore
from core_app.day_end.watch import DayWatch
from core_app.errors import DocumentInvalid
from core_app.funding.debits import DEBITS
from core_app.funding.fake_bank import DEBITS as DEBITS_PATH
from core_app.funding.fake_bank import FakeBankChannel
from core_app.funding.payer import Payer
from core_app.funding.settings import FILE, PayerSettings, as_collector, read_payer_settings
from core_app.moving.watch import move_figures
from core_app.notices.fake_gateway import FakeMessageGateway
from core_app.notices.gateway import MessageGateway
from core_app.notices.send import Sender
from core_app.products.catalogue import read_catalogue
from core_app.router import Router
from core_app.router_line import PAYER_SESSIONS, SENDER_SESSIONS
from core_app.servicing.collector import Collector
from core_app.servicing.complaint_watch import ComplaintWatch
from core_app.servicing.fake_opinions import FakeOpinionFeed
from core_app.servicing.fake_voice import FakeVoiceRobot
from core_app.servicing.opinion_check import OpinionCheck
from core_app.servicing.opinions import OpinionFeed
from core_app.servicing.voice import VoiceRobot
from replication.gate import admit_only
from replication.health import alive_routes, health_served
from replication.loops import run
from replication.metrics import metrics_routes
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import OPERATOR, Identity, open_identity

_DEADLINE_S = 10.0
"""Patience with a cell. Source: the API's own."""


async def serve(
    site: SiteSettings,
    settings: PayerSettings,
    gateway: MessageGateway | None = None,
    robot: VoiceRobot | None = None,
    opinions: OpinionFeed | None = None,
) -> None:
    """Pay until SIGTERM or SIGINT; what is under way then is asked for by whoever looks next."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with (
        open_identity(site.tls_dir, "payer") as identity,
        Router.start(site, PAYER_SESSIONS, tls=identity.to("etcd")) as router,
        Router.start(site, SENDER_SESSIONS, tls=identity.to("etcd")) as senders_router,
        aiohttp.ClientSession() as session,
    ):
        core = _core_of(site, router)
        channels = {
            c.name: FakeBankChannel(c.name, c.url, session, settings.answer_s, identity.to_partner(c.name))
            for c in settings.channels
        }
        collecting = {
            c.name: FakeBankChannel(
                c.name, c.url, session, settings.answer_s, identity.to_partner(c.name), DEBITS_PATH
            )
            for c in settings.debit_channels
        }
        payers = {"payout": Payer(core, settings, channels, time.monotonic)}
        if collecting:
            payers["debit"] = Payer(core, as_collector(settings), collecting, time.monotonic, DEBITS)
        days = DayWatch(core, _read_now)
        figures = partial(_all_figures, payers, days, router)
        async with (
            _status_served(payers, figures, (site.listen_host, settings.status_port), identity),
            health_served(site, identity, alive_routes()),
        ):
            tasks = [asyncio.create_task(payer.run()) for payer in payers.values()]
            tasks.append(asyncio.create_task(days.run()))
            own = _core_of(site, senders_router)
            watch = ComplaintWatch(own, opinions)
            tasks.append(asyncio.create_task(watch.run()))
            if opinions is not None:
                tasks.append(asyncio.create_task(OpinionCheck(own, watch).run()))
            if gateway is not None:
                tasks.append(asyncio.create_task(Sender(own, gateway).run()))
                if robot is not None:
                    tasks.append(asyncio.create_task(Collector(own, gateway, robot).run()))
            stopping = asyncio.create_task(stop.wait())
            # A payer that ends has met what it was not made for: the process ends with it.
            await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (*tasks, stopping):
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task


def _core_of(site: SiteSettings, router: Router) -> LendingCore:
    return LendingCore(
        router=router,
        vault=open_vault(site.key_file),
        catalogue=read_catalogue(),
        site=str(site.site),
        deadline_seconds=_DEADLINE_S,
        new_uuid=uuid.uuid4,
        read_today=_read_today,
    )


def _read_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - this process's one clock of dates


def _read_today() -> dt.date:
    return business_date_at(_read_now())


def payer_figures(payers: Mapping[str, Payer]) -> Iterator[Metric]:
    """Return the figures of the payers, `payout` and `debit`: channels in use, and what became of orders."""
    for kind, payer in payers.items():
        channels = GaugeMetricFamily(
            f"biyi_{kind}_channel_open", "1 while it is left alone", labels=["channel"]
        )
        for name, breaker in payer.breakers.items():
            channels.add_metric([name], float(not breaker.is_closed))
        orders = CounterMetricFamily(f"biyi_{kind}_orders", "Orders written, by new state", labels=["state"])
        for state, count in payer.written.items():
            orders.add_metric([str(state)], count)
        yield from (channels, orders)


def _all_figures(payers: Mapping[str, Payer], days: DayWatch, router: Router) -> Iterator[Metric]:
    return chain(payer_figures(payers), days.figures(), move_figures(router.directory, _read_now()))


@contextlib.asynccontextmanager
async def _status_served(
    payers: Mapping[str, Payer],
    figures: Callable[[], Iterator[Metric]],
    address: tuple[str, int],
    identity: Identity,
) -> AsyncIterator[None]:
    async def get_status(_: web.Request) -> web.Response:
        plain = {
            name: "closed" if one.is_closed else "open" for name, one in payers["payout"].breakers.items()
        }
        return web.json_response({"channels": plain})

    application = web.Application(middlewares=admit_only(identity, asking={OPERATOR}))
    application.router.add_get("/v1/status", get_status)
    application.add_routes(metrics_routes(figures))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, *address, ssl_context=identity.serving()).start()
    yield
    await runner.cleanup()


@click.command()
@click.option("--settings", "settings_file", type=click.Path(path_type=Path), required=True)
@click.option(
    "--messages",
    type=click.Choice(["none", "fake"]),
    default="none",
    show_default=True,
    help="Messages and robot's calls: nobody is connected yet, they wait; `fake` writes them to files.",
)
@click.option(
    "--opinions",
    type=click.Choice(["none", "fake"]),
    default="none",
    show_default=True,
    help="Public posts about us: nobody is connected yet; `fake` reads posts.jsonl beside the settings.",
)
def main(settings_file: Path, messages: str, opinions: str) -> None:
    """Pay out what was drawn, collect what is due, tell borrowers, for one site, until SIGTERM."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        site = read_site_settings(settings_file)
        settings = read_payer_settings(settings_file.with_name(FILE))
        feed = FakeOpinionFeed(file=settings_file.with_name("posts.jsonl")) if opinions == "fake" else None
        if messages == "fake":
            gateway = FakeMessageGateway(settings_file.with_name("messages.jsonl"))
            robot = FakeVoiceRobot(settings_file.with_name("calls.jsonl"))
            run(serve(site, settings, gateway, robot, feed))
        else:
            run(serve(site, settings, opinions=feed))
    except (SettingsError, ProtectionError, DocumentInvalid) as error:
        click.echo(f"biyi payer: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
