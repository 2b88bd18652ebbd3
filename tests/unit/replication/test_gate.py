from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from replication.gate import admit_only
from replication.tls import OPERATOR, Identity
from runbooks.stand.certificates import tls_dir
from tests.unit.replication.test_tls import made as made


@asynccontextmanager
async def face(home: Path) -> AsyncIterator[str]:
    """An HTTP face that agents and the operator may ask, and the operator may change."""
    identity = Identity(tls_dir(home, "cloud"), "agent")

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"outcome": "done"})

    application = web.Application(middlewares=admit_only(identity, asking={"agent", OPERATOR}))
    application.router.add_route("*", "/v1/thing", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=identity.serving())
    await site.start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}/v1/thing"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("caller", "method", "status"),
    [
        ("agent", "GET", 200),
        (OPERATOR, "GET", 200),
        (OPERATOR, "POST", 200),
        ("agent", "POST", 403),
        ("agent", "DELETE", 403),
        ("api", "GET", 403),
        ("etcd", "PUT", 403),
    ],
)
async def test_some_may_ask_and_the_operator_alone_may_change(
    made: Path, caller: str, method: str, status: int
):
    tls = Identity(tls_dir(made, "idc"), caller).to("agent")
    async with (
        face(made) as url,
        aiohttp.ClientSession() as http,
        http.request(method, url, ssl=tls) as answer,
    ):
        assert answer.status == status
        said = await answer.json()
    assert ("why" in said) == (status == 403)


def test_a_plain_face_has_no_gate():
    assert admit_only(Identity(None, "agent"), asking=set()) == ()
