"""The console's application: which page a path is, what goes with every answer; platform, drills, sign-in."""

import asyncio
import secrets

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core_app.api.body_limit import BodyLimit
from runbooks.console.account_pages import DONE
from runbooks.console.account_pages import ROUTES as ACCOUNT
from runbooks.console.customer_pages import ROUTES as CUSTOMERS
from runbooks.console.drill_pages import find_report, read_book, read_drills, read_run
from runbooks.console.entrance import Person, Refusal
from runbooks.console.forms import (
    HEADERS,
    LANGUAGE,
    NONCE,
    REPORT_CSP,
    SESSION,
    find_back,
    make_cookie,
    read_token,
)
from runbooks.console.frame import (
    STATUS,
    Console,
    CoreRefused,
    address_of,
    console_of,
    find_unseen,
    is_own,
    language_of,
    parse_form,
    show_core_refused,
    show_missing,
    show_page,
    signed_in,
)
from runbooks.console.job_pages import ROUTES as JOBS
from runbooks.console.job_pages import find_choices
from runbooks.console.live import LiveAnswer, LiveParts, stream_platform
from runbooks.console.pages import STATIC, clock, tell_unseen
from runbooks.console.reading_pages import ROUTES as READINGS
from runbooks.console.review_pages import ROUTES as REVIEWS
from runbooks.console.rights import may_open
from runbooks.console.words import choose_language

_BODY_BYTES, _BODY_SECONDS = 4096, 10.0
"""Of a form. Source: our choice; a sign-in has under 500 bytes, a page of 50 looks under 2,500."""


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
        Route("/sites-seen", show_sites_seen),
        Route("/drills", signed_in(show_drills)),
        Route("/drills/runbooks/{name}", signed_in(show_runbook)),
        Route("/drills/runs/{folder}", signed_in(show_run)),
        Route("/drills/runs/{folder}/report.html", signed_in(show_report)),
        *JOBS,
        *READINGS,
        *REVIEWS,
        *CUSTOMERS,
        *ACCOUNT,
        Route("/sign-in", show_sign_in, methods=["GET"]),
        Route("/sign-in", post_sign_in, methods=["POST"]),
        Route("/sign-out", post_sign_out, methods=["POST"]),
        Route("/language", post_language, methods=["POST"]),
        Route("/healthz", show_health),
        Mount("/static", KeptFiles(directory=STATIC)),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: show_missing,
            CoreRefused: show_core_refused,
            Exception: show_defect,
        },
    )
    app.state.console = console
    app.state.parts = LiveParts(console.pages)
    app.add_middleware(BodyLimit, limit_bytes=_BODY_BYTES, limit_seconds=_BODY_SECONDS)
    return Armoured(app)  # outside of all: refusals and defects are armoured too


async def show_platform(request: Request, person: Person) -> Response:
    """Show both sites, links, cells and copies as they are now."""
    return show_page(request, "platform.html", person=person, platform=request.state.platform)


async def show_sites_seen(request: Request) -> Response:
    """Tell an open page which sites are not seen now; 204 while that is what it says already."""
    console, token = console_of(request), read_token(request.cookies)
    if token is None:
        return Response(status_code=401)
    person, platform = await asyncio.gather(
        console.entrance.find_person(token, address_of(request), uses=False), console.watch.look_now()
    )
    if isinstance(person, Refusal):
        return show_page(request, "_over.html", reason=f"door.{person}")
    request.state.platform = platform
    told = {"biyi-read-at": clock(platform.now)}
    if request.query_params.get("told", "") == tell_unseen(find_unseen(request)):
        return Response(status_code=204, headers=told)
    answer = show_page(request, "_unseen.html", person=person)
    answer.headers.update(told)
    return answer


async def show_live(request: Request) -> Response:
    """Stream what changes on the platform page; it is no use of the session."""
    console, token, address = console_of(request), read_token(request.cookies), address_of(request)

    async def still_may() -> str | None:
        if token is None:
            return f"door.{Refusal.OVER}"
        found = await console.entrance.find_person(token, address, uses=False)
        if isinstance(found, Refusal):
            return f"door.{found}"
        return None if may_open("/", found.roles) else f"door.{Refusal.NOT_ALLOWED}"

    events = stream_platform(console.watch, request.app.state.parts, language_of(request), still_may)
    return LiveAnswer(events, media_type="text/event-stream")


async def show_drills(request: Request, person: Person) -> Response:
    """Show which drills are due and what came of those that were run."""
    console = console_of(request)
    values = await asyncio.to_thread(read_drills, console.evidence, console.read_now())
    jobs = await asyncio.to_thread(console.jobs.list_newest, "drill")
    return show_page(request, "drills.html", person=person, jobs=jobs[:5], **values)


async def show_runbook(request: Request, person: Person) -> Response:
    """Show a drill's runbook."""
    values = await asyncio.to_thread(read_book, request.path_params["name"])
    if values is None:
        raise HTTPException(404)
    return show_page(
        request, "runbook.html", person=person, choices=find_choices(request, values["drill"]), **values
    )


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
    """Show the form to sign in with, and what was done just before."""
    told = request.query_params.get("told", "")
    return show_page(request, "sign_in.html", reason=None, staff="", told=told if told in DONE else "")


async def post_sign_in(request: Request) -> Response:
    """Sign in at the core; the token goes into the cookie and nowhere else."""
    fields = parse_form(await request.body())
    if not is_own(request, fields):
        return show_page(request, "sign_in.html", 403, reason="door.form", staff="", told="")
    staff, code = (fields.get(name, "").strip() for name in ("staff", "code"))
    entrance = console_of(request).entrance
    token = await entrance.sign_in(staff, fields.get("password", ""), code, address_of(request))
    if isinstance(token, Refusal):
        return show_page(request, "sign_in.html", STATUS[token], reason=f"door.{token}", staff=staff, told="")
    answer = RedirectResponse("/", 303)
    answer.headers.append("set-cookie", make_cookie(SESSION, token))
    answer.headers.append("set-cookie", make_cookie(NONCE, secrets.token_urlsafe(32)))
    return answer


async def post_sign_out(request: Request) -> Response:
    """End the session at the core and in the browser."""
    token = read_token(request.cookies)
    if not is_own(request, parse_form(await request.body())):
        return show_page(request, "door.html", 403, reason="door.form")
    if token is not None:
        await console_of(request).entrance.sign_out(token, address_of(request))
    answer = RedirectResponse("/sign-in", 303)
    answer.headers.append("set-cookie", make_cookie(SESSION, ""))
    return answer


async def post_language(request: Request) -> Response:
    """Keep the language that was chosen; go back to the page."""
    fields = parse_form(await request.body())
    if not is_own(request, fields):
        return show_page(request, "door.html", 403, reason="door.form")
    answer = RedirectResponse(find_back(fields), 303)
    answer.headers.append("set-cookie", make_cookie(LANGUAGE, choose_language(fields.get("language"), "")))
    return answer


async def show_health(_request: Request) -> Response:
    """Say that the console serves."""
    return Response("up\n", media_type="text/plain")


async def show_defect(_request: Request, _error: Exception) -> Response:
    """Say that the fault is ours, without a template that may be it; the server logs the traceback."""
    text = "控制台出错，详情在其日志中。\nAn error of ours; the console's log has it.\n"
    return Response(text, 500, media_type="text/plain")
