"""The console's application: who is let in, which page is shown, what goes with every answer."""

import asyncio
import datetime as dt
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core_app.api.body_limit import BodyLimit
from runbooks.console.drill_pages import find_report, read_book, read_drills, read_run
from runbooks.console.entrance import Entrance, Person, Refusal
from runbooks.console.forms import (
    HEADERS,
    LANGUAGE,
    NONCE,
    REPORT_CSP,
    SESSION,
    find_back,
    is_own_form,
    make_cookie,
    make_form_token,
    read_nonce,
    read_token,
)
from runbooks.console.live import LiveAnswer, LiveParts, stream_platform
from runbooks.console.pages import STATIC, Pages
from runbooks.console.watch import Watch
from runbooks.console.words import choose_language, other

_BODY_BYTES, _BODY_SECONDS = 4096, 10.0
"""Of a form. Source: our choice; a sign-in has under 500 bytes."""
_STATUS = {
    Refusal.NOT_ACCEPTED: 401, Refusal.OVER: 401, Refusal.NOT_ALLOWED: 403, Refusal.PASSWORD: 403,
    Refusal.ENROL: 403, Refusal.BUSY: 429, Refusal.UNREACHABLE: 503,
}  # fmt: skip
Shown = Callable[[Request, Person], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Console:
    """What the pages are made from; `evidence` is where drills leave theirs."""

    pages: Pages
    watch: Watch
    entrance: Entrance
    evidence: Path
    read_now: Callable[[], dt.datetime]


class Armoured:
    """Adds the security headers to every answer, errors and files too, unless it brings its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""

        async def send_armoured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_armoured)


class KeptFiles(StaticFiles):
    """Files that are no secret: a browser may keep them, and asks whether they are still the same."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file."""
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def make_app(console: Console) -> ASGIApp:
    """Return the application."""
    routes = [
        Route("/", signed_in(show_platform)),
        Route("/live", show_live),
        Route("/drills", signed_in(show_drills)),
        Route("/drills/runbooks/{name}", signed_in(show_runbook)),
        Route("/drills/runs/{folder}", signed_in(show_run)),
        Route("/drills/runs/{folder}/report.html", signed_in(show_report)),
        Route("/sign-in", show_sign_in, methods=["GET"]),
        Route("/sign-in", post_sign_in, methods=["POST"]),
        Route("/sign-out", post_sign_out, methods=["POST"]),
        Route("/language", post_language, methods=["POST"]),
        Route("/healthz", show_health),
        Mount("/static", KeptFiles(directory=STATIC)),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: show_missing, Exception: show_defect})
    app.state.console = console
    app.state.parts = LiveParts(console.pages)
    app.add_middleware(BodyLimit, limit_bytes=_BODY_BYTES, limit_seconds=_BODY_SECONDS)
    return Armoured(app)  # outside of all: refusals and defects are armoured too


def signed_in(show: Shown) -> Callable[[Request], Awaitable[Response]]:
    """Return the page for who may see it; others get the way in, or why not."""

    async def guarded(request: Request) -> Response:
        token = read_token(request.cookies)
        if token is None:
            return RedirectResponse("/sign-in", 303)
        person = await console_of(request).entrance.find_person(token, address_of(request), uses=True)
        if isinstance(person, Refusal):
            answer = show_page(request, "door.html", _STATUS[person], reason=f"door.{person}")
            if person is Refusal.OVER:
                answer.headers.append("set-cookie", make_cookie(SESSION, ""))
            return answer
        return await show(request, person)

    return guarded


def console_of(request: Request) -> Console:
    """Return what the pages are made from."""
    console: Console = request.app.state.console
    return console


def address_of(request: Request) -> str:
    """Return the browser's address: X-Forwarded-For is not believed, anybody could write it."""
    return request.client.host if request.client else ""


def parse_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form as browsers send them; empty when it is none."""
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=10))
    except ValueError:
        return {}


def language_of(request: Request) -> str:
    """Return the language of the browser's user."""
    return choose_language(request.cookies.get(LANGUAGE), request.headers.get("accept-language", ""))


def show_page(
    request: Request, template: str, status: int = 200, person: Person | None = None, **values: Any
) -> HTMLResponse:
    """Return a whole page; a browser that has no form nonce yet gets one."""
    nonce = read_nonce(request.cookies)
    fresh = nonce or secrets.token_urlsafe(32)
    language = language_of(request)
    known: Mapping[str, Any] = {
        "person": person,
        "path": request.url.path,
        "next_language": other(language),
        "form_token": make_form_token(fresh, read_token(request.cookies)),
    }
    answer = HTMLResponse(console_of(request).pages.render(template, language, **known, **values), status)
    if nonce is None:
        answer.headers.append("set-cookie", make_cookie(NONCE, fresh))
    return answer


