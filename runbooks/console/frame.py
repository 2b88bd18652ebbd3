"""What every page stands on: who asks, what the core says for them, the page around the content."""

import asyncio
import datetime as dt
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from runbooks.console.entrance import TO_DO, Entrance, Person, Refusal, Wish
from runbooks.console.forms import (
    LANGUAGE,
    NONCE,
    SESSION,
    is_own_form,
    make_cookie,
    make_form_token,
    read_nonce,
    read_token,
)
from runbooks.console.jobs import Jobs
from runbooks.console.pages import Pages
from runbooks.console.readings import Readings
from runbooks.console.rights import find_sections, may_open
from runbooks.console.view import Platform, SiteView
from runbooks.console.watch import Watch
from runbooks.console.words import choose_language, other

STATUS = {
    Refusal.NOT_ACCEPTED: 401, Refusal.OVER: 401, Refusal.NOT_ALLOWED: 403, Refusal.PASSWORD: 403,
    Refusal.ENROL: 403, Refusal.BUSY: 429, Refusal.UNREACHABLE: 503,
}  # fmt: skip
MOST_FIELDS = 20
"""Of a form. Source: our choice, three times the largest of ours."""
Shown = Callable[[Request, Person], Awaitable[Response]]
Guarded = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Console:
    """What the pages of one site are made from.

    `home` is the stand that commands are run for, `evidence` where its drills leave theirs.
    """

    site: str

    pages: Pages
    watch: Watch
    entrance: Entrance
    readings: Readings
    jobs: Jobs
    evidence: Path
    home: Path
    read_now: Callable[[], dt.datetime]


class CoreRefused(Exception):
    """The core does not do what a page asked of it: `status` as it answered, None when it did not."""

    def __init__(self, status: int | None, detail: str = "") -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def signed_in(show: Shown, *, uses: bool = True) -> Guarded:
    """Return the page for who may open it; others get the way in, or why not.

    `uses` False: a page asks by itself, so the session goes on idling.
    """

    async def guarded(request: Request) -> Response:
        token = read_token(request.cookies)
        if token is None:
            return RedirectResponse("/sign-in", 303)
        console = console_of(request)
        person, platform = await asyncio.gather(
            console.entrance.find_person(token, address_of(request), uses=uses), console.watch.look_now()
        )
        if person in TO_DO:
            return RedirectResponse("/account", 303)
        if isinstance(person, Refusal):
            return show_refusal(request, person)
        request.state.platform = platform
        if not may_open(request.url.path, person.roles):
            sections = find_sections(person.roles)
            if request.url.path == "/" and sections:
                return RedirectResponse(sections[0].path, 303)
            return show_page(request, "door.html", 403, person=person, reason="door.not_allowed")
        request.state.person = person
        return await show(request, person)

    return guarded


def posted(
    take: Callable[[Request, Person, Mapping[str, str]], Awaitable[Response]], *, uses: bool = True
) -> Guarded:
    """Return what takes a form: only one sent from a page of ours, by somebody who may open that page."""

    async def show(request: Request, person: Person) -> Response:
        return await take(request, person, request.state.fields)

    guarded = signed_in(show, uses=uses)

    async def checked(request: Request) -> Response:
        request.state.fields = parse_form(await request.body())
        if not is_own(request, request.state.fields):
            return show_page(request, "door.html", 403, reason="door.form")
        return await guarded(request)

    return checked


def show_refusal(request: Request, refusal: Refusal) -> Response:
    """Say why nobody is let in; a session that is over leaves the browser."""
    answer = show_page(request, "door.html", STATUS[refusal], reason=f"door.{refusal}")
    if refusal is Refusal.OVER:
        answer.headers.append("set-cookie", make_cookie(SESSION, ""))
    return answer


async def call_core(request: Request, method: str, path: str, body: object = None, **how: str) -> Any:
    """Return what the core answers the browser's user; CoreRefused when it does not do it."""
    console, token = console_of(request), read_token(request.cookies) or ""
    answer = await console.entrance.call(Wish(method, path, body, **how), token, address_of(request))
    if answer is None:
        raise CoreRefused(None)
    status, found = answer
    if not 200 <= status < 300:
        raise CoreRefused(status, find_detail(found))
    return found


def find_detail(problem: object) -> str:
    """Return the text of a problem document: its detail, and which field it is about.

    >>> find_detail({"detail": "body.by: needs phone", "title": "x"}), find_detail("x")
    ('body.by: needs phone', '')
    """
    return str(problem.get("detail", problem.get("title", ""))) if isinstance(problem, dict) else ""


async def show_core_refused(request: Request, error: Exception) -> Response:
    """Show why the core did not do it."""
    assert isinstance(error, CoreRefused)  # noqa: S101 - the registration says so
    if error.status == 401:
        return show_refusal(request, Refusal.OVER)
    if error.status is None or error.status >= 500:
        return show_refusal(request, Refusal.UNREACHABLE)
    person = getattr(request.state, "person", None)
    if error.status == 404:
        return show_page(request, "door.html", 404, person=person, reason="door.missing")
    return show_page(
        request, "door.html", error.status, person=person, reason="door.refused", detail=error.detail
    )


async def show_missing(request: Request, error: Exception) -> Response:
    """Show what cannot be shown, in the user's language."""
    assert isinstance(error, HTTPException)  # noqa: S101 - the registration says so
    return show_page(request, "door.html", error.status_code, reason="door.missing")


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
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        return {}


def language_of(request: Request) -> str:
    """Return the language of the browser's user."""
    return choose_language(request.cookies.get(LANGUAGE), request.headers.get("accept-language", ""))


def show_page(
    request: Request, template: str, status: int = 200, person: Person | None = None, **values: Any
) -> HTMLResponse:
    """Return a whole page or a part of one; a browser that has no form nonce yet gets one."""
    nonce = read_nonce(request.cookies)
    fresh = nonce or secrets.token_urlsafe(32)
    language = language_of(request)
    path = request.url.path
    known: dict[str, Any] = {
        "person": person,
        "entries": find_sections(person.roles) if person else (),
        "path": path,
        "next_language": other(language),
        "form_token": make_form_token(fresh, read_token(request.cookies)),
        "now": console_of(request).read_now(),
        "unseen": find_unseen(request),
    }
    answer = HTMLResponse(console_of(request).pages.render(template, language, **(known | values)), status)
    if nonce is None:
        answer.headers.append("set-cookie", make_cookie(NONCE, fresh))
    return answer


def find_unseen(request: Request) -> tuple[SiteView, ...]:
    """Return the sites that this console does not see, as of this request; none for who is not signed in."""
    platform: Platform | None = getattr(request.state, "platform", None)
    return tuple(site for site in platform.sites if site.state != "seen") if platform else ()


def is_own(request: Request, fields: Mapping[str, str]) -> bool:
    """Say whether a form was sent from a page of ours."""
    return is_own_form(fields, request.cookies, request.headers.get("sec-fetch-site", ""))
