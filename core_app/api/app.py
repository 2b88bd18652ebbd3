"""The application: routes, limits and one answer shape for everything that can go wrong."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from compliance.access.errors import AccessRefused, Why
from compliance.protection.errors import SubjectShredded
from core_app.api.access_routes import router as access_v1
from core_app.api.body_limit import BodyLimit
from core_app.api.collection_routes import router as collection_v1
from core_app.api.complaint_routes import router as complaints_v1
from core_app.api.customer_routes import router as customer_v1
from core_app.api.guard import check_routes, walk_routes
from core_app.api.marketing_routes import router as marketing_v1
from core_app.api.metrics import ApiMetrics, Measured
from core_app.api.openapi import describe
from core_app.api.partner_routes import router as partners_v1
from core_app.api.problem import make_answer, make_problem, read_validation_errors
from core_app.api.rate_limit import Buckets, RateLimit
from core_app.api.review_routes import router as reviews_v1
from core_app.api.risk_routes import router as risk_v1
from core_app.api.routes import get_loan_summary
from core_app.api.routes import router as v1
from core_app.api.shedding import RETRY_SECONDS, Overloaded, Turns
from core_app.api.staff_routes import router as staff_v1
from core_app.api.summary_shortcut import SummaryShortcut
from core_app.core import Connection, LendingCore
from core_app.errors import FieldProblem, Kind, Refused
from core_app.loans.draw import post_draws
from core_app.loans.repay import post_repayments
from core_app.loans.together import GroupQueue
from core_app.read_models.read import Cache
from core_app.router import CellUnavailable
from core_app.settings import ApiSettings
from core_app.staff.portal import Portal

_ACCESS_STATUS = {
    Why.UNAUTHENTICATED: (401, "Who calls is not known"),
    Why.FORBIDDEN: (403, "Not allowed"),
    Why.NOT_FOUND: (404, "Not found"),
    Why.CONFLICT: (409, "The request conflicts with what is recorded"),
    Why.INVALID: (422, "A field of the request is not acceptable"),
    Why.BUSY: (429, "Too many requests"),
}


_ROUTERS = (
    v1,
    customer_v1,
    risk_v1,
    access_v1,
    staff_v1,
    reviews_v1,
    collection_v1,
    complaints_v1,
    partners_v1,
    marketing_v1,
)


def make_app(
    core: LendingCore,
    settings: ApiSettings,
    cache: Cache | None = None,
    buckets: Buckets | None = None,
    *,
    portal: Portal | None = None,
    is_served: Callable[[str], bool] = lambda _: True,
) -> FastAPI:
    """Return the ASGI application of one site around a started core, with the site's cache if any.

    Without buckets nothing is rate-limited; without a portal no staff can log in. Undeclared when a route
    does not say who may call it. `is_served` says whether a cell takes commands now.
    """
    app = FastAPI(
        title="Biyi lending core",
        version="1",
        summary="Lend and collect, from either site; amounts in fen, errors as problem+json.",
        openapi_url=None,  # FastAPI's own would be made anew, without what `describe` adds
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.core = core
    app.state.repayments = GroupQueue(core, post_repayments)
    app.state.draws = GroupQueue(core, post_draws)
    app.state.turns = Turns(settings.decisions_at_once, settings.decisions_waiting, is_served)
    app.state.cache = cache
    app.state.settings = settings
    app.state.buckets = buckets
    app.state.portal = portal
    for router in _ROUTERS:
        app.include_router(router)
    app.add_api_route("/healthz", _healthz, include_in_schema=False)
    app.add_api_route("/readyz", _readyz, include_in_schema=False)
    metrics = ApiMetrics()
    app.add_route("/metrics", metrics.show, include_in_schema=False)
    if cache is not None:
        app.add_middleware(SummaryShortcut, core=core, cache=cache, route=_find_route(app, get_loan_summary))
    app.add_middleware(BodyLimit, limit_bytes=settings.body_limit_bytes, limit_seconds=settings.body_seconds)
    if buckets is not None:
        app.add_middleware(RateLimit, buckets=buckets)  # outside: what is refused is not even read
    app.add_middleware(Measured, metrics=metrics)  # outermost: refusals count too
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(SubjectShredded, _on_shredded)
    app.add_exception_handler(AccessRefused, _on_access_refused)
    app.add_exception_handler(CellUnavailable, _on_cell_unavailable)
    app.add_exception_handler(Overloaded, _on_overloaded)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_defect)
    app.state.document = describe(app)
    app.add_api_route("/openapi.json", _document, include_in_schema=False)
    check_routes(app)
    return app


def _find_route(app: FastAPI, endpoint: object) -> Route:
    return next(route for route in walk_routes(app) if route.endpoint is endpoint)


async def _on_shredded(request: Request, error: Exception) -> Response:
    return make_answer(
        410,
        "The personal data are gone",
        "personal-data-destroyed",
        "The key of this customer was destroyed on request; nobody can read the personal data again.",
    )


async def _healthz() -> Response:
    return JSONResponse({"status": "up"})


async def _document(request: Request) -> Response:
    return JSONResponse(request.app.state.document)


async def _readyz(request: Request) -> Response:
    """Answer 200 when every cell can be read from here, else 503 with the cells that cannot."""
    core: LendingCore = request.app.state.core
    patience: float = request.app.state.settings.ready_seconds

    async def read_epoch(cell: str) -> int | None:
        try:
            return (await core.router.read(cell, _look, deadline_seconds=patience)).epoch
        except CellUnavailable:
            return None

    cells = core.router.cells
    found = dict(zip(cells, await asyncio.gather(*map(read_epoch, cells)), strict=True))
    missing = [cell for cell, epoch in found.items() if epoch is None]
    epochs = {cell: epoch for cell, epoch in found.items() if epoch is not None}
    answer: dict[str, object] = {"epochs": epochs, "unreachable": missing}
    buckets: Buckets | None = request.app.state.buckets
    if buckets is not None:
        answer["rate_limit"] = asdict(buckets.counts)
    return JSONResponse(answer, status_code=503 if missing else 200)


async def _look(connection: Connection, epoch: int) -> None:
    await (await connection.execute("select 1")).fetchone()


async def _on_validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the registration above says so
    kind, problems = read_validation_errors(error.errors())
    detail = "; ".join(f"{problem.path}: needs {problem.needed}" for problem in problems)
    return make_problem(kind, detail, *problems)


async def _on_refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refused)  # noqa: S101
    answer = make_problem(refusal.kind, refusal.detail, *refusal.errors, rules=refusal.rules)
    if refusal.cell is not None:
        answer.headers["Biyi-Cell"] = refusal.cell
        answer.headers["Biyi-Epoch"] = str(refusal.epoch)
    return answer


async def _on_access_refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, AccessRefused)  # noqa: S101
    status, title = _ACCESS_STATUS[refusal.why]
    bad = [{"path": refusal.path, "found": "an unacceptable value", "needed": refusal.detail}]
    answer = make_answer(status, title, refusal.why, refusal.detail)
    if refusal.path:
        answer = make_answer(status, title, refusal.why, refusal.detail, errors=bad)
    if refusal.why is Why.UNAUTHENTICATED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if refusal.why is Why.BUSY:
        answer.headers["Retry-After"] = "3"
    return answer


async def _on_cell_unavailable(_: Request, error: Exception) -> Response:
    assert isinstance(error, CellUnavailable)  # noqa: S101
    outcome = str(error.outcome)
    advice = {
        "not_done": "Nothing was done; the request may be sent again.",
        "unknown": "It may have been done; send it again with the same Idempotency-Key to learn.",
    }
    title = "The customer's cell is not available"
    answer = make_answer(503, title, "cell-unavailable", advice.get(outcome, title), outcome=outcome)
    answer.headers["Retry-After"] = "1"
    answer.headers["Biyi-Cell"] = error.cell
    return answer


async def _on_overloaded(_: Request, error: Exception) -> Response:
    assert isinstance(error, Overloaded)  # noqa: S101
    detail = "More applications are under way here than can be decided in time. Nothing was done."
    answer = make_answer(503, "Too busy to decide", "overloaded", detail, outcome="not_done")
    answer.headers["Retry-After"] = str(RETRY_SECONDS)
    answer.headers["Biyi-Cell"] = error.cell
    return answer


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 400:
        # FastAPI's own: a body that cannot even be decoded (bad UTF-8, endless nesting or numbers).
        bad = FieldProblem("body", "a text that cannot be read as JSON", "a JSON object in UTF-8")
        return make_problem(Kind.MALFORMED, "The body cannot be read.", bad)
    answer = make_answer(error.status_code, str(error.detail), "http", str(error.detail))
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        # Starlette names only the methods of the first route of this path.
        here = (route for route in walk_routes(request.app) if route.path_regex.match(request.url.path))
        answer.headers["Allow"] = ", ".join(
            sorted({method for route in here for method in route.methods or ()})
        )
    return answer


async def _on_defect(_: Request, error: Exception) -> Response:
    # The server logs the traceback; the client learns only that the outcome is not known.
    answer = make_answer(
        500,
        "An error of ours",
        "internal",
        "The outcome is not known; repeat with the same Idempotency-Key to learn it.",
        outcome="unknown",
    )
    # The server cuts the connection after a defect: a client that is told does not ask on it again.
    answer.headers["Connection"] = "close"
    return answer
