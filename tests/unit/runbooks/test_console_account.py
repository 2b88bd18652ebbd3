"""One's own account in the browser: the core decides; a session that is not full does no more."""

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runbooks.console.forms import SESSION
from tests.unit.runbooks.test_console_pages import PAGES, Asker, Browser, browsing

SECRET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
URI = f"otpauth://totp/Biyi:wang.fang?digits=6&secret={SECRET}&issuer=Biyi"
OLD, NEW = "First-given-7-words", "Blue-Kettle-7-sings"
GONE = f"{SESSION}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"


class Core(Asker):
    """A core whose session is good for `scope` only; `refuses` is what it answers to acts on the account."""

    scope = "full"

    async def __call__(self, method: str, path: str, address: str, **how: Any) -> tuple[int, Any] | None:
        if path == "/v1/staff/me":
            who = {"staff": "wang.fang", "branch": "head", "roles": list(self.roles), "scope": self.scope}
            return 200, who
        self.asked.append((method, path, how.get("body"), {}))
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
        for path in PAGES:
            status, headers, _ = await browser.ask("GET", path)
            assert (status, headers["location"]) == (303, "/account"), path
        status, _, text = await browser.ask("GET", "/account")
        assert status == 200
        assert ('name="old"' in text, "/account/second-factor" in text) == (
            scope == "password",
            scope == "enrol",
        )
        assert "<nav" not in text
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
        _, _, text = await browser.ask("GET", "/sign-in?told=<script>")
        assert "<script>" not in text


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
