"""One's own account in the browser: the core decides; a session that is not full does no more."""

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from runbooks.console.customer_pages import ROUTES as CUSTOMERS
from runbooks.console.forms import NONCE, SESSION, make_form_token
from runbooks.console.job_pages import ROUTES as JOBS
from runbooks.console.reading_pages import ROUTES as READINGS
from runbooks.console.review_pages import ROUTES as REVIEWS
from tests.unit.runbooks.test_console_pages import (
    FILLED,
    NONCE_VALUE,
    PAGES,
    POSTS,
    Asker,
    Browser,
    browsing,
)

SECRET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
URI = f"otpauth://totp/Biyi:wang.fang?digits=6&secret={SECRET}&issuer=Biyi"
OLD, NEW = "First-given-7-words", "Blue-Kettle-7-sings"
GETS = {
    route.path.format(**FILLED)
    for route in (*CUSTOMERS, *JOBS, *READINGS, *REVIEWS)
    if isinstance(route, Route) and "GET" in (route.methods or ())
} | {*PAGES, "/drills/runs/20261122T153501Z-0123abcd", "/drills/runs/20261122T153501Z-0123abcd/report.html"}
SAID = {"password": "The password has to be changed first", "enrol": "needs a second factor first"}
NOBODY, NOBODYS = f"{NONCE}={NONCE_VALUE}", make_form_token(NONCE_VALUE, None)
ACTS = ("/account/password", "/account/second-factor", "/account/second-factor/code")
GONE = f"{SESSION}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"


class Core(Asker):
    """A core whose session is good for `scope` only; `refuses` is what it answers to acts on the account."""

    scope = "full"
    session: tuple[int, Any] | str | None = "open"
    silent = False

    async def __call__(self, method: str, path: str, address: str, **how: Any) -> tuple[int, Any] | None:
        if path in ("/v1/staff/me", "/v1/staff/standing"):
            if not isinstance(self.session, str):
                return self.session
            who = {"staff": "wang.fang", "branch": "head", "roles": list(self.roles), "scope": self.scope}
            return 200, who
        self.asked.append((method, path, how.get("body"), {}))
        if self.silent:
            return None
        if self.refuses is not None:
            return self.refuses
        return (201, {"secret": "00" * 20, "uri": URI}) if path.endswith("/totp") else (200, {"done": True})


@contextlib.asynccontextmanager
async def somebody(home: Path, scope: str) -> AsyncIterator[tuple[Browser, Core]]:
    core = Core(("system_admin",))
    core.scope = scope
    async with browsing(home, asker=core) as browser:
        yield browser, core


@pytest.mark.parametrize("scope", ["password", "enrol"])
async def test_a_session_that_has_something_to_do_first_is_led_there(tmp_path: Path, scope: str):
    async with somebody(tmp_path, scope) as (browser, core):
        for path in sorted(GETS):
            status, headers, _ = await browser.ask("GET", path)
            assert (status, headers.get("location")) == (303, "/account"), path
        for path in POSTS:
            status, headers, _ = await browser.post(path, purpose="complaint")
            assert (status, headers.get("location")) == (303, "/account"), path
        for path in ("/live", "/sites-seen"):
            _, _, text = await browser.ask("GET", path)
            assert SAID[scope] in text, path
            assert "<table" not in text, path
        status, _, text = await browser.ask("GET", "/account")
        assert status == 200
        assert ('name="old"' in text, "/account/second-factor" in text) == (
            scope == "password",
            scope == "enrol",
        )
        assert "<nav" not in text
        assert 'action="/sign-out"' in text, "who is in the middle of it can leave"
        assert "<script" not in text, "what asks by itself is of the pages that do not open"
        assert core.asked == [], "nothing but who it is"


async def test_a_password_is_changed_as_the_core_says(tmp_path: Path):
    async with somebody(tmp_path, "password") as (browser, core):
        status, _, text = await browser.post("/account/password", old=OLD, new=NEW, again=NEW + "x")
        assert (status, "The two new passwords differ" in text) == (422, True)
        assert core.asked == []
        status, headers, _ = await browser.post("/account/password", old=OLD, new=NEW, again=NEW)
        assert (status, headers["location"], headers["set-cookie"]) == (303, "/sign-in?told=password", GONE)
        body = {"old_password": OLD, "new_password": NEW}
        assert core.asked == [("POST", "/v1/staff/password", body, {})]
        _, _, text = await browser.ask("GET", "/sign-in?told=password")
        assert "The password was changed" in text
        status, _, text = await browser.ask("GET", "/sign-in?told=<script>")
        assert (status, "<script>" in text, 'role="status"' in text) == (200, False, False)


