"""Where a prober that has no certificate asks: Kubernetes' kubelet brings none.

A port of its own, so that the handshake at every other port goes on refusing whoever has none. Safe to tell
anybody who reaches it: two GET routes that change nothing and hold no customer's or money's figure, only that
the process lives and, of an agent, its own copies' names and states. TLS none the less.
"""

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from replication.settings import SiteSettings
from replication.tls import Identity


def alive_routes() -> web.RouteTableDef:
    """Return `/livez` and `/readyz` of a process that lives while its loop answers."""
    table = web.RouteTableDef()

    @table.get("/livez")
    @table.get("/readyz")
    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"lives": True})

    return table


@contextlib.asynccontextmanager
async def health_served(
    settings: SiteSettings, identity: Identity, routes: web.RouteTableDef
) -> AsyncIterator[None]:
    """Serve `routes` at `health_port` while the block runs; nothing where there is none."""
    if settings.health_port is None:
        yield
        return
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    tls = identity.serving_the_public()
    await web.TCPSite(runner, settings.listen_host, settings.health_port, ssl_context=tls).start()
    try:
        yield
    finally:
        await runner.cleanup()
