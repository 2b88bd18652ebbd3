"""The console of one site: `python -m runbooks.console --settings FILE --evidence FOLDER --home STAND`."""

import datetime as dt
import logging
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import click
import uvicorn

from replication.loops import run
from replication.model import Site
from replication.settings import SettingsError, SiteSettings, read_site_settings
from replication.tls import Identity, open_identity
from runbooks.console.app import make_app
from runbooks.console.entrance import Entrance, asking
from runbooks.console.frame import Console
from runbooks.console.jobs import Jobs
from runbooks.console.pages import Pages
from runbooks.console.readings import Readings, running_commands
from runbooks.console.watch import PATIENCE_SECONDS, Watch

_GRACE_SECONDS = 1
"""Patience with answers under way at the end. Source: our choice; live pages never end by themselves."""
_STREAMS = 200
"""Connections at once. Source: our choice, far above the operators of a platform."""


@click.command()
@click.option("--settings", "settings_file", type=click.Path(path_type=Path), required=True)
@click.option("--evidence", type=click.Path(path_type=Path), required=True, help="Where drills leave theirs.")
@click.option("--home", type=click.Path(path_type=Path), required=True, help="The stand that it is of.")
def main(settings_file: Path, evidence: Path, home: Path) -> None:
    """Serve the web console of one site until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = read_site_settings(settings_file)
        if settings.console_port is None:
            raise SettingsError(f"{settings_file}: console_port: needs a port for a console")
        run(_serve(settings, settings.console_port, evidence, home))
    except SettingsError as error:
        click.echo(f"biyi console: {error}", err=True)
        sys.exit(2)


def _read_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - this process's one clock reader


async def _serve(settings: SiteSettings, port: int, evidence: Path, home: Path) -> None:
    # uvicorn raises the signal again once it has served; by then all should close in peace.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    async with (
        open_identity(settings.tls_dir, "console") as identity,
        aiohttp.ClientSession(trust_env=False) as session,
    ):
        watch = Watch(settings, lambda site: _ask_agent(settings, session, identity, site), _read_now)
        scheme = "http" if settings.tls_dir is None else "https"
        own_api = f"{scheme}://127.0.0.1:{settings.api_port}"
        ask = asking(session, own_api, identity.to("api"), f"console-{settings.site}")
        entrance = Entrance(ask, time.monotonic)
        site = str(settings.site)
        readings = Readings(running_commands(home, site), _read_now)
        jobs = Jobs(home, site, _read_now, lambda: secrets.token_hex(4))
        console = Console(site, Pages(site), watch, entrance, readings, jobs, evidence, home, _read_now)
        tls = identity.serving_browsers()
        config = uvicorn.Config(
            make_app(console),
            host=settings.listen_host,
            port=port,
            access_log=False,
            log_level="warning",
            ssl_context_factory=(lambda *_: tls) if tls is not None else None,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_STREAMS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        async with watch.running(), readings.running():
            await uvicorn.Server(config).serve()


async def _ask_agent(
    settings: SiteSettings, session: aiohttp.ClientSession, identity: Identity, site: Site
) -> Any:
    """Return a site's agent's status; None when it does not answer in time, or nothing that is one."""
    url = f"{settings.agent_urls[site]}/v1/status"
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    try:
        async with session.get(url, timeout=timeout, ssl=identity.to("agent")) as answer:
            return await answer.json() if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


if __name__ == "__main__":
    main()