@pytest.mark.parametrize(
    ("refuses", "said"),
    [
        ((401, {"detail": "The old password is not accepted."}), "current password was not accepted"),
        ((422, {"detail": "body.new_password: needs 12 to 128 characters"}), "needs 12 to 128 characters"),
    ],
)
async def test_a_password_that_is_refused_says_why_and_keeps_the_session(
    tmp_path: Path, refuses: tuple[int, Any], said: str
):
    async with somebody(tmp_path, "full") as (browser, core):
        core.refuses = refuses
        status, headers, text = await browser.post("/account/password", old=OLD, new=NEW, again=NEW)
        assert (status, said in text) == (422, True)
        assert SESSION + "=" not in headers.get("set-cookie", "")
        assert OLD not in text
        assert NEW not in text


async def test_a_secret_is_shown_once_and_confirmed(tmp_path: Path):
    async with somebody(tmp_path, "enrol") as (browser, core):
        _, _, before = await browser.ask("GET", "/account")
        status, headers, text = await browser.post("/account/second-factor")
        shown = re.search(r'id="secret">([A-Z2-7 ]+)<', text)
        assert status == 200
        assert shown is not None
        assert shown[1].replace(" ", "") == SECRET
        assert headers["cache-control"] == "no-store"
        assert SECRET[:4] not in before
        asked = len(core.asked)
        for path in ACTS:
            assert (await browser.ask("GET", path))[0] == 405, "a link or a reload does nothing"
        assert len(core.asked) == asked
        status, headers, _ = await browser.post("/account/second-factor/code", code=" 123456 ")
        assert (status, headers["location"], headers["set-cookie"]) == (303, "/sign-in?told=factor", GONE)
        assert core.asked[-1] == ("POST", "/v1/staff/totp-confirmations", {"code": "123456"}, {})


async def test_a_wrong_code_is_said_to_be_and_can_be_given_again(tmp_path: Path):
    async with somebody(tmp_path, "enrol") as (browser, core):
        core.refuses = (422, {"detail": "body.code: needs the code that the app shows now"})
        status, _, text = await browser.post("/account/second-factor/code", code="000000")
        assert (status, "needs the code that the app shows now" in text) == (422, True)
        assert 'name="code"' in text


async def test_a_form_from_elsewhere_changes_nothing(tmp_path: Path):
    async with somebody(tmp_path, "full") as (browser, core):
        for path in ("/account/password", "/account/second-factor", "/account/second-factor/code"):
            status, _, _ = await browser.ask("POST", path, {"old": OLD, "new": NEW, "again": NEW})
            assert status == 403, path
        assert core.asked == []


async def test_without_a_session_nobody_is_asked(tmp_path: Path):
    async with somebody(tmp_path, "full") as (browser, core):
        core.session = None
        for path in ("/account", *ACTS):
            method = "GET" if path == "/account" else "POST"
            status, headers, _ = await browser.ask(method, path, {"form": NOBODYS}, cookies=NOBODY)
            assert (status, headers.get("location")) == (303, "/sign-in"), path
        assert core.asked == []


@pytest.mark.parametrize(
    ("session", "status"), [((401, {}), 401), ((503, {}), 503), (None, 503)], ids=["over", "busy", "silent"]
)
async def test_what_the_core_said_of_a_session_before_does_not_count_here(
    tmp_path: Path, session: tuple[int, Any] | None, status: int
):
    async with somebody(tmp_path, "full") as (browser, core):
        assert (await browser.ask("GET", "/drills"))[0] == 200, "known to the console from now on"
        core.session = session
        for path in ("/account", *ACTS):
            fields = {"old": OLD, "new": NEW, "again": NEW, "code": "123456"}
            got, headers, text = await (
                browser.ask("GET", path) if path == "/account" else browser.post(path, **fields)
            )
            assert got == status, path
            assert (headers.get("set-cookie") == GONE) == (status == 401), "a session that is over leaves"
            assert SECRET[:4] not in text
        assert core.asked == []


@pytest.mark.parametrize(("answer", "status"), [((429, {}), 429), ((500, {}), 503), (None, 503)])
async def test_an_act_that_the_core_does_not_take_keeps_the_session(
    tmp_path: Path, answer: tuple[int, Any] | None, status: int
):
    async with somebody(tmp_path, "enrol") as (browser, core):
        core.refuses, core.silent = answer, answer is None
        for path in ACTS:
            got, headers, _ = await browser.post(path, old=OLD, new=NEW, again=NEW, code="123456")
            assert (got, headers.get("location")) == (status, None), path
            assert headers.get("set-cookie") != GONE, path
