"""How the application is served over HTTP: limits of connections, and what of a request is believed."""

import asyncio
import ssl
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import LOGGING_CONFIG
from uvicorn.protocols.http.h11_impl import H11Protocol

from core_app.api.metrics import HOLDER
from core_app.settings import ApiSettings
from replication.tls import holder_of


class _Telling:
    """Tells the application whose certificate the connection showed."""

    def __init__(self, app: ASGIApp, holder: str) -> None:
        self._app = app
        self._holder = holder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[HOLDER] = self._holder
        await self._app(scope, receive, send)


class HolderProtocol(H11Protocol):
    """uvicorn's own, but for the caller's certificate: its ASGI scope has no place for one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to serve a connection; its handshake is over."""
        super().connection_made(transport)
        self.app = _Telling(self.app, holder_of(transport.get_extra_info("peercert")))


def make_config(
    app: FastAPI,
    settings: ApiSettings,
    address: tuple[str, int],
    log_config: dict[str, Any] | None = LOGGING_CONFIG,
    *,
    tls: ssl.SSLContext | None = None,
) -> uvicorn.Config:
    """Return the server's configuration; `address` is where it listens, host and port.

    Without `tls` it speaks plain HTTP, for tests.

    X-Forwarded-For is not believed: no gateway is known yet, and any local client could write the address
    by which requests are limited and looks are recorded.
    """
    return uvicorn.Config(
        app,
        host=address[0],
        port=address[1],
        http=HolderProtocol,
        access_log=False,
        log_level="warning",
        log_config=log_config,
        ssl_context_factory=(lambda *_: tls) if tls is not None else None,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.grace_seconds,
    )
