"""Rate, errors and duration of each route, without a customer's id in any label."""

import contextlib
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from core_app.api.metrics import UNROUTED, ApiMetrics, Measured


@pytest.fixture
def metrics() -> ApiMetrics:
    return ApiMetrics()


@pytest.fixture
def app(metrics: ApiMetrics) -> FastAPI:
    app, v1 = FastAPI(), APIRouter(prefix="/v1")

    @v1.get("/loans/{loan_id}")
    async def loan(loan_id: str) -> str:
        if loan_id == "broken":
            raise RuntimeError(loan_id)
        return loan_id

    app.include_router(v1)
    app.add_route("/metrics", metrics.show)
    app.add_middleware(Measured, metrics=metrics)
    return app


async def ask(app: FastAPI, method: str, path: str) -> str:
    """One request through the whole ASGI stack; the body of the answer."""
    sent: list[Any] = []
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [], "http_version": "1.1", "scheme": "http", "server": ("here", 80), "client": ("me", 1),
        "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    with contextlib.suppress(RuntimeError):  # it reaches the server, which logs it
        await app(scope, receive, send)
    return b"".join(message.get("body", b"") for message in sent).decode()


async def test_requests_are_counted_by_route_not_by_path(app: FastAPI, metrics: ApiMetrics) -> None:
    for loan_id in ("L1", "L2", "broken"):
        await ask(app, "GET", f"/v1/loans/{loan_id}")
    await ask(app, "POST", "/v1/loans/L1")
    await ask(app, "BREW", "/nowhere")
    read = metrics.registry.get_sample_value
    name, route = "biyi_api_requests_total", "/v1/loans/{loan_id}"
    assert read(name, {"method": "GET", "route": route, "status": "200"}) == 2
    assert read(name, {"method": "GET", "route": route, "status": "500"}) == 1
    assert read(name, {"method": "other", "route": UNROUTED, "status": "404"}) == 1
    assert read("biyi_api_request_seconds_count", {"route": route}) >= 3
    text = await ask(app, "GET", "/metrics")
    assert "L1" not in text
    assert "nowhere" not in text
    assert 'biyi_api_request_seconds_bucket{le="0.2"' in text