async def show_platform(request: Request, person: Person) -> Response:
    """Show both sites, links, cells and copies as they are now."""
    platform = await console_of(request).watch.look_now()
    return show_page(request, "platform.html", person=person, platform=platform)


async def show_live(request: Request) -> Response:
    """Stream what changes on the platform page; it is no use of the session."""
    console, token, address = console_of(request), read_token(request.cookies), address_of(request)

    async def still_may() -> str | None:
        if token is None:
            return f"door.{Refusal.OVER}"
        found = await console.entrance.find_person(token, address, uses=False)
        return f"door.{found}" if isinstance(found, Refusal) else None

    events = stream_platform(console.watch, request.app.state.parts, language_of(request), still_may)
    return LiveAnswer(events, media_type="text/event-stream")


async def show_drills(request: Request, person: Person) -> Response:
    """Show which drills are due and what came of those that were run."""
    console = console_of(request)
    values = await asyncio.to_thread(read_drills, console.evidence, console.read_now())
    return show_page(request, "drills.html", person=person, **values)


async def show_runbook(request: Request, person: Person) -> Response:
    """Show a drill's runbook."""
    values = await asyncio.to_thread(read_book, request.path_params["name"])
    if values is None:
        raise HTTPException(404)
    return show_page(request, "runbook.html", person=person, **values)


async def show_run(request: Request, person: Person) -> Response:
    """Show one run with its report."""
    run = await asyncio.to_thread(read_run, console_of(request).evidence, request.path_params["folder"])
    if run is None:
        raise HTTPException(404)
    reported = find_report(run) is not None
    return show_page(request, "run.html", person=person, run=run, reported=reported)


async def show_report(request: Request, _person: Person) -> Response:
    """Send a run's report as it is, shut in: no script, no origin, nothing from elsewhere."""
    run = await asyncio.to_thread(read_run, console_of(request).evidence, request.path_params["folder"])
    path = find_report(run) if run is not None else None
    if path is None:
        raise HTTPException(404)
    shut_in = {"content-security-policy": REPORT_CSP, "x-frame-options": "SAMEORIGIN"}
    return FileResponse(path, headers=shut_in, media_type="text/html; charset=utf-8")


async def show_sign_in(request: Request) -> Response:
    """Show the form to sign in with."""
    return show_page(request, "sign_in.html", reason=None, staff="")


async def post_sign_in(request: Request) -> Response:
    """Sign in at the core; the token goes into the cookie and nowhere else."""
    fields = parse_form(await request.body())
    if not _is_own(request, fields):
        return show_page(request, "sign_in.html", 403, reason="door.form", staff="")
    staff, code = (fields.get(name, "").strip() for name in ("staff", "code"))
    entrance = console_of(request).entrance
    token = await entrance.sign_in(staff, fields.get("password", ""), code, address_of(request))
    if isinstance(token, Refusal):
        return show_page(request, "sign_in.html", _STATUS[token], reason=f"door.{token}", staff=staff)
    answer = RedirectResponse("/", 303)
    answer.headers.append("set-cookie", make_cookie(SESSION, token))
    answer.headers.append("set-cookie", make_cookie(NONCE, secrets.token_urlsafe(32)))
    return answer


async def post_sign_out(request: Request) -> Response:
    """End the session at the core and in the browser."""
    token = read_token(request.cookies)
    if not _is_own(request, parse_form(await request.body())):
        return show_page(request, "door.html", 403, reason="door.form")
    if token is not None:
        await console_of(request).entrance.sign_out(token, address_of(request))
    answer = RedirectResponse("/sign-in", 303)
    answer.headers.append("set-cookie", make_cookie(SESSION, ""))
    return answer


async def post_language(request: Request) -> Response:
    """Keep the language that was chosen; go back to the page."""
    fields = parse_form(await request.body())
    if not _is_own(request, fields):
        return show_page(request, "door.html", 403, reason="door.form")
    answer = RedirectResponse(find_back(fields), 303)
    answer.headers.append("set-cookie", make_cookie(LANGUAGE, choose_language(fields.get("language"), "")))
    return answer


async def show_health(_request: Request) -> Response:
    """Say that the console serves."""
    return Response("up\n", media_type="text/plain")


async def show_missing(request: Request, error: Exception) -> Response:
    """Show what cannot be shown, in the user's language."""
    assert isinstance(error, HTTPException)  # noqa: S101 - the registration says so
    return show_page(request, "door.html", error.status_code, reason="door.missing")


async def show_defect(_request: Request, _error: Exception) -> Response:
    """Say that the fault is ours, without a template that may be it; the server logs the traceback."""
    text = "控制台出错，详情在其日志中。\nAn error of ours; the console's log has it.\n"
    return Response(text, 500, media_type="text/plain")


def _is_own(request: Request, fields: Mapping[str, str]) -> bool:
    return is_own_form(fields, request.cookies, request.headers.get("sec-fetch-site", ""))
