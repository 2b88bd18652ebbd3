"""How the application is served over HTTP: limits of connections, and what of a request is believed."""

import ssl
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG

from core_app.settings import ApiSettings


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
