"""A bare ASGI application on the API's server, TLS and loop: `python -m bench._hello SETTINGS PORT`."""

import sys
from pathlib import Path
from typing import Any

import uvicorn

from core_app.api.server import make_config
from core_app.settings import ApiSettings
from replication.loops import run
from replication.settings import read_site_settings
from replication.tls import open_identity

_BODY = b'{"hello":"world"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


async def application(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer everything with the same few bytes."""
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


async def _serve(settings: Path, port: int) -> None:
    site = read_site_settings(settings)
    async with open_identity(site.tls_dir, "api") as identity:
        address, tls = (site.listen_host, port), identity.serving_the_public()
        config = make_config(application, ApiSettings(), address, tls=tls)  # type: ignore[arg-type]
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
