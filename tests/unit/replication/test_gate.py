import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from fastapi import FastAPI

from core_app.api.metrics import ApiMetrics
from core_app.api.server import make_config
from core_app.settings import ApiSettings
from replication.agent import AGENTS_ASK
from replication.gate import METRICS, admit_only
from replication.health import alive_routes, health_served
from replication.tls import OPERATOR, PROMETHEUS, Identity, public_tls
from runbooks.stand.certificates import tls_dir
from tests.unit.replication.test_agent_metrics import SETTINGS
from tests.unit.replication.test_tls import made as made


@asynccontextmanager
async def face(home: Path) -> AsyncIterator[str]:
    """An HTTP face that agents and the operator may ask, and the operator may change."""
    identity = Identity(tls_dir(home, "cloud"), "agent")

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"outcome": "done"})

    application = web.Application(middlewares=admit_only(identity, asking={"agent", OPERATOR}))
    application.router.add_route("*", "/v1/thing", answer)
    application.router.add_route("*", METRICS, answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=identity.serving())
    await site.start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
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
        (PROMETHEUS, "GET", 403),
    ],
)
async def test_some_may_ask_and_the_operator_alone_may_change(
    made: Path, caller: str, method: str, status: int
):
    tls = Identity(tls_dir(made, "idc"), caller).to("agent")
    async with (
        face(made) as url,
        aiohttp.ClientSession() as http,
        http.request(method, url + "/v1/thing", ssl=tls) as answer,
    ):
        assert answer.status == status
        said = await answer.json()
    assert ("why" in said) == (status == 403)


@pytest.mark.parametrize(
    ("caller", "method", "status"),
    [(PROMETHEUS, "GET", 200), (OPERATOR, "GET", 200), (PROMETHEUS, "POST", 403), ("api", "GET", 403)],
)
async def test_figures_are_for_prometheus_and_for_who_may_ask(
    made: Path, caller: str, method: str, status: int
):
    tls = Identity(tls_dir(made, "idc"), caller).to("agent")
    async with (
        face(made) as url,
        aiohttp.ClientSession() as http,
        http.request(method, url + METRICS, ssl=tls) as answer,
    ):
        assert answer.status == status


async def test_an_agent_asks_what_agents_need_and_nothing_else(made: Path):
    """The same certificate, another path: a stolen agent's key tells neither figures nor anything new."""
    identity = Identity(tls_dir(made, "cloud"), "agent")

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({})

    gate = admit_only(identity, asking={"agent", OPERATOR}, only={"agent": AGENTS_ASK})
    application = web.Application(middlewares=gate)
    paths = ("/v1/probe", "/v1/status", "/v1/other", METRICS)
    for path in paths:
        application.router.add_route("*", path, answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=identity.serving()).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    found = {}
    async with aiohttp.ClientSession() as http:
        for caller in ("agent", OPERATOR):
            tls = Identity(tls_dir(made, "idc"), caller).to("agent")
            for path in paths:
                async with http.get(url + path, ssl=tls) as answered:
                    found[caller, path] = answered.status
    await runner.cleanup()
    assert found == {("agent", p): 200 if p in AGENTS_ASK else 403 for p in paths} | {
        (OPERATOR, p): 200 for p in paths
    }


@pytest.mark.parametrize(
    ("caller", "status"),
    [(None, 403), (PROMETHEUS, 200), (OPERATOR, 200), ("agent", 403), ("api", 403), ("payer", 403)],
)
async def test_the_public_entrance_shows_its_figures_to_prometheus_only(
    made: Path, caller: str | None, status: int
):
    """Customers come without a certificate and are served; who has one is told apart by it."""
    app = FastAPI()
    app.add_route("/metrics", ApiMetrics().show)
    app.add_api_route("/healthz", lambda: {"status": "up"})
    serving = Identity(tls_dir(made, "idc"), "api").serving_the_public()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    api = uvicorn.Server(make_config(app, ApiSettings(), ("127.0.0.1", 0), log_config=None, tls=serving))
    task = asyncio.create_task(api.serve(sockets=[listener]))
    tls = (
        public_tls(tls_dir(made, "idc"))
        if caller is None
        else Identity(tls_dir(made, "idc"), caller).to("api")
    )
    async with aiohttp.ClientSession() as http:
        async with http.get(url + "/healthz", ssl=tls) as answer:
            assert answer.status == 200
        async with http.get(url + METRICS, ssl=tls) as answer:
            assert answer.status == status
            assert ("biyi_api_requests" in await answer.text()) == (status == 200)
    api.should_exit = True
    await task


async def test_health_is_told_without_a_certificate_and_nothing_else_is(made: Path):
    identity = Identity(tls_dir(made, "idc"), "notary")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = replace(SETTINGS, health_port=port)
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    async with aiohttp.ClientSession() as http, health_served(settings, identity, alive_routes()):
        for method, path, status in (
            ("GET", "/livez", 200), ("GET", "/readyz", 200), ("POST", "/livez", 405),
            ("GET", METRICS, 404), ("GET", "/v1/status", 404),
        ):  # fmt: skip
            url = f"https://127.0.0.1:{port}{path}"
            async with http.request(method, url, ssl=stranger) as answer:
                assert (path, answer.status) == (path, status)
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"http://127.0.0.1:{port}/livez")


def test_a_plain_face_has_no_gate():
    assert admit_only(Identity(None, "agent"), asking=set()) == ()
