"""The API process of one site: `python -m core_app.api --settings <site.json>`."""

import contextlib
import datetime as dt
import logging
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import click
import uvicorn

from compliance.protection.errors import ProtectionError
from compliance.protection.vault import open_vault
from core_app.api.app import make_app
from core_app.api.rate_limit import Buckets
from core_app.api.server import make_config
from core_app.business_calendar import business_date_at
from core_app.core import LendingCore
from core_app.customers.document_reader import DocumentReader
from core_app.customers.fake_document_reader import FakeDocumentReader
from core_app.customers.fake_identity_vendor import FakeIdentityVendor
from core_app.customers.identity_vendor import IdentityVendor
from core_app.decisions.bureau import Bureau
from core_app.decisions.fake_bureau import FakeBureau
from core_app.errors import DocumentInvalid
from core_app.products.catalogue import read_catalogue
from core_app.read_models.read import Cache
from core_app.router import Router
from core_app.router_line import STAFF_SESSIONS
from core_app.settings import ApiSettings
from core_app.staff.portal import make_portal
from replication.loops import run
from replication.projection.valkey import Valkey, open_valkey
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import open_identity


@click.command()
@click.option("--settings", "settings_file", type=click.Path(path_type=Path), required=True)
@click.option(
    "--bureau",
    type=click.Choice(["none", "fake"]),
    default="none",
    show_default=True,
    help="Credit bureau: none is connected yet; `fake` answers well of everybody, for the stand.",
)
@click.option(
    "--identity",
    type=click.Choice(["none", "fake"]),
    default="none",
    show_default=True,
    help="Identity vendors: none is connected yet, so nobody gets a limit; `fake` passes everybody.",
)
def main(settings_file: Path, bureau: str, identity: str) -> None:
    """Serve the lending API of one site until SIGTERM or Ctrl-C, then finish what is running."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        connected = FakeBureau() if bureau == "fake" else None
        reader = FakeDocumentReader() if identity == "fake" else None
        vendors = (FakeIdentityVendor("fake_a"), FakeIdentityVendor("fake_b")) if identity == "fake" else ()
        run(_serve(read_site_settings(settings_file), ApiSettings(), Outside(connected, vendors, reader)))
    except (SettingsError, ProtectionError, DocumentInvalid) as error:
        click.echo(f"biyi api: {error}", err=True)
        sys.exit(2)


@dataclass(frozen=True, slots=True)
class Outside:
    """Whom the API asks outside our machines."""

    bureau: Bureau | None
    vendors: tuple[IdentityVendor, ...]
    reader: DocumentReader | None


def _read_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - this process's one clock reader


def _read_today() -> dt.date:
    return business_date_at(_read_now())


@contextlib.asynccontextmanager
async def _open_valkey(site: SiteSettings, patience_seconds: float) -> AsyncIterator[Valkey | None]:
    """Yield a client of the site's Valkey, or None where there is none; it need not be up."""
    if site.valkey_passfile is None:
        yield None
        return
    async with open_valkey(site.valkey_address("api"), site.valkey_passfile, patience_seconds) as valkey:
        yield valkey


async def _serve(site: SiteSettings, settings: ApiSettings, outside: Outside) -> None:
    vault = open_vault(site.key_file)
    catalogue = read_catalogue()
    # uvicorn raises the signal again once it has served; by then the router should close in peace.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    async with (
        open_identity(site.tls_dir, "api") as identity,
        Router.start(site, tls=identity.to("etcd")) as router,
        Router.start(site, STAFF_SESSIONS, tls=identity.to("etcd")) as staff_router,
        _open_valkey(site, settings.cache_seconds) as warm,
        _open_valkey(site, settings.rate_seconds) as limits,
    ):
        cache = Cache(warm, _read_now) if warm else None
        core = LendingCore(
            router=router,
            vault=vault,
            catalogue=catalogue,
            site=str(site.site),
            deadline_seconds=settings.deadline_seconds,
            new_uuid=uuid.uuid4,
            read_today=_read_today,
            bureau=outside.bureau,
            vendors=outside.vendors,
            reader=outside.reader,
        )
        buckets = Buckets(limits, settings, vault.request_digest, time.monotonic) if limits else None
        app = make_app(
            *(core, settings, cache, buckets),
            portal=make_portal(core, staff_router),
            is_served=lambda cell: router.epoch(cell) is not None,
        )
        address = (site.listen_host, site.api_port)
        config = make_config(app, settings, address, tls=identity.serving_the_public())
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    main()
