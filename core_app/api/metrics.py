"""Rate, errors and duration of every route, for Prometheus: a pure ASGI layer, and `GET /metrics`.

Labels are routes as they are declared, never paths: a path holds a customer's or a loan's id.
"""

import time

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core_app.api.problem import make_answer
from replication.tls import OPERATOR, PROMETHEUS, kind_of

BUCKETS_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Source: our choice, around the promises: a decision in 0.2 s, a takeover in 5 s, an answer in 10 s."""
HOLDER = "biyi.holder"
"""Where a scope says whose certificate the connection showed, "" when none (`server.py`)."""
ASKING = frozenset({PROMETHEUS, OPERATOR})
UNROUTED = "none"
"""Route of what no route took: 404s, and what a limit refused before routing."""


class ApiMetrics:
    """The figures of one API process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        labels = ["method", "route", "status"]
        self.requests = Counter("biyi_api_requests", "Requests answered", labels, registry=self.registry)
        self.seconds = Histogram(
            "biyi_api_request_seconds",
            "From the first byte in to the last byte out",
            ["route"],
            buckets=BUCKETS_SECONDS,
            registry=self.registry,
        )

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request; `scope` is as routing left it, `seconds` of monotonic time."""
        route = getattr(scope.get("route"), "path", UNROUTED)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    async def show(self, request: Request) -> Response:
        """Answer `GET /metrics`: to Prometheus and the operator, by their certificates; to nobody else.

        Routes, rates and failures of a lender are nobody's outside. Plain HTTP is for tests and benches.
        """
        if request.scope["scheme"] == "https" and kind_of(request.scope.get(HOLDER, "")) not in ASKING:
            needed = "Needs a certificate of " + " or ".join(sorted(ASKING)) + "."
            return make_answer(403, "Not allowed", "forbidden", needed)
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


class Measured:
    """Times each request, whatever becomes of it; a connection cut before an answer counts as status 0."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = 500  # the server answers so outside of this layer
            raise
        finally:
            self._metrics.note(scope, status, time.perf_counter() - begun)
