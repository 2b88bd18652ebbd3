"""The web console of each site, on the stand that `test_stand_whole` left: brought up again first."""

import asyncio
import json
import os
import re
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from compliance.access import accounts
from compliance.access.roles import Role
from compliance.access.second_factor import STEP_SECONDS, make_code
from replication.model import DATA_SITES, Site
from replication.tls import public_tls
from runbooks.cells import MOVE_SECONDS, ask_agent, site_settings
from runbooks.console.forms import HEADERS, SESSION
from runbooks.console.watch import LOOK_SECONDS
from runbooks.lending_core import open_portal
from runbooks.stand.certificates import tls_dir
from runbooks.stand.home import UpOptions
from runbooks.stand.sites import kill_site
from runbooks.stand.topology import read_stand
from runbooks.stand.up import start_site, up

NAME, SECURITY, PASSWORD = "an.bo", "chen.yu", "Console-horse-7-battery"
NAMES = {Role.SYSTEM_ADMIN: NAME, Role.SECURITY_ADMIN: SECURITY, Role.AUDIT_ADMIN: "deng.li"}
PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class Operator:
    """The system administrator: the account's secret, and the steps of its codes used so far."""

    home: Path
    secret: str
    first_of_security: str
    step: int
    token: str = ""
    """Of a session that was opened at the cloud's console; one a time, so that few codes are used up."""

    def code(self) -> str:
        """Return the next code that was not used: a step ahead of the clock at most, so waits for it."""
        self.step = max(self.step + 1, int(time.time()) // STEP_SECONDS)
        while self.step > int(time.time()) // STEP_SECONDS + 1:
            time.sleep(0.2)
        return make_code(self.secret, self.step * STEP_SECONDS)


class Browser:
    """A browser that keeps cookies and follows nothing by itself."""

    def __init__(self, session: aiohttp.ClientSession, url: str, tls: ssl.SSLContext) -> None:
        self.session, self.url, self.tls = session, url, tls

    def resume(self, token: str) -> None:
        self.session.cookie_jar.update_cookies({SESSION: token}, URL(self.url))

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(self.url + path, ssl=self.tls, allow_redirects=False) as answer:
            assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]
            return answer.status, await answer.text()

    async def post(self, path: str, **fields: str) -> tuple[int, str]:
        _, text = await self.get("/sign-in")
        token = re.search(r'name="form" value="([0-9a-f]+)"', text)
        assert token is not None
        form = {"form": token[1], **fields}
        async with self.session.post(
            self.url + path, data=form, ssl=self.tls, allow_redirects=False
        ) as answer:
            self.set_cookies = answer.headers.getall("set-cookie", [])
            return answer.status, await answer.text()

    async def sign_in(self, password: str, code: str, staff: str = NAME) -> tuple[int, str]:
        return await self.post("/sign-in", staff=staff, password=password, code=code)


@pytest.fixture(scope="module")
def operator(home: Path) -> Iterator[Operator]:
    before = os.environ.get("BIYI_HOME")
    os.environ["BIYI_HOME"] = str(home)
    try:
        asyncio.run(up(home, UpOptions(backups=False)))
        made = asyncio.run(found(home))
        made.token = asyncio.run(sign_in_once(made))
        yield made
    finally:
        os.environ.pop("BIYI_HOME")
        if before is not None:
            os.environ["BIYI_HOME"] = before


async def found(home: Path) -> Operator:
    """Make the three administrators and bring the first one's account into order, at the core API."""
    async with open_portal() as portal:
        first = await accounts.found(portal.desk, "head", NAMES)
    port = read_stand(home).port(Site.IDC, "api")
    tls = public_tls(tls_dir(home, Site.IDC))

    async def call(path: str, body: object, token: str = "") -> Any:
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"https://127.0.0.1:{port}/v1/staff{path}"
        async with session.post(url, json=body, headers=bearer, ssl=tls) as answer:
            assert answer.status in (200, 201), await answer.text()
            return await answer.json()

    async with aiohttp.ClientSession() as session:
        entered = await call("/sessions", {"staff": NAME, "password": first[NAME]})
        change = {"old_password": first[NAME], "new_password": PASSWORD}
        await call("/password", change, entered["token"])
        entered = await call("/sessions", {"staff": NAME, "password": PASSWORD})
        secret = (await call("/totp", {}, entered["token"]))["secret"]
        step = int(time.time()) // STEP_SECONDS
        await call("/totp-confirmations", {"code": make_code(secret, step * STEP_SECONDS)}, entered["token"])
    return Operator(home, secret, first[SECURITY], step)


async def sign_in_once(operator: Operator) -> str:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), trust_env=False) as session:
        browser = browser_at(operator.home, Site.CLOUD, session)
        status, text = await browser.sign_in(PASSWORD, operator.code())
        assert status == 303, text
        (line,) = [line for line in browser.set_cookies if line.startswith(f"{SESSION}=")]
        assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(line.split("; "))
        return line.split(";")[0].removeprefix(f"{SESSION}=")


def browser_at(home: Path, site: Site, session: aiohttp.ClientSession) -> Browser:
    tls = public_tls(tls_dir(home, Site.IDC))
    assert isinstance(tls, ssl.SSLContext)
    return Browser(session, f"https://127.0.0.1:{read_stand(home).port(site, 'console')}", tls)


@pytest.fixture
async def browsers(operator: Operator) -> AsyncIterator[dict[Site, Browser]]:
    """Yield a fresh browser at each site's console."""
    made = {
        site: browser_at(
            operator.home,
            site,
            aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), trust_env=False),
        )
        for site in DATA_SITES
    }
    try:
        yield made
    finally:
        for browser in made.values():
            await browser.session.close()


def epochs_in(page: str) -> dict[str, int]:
    rows = re.findall(r'id="cell-(\w+)".*?data-epoch="(\d+)"', page, re.DOTALL)
    return {cell: int(epoch) for cell, epoch in rows}


async def ask_epochs(site: Site) -> dict[str, int]:
    answer = await ask_agent(site_settings()[site], "/v1/status", 5.0)
    assert answer is not None
    return {cell: grant["epoch"] for cell, grant in answer[1]["grants"].items()}


async def wait_for_text(browser: Browser, path: str, wanted: str) -> str:
    """Load a page until it says what is wanted; red with its last text after a minute."""
    end, text = time.monotonic() + PATIENCE_SECONDS, ""
    while time.monotonic() < end:
        _, text = await browser.get(path)
        if wanted in text:
            return text
        await asyncio.sleep(0.1)
    raise AssertionError(f"{path} never said {wanted!r}: {text}")


async def test_a_wrong_password_or_no_code_opens_nothing(browsers: dict[Site, Browser], operator: Operator):
    browser = browsers[Site.IDC]
    for password, code in (("Wrong-password-1", "000000"), (PASSWORD, "")):
        status, text = await browser.sign_in(password, code)
        assert status == 401
        assert "was not accepted" in text
        assert password not in text
    status, text = await browser.sign_in("x", "", "Not A Name")
    assert (status, "was not accepted" in text) == (401, True)
    assert (await browser.get("/"))[0] == 303


async def test_an_account_with_a_first_password_is_led_to_change_it_and_nowhere_else(
    browsers: dict[Site, Browser], operator: Operator
):
    browser = browsers[Site.IDC]
    status, _ = await browser.sign_in(operator.first_of_security, "", SECURITY)
    assert status == 303
    status, text = await browser.get("/account")
    assert status == 200
    assert "You sign in again afterwards." in text
    for path in ("/", "/drills", "/keys"):
        assert (await browser.get(path))[0] == 303, path


async def test_the_page_shows_real_epochs(browsers: dict[Site, Browser], operator: Operator):
    browser = browsers[Site.CLOUD]
    browser.resume(operator.token)
    page = await wait_for_text(browser, "/", "No alarms.")
    assert epochs_in(page) == await ask_epochs(Site.CLOUD)
    assert len(epochs_in(page)) == 2
    for path in ("/drills", "/drills/runbooks/site-loss"):
        assert (await browser.get(path))[0] == 200
    assert (await browser.get("/drills/runs/20260101T000000Z-none"))[0] == 404


async def read_events(browser: Browser, until: str) -> float:
    """Read the live stream until a part of it says `until`; return the instant (monotonic seconds)."""
    text = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with browser.session.get(browser.url + "/live", ssl=browser.tls) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            async for chunk in stream.content.iter_any():
                text += chunk.decode()
                if until in text:
                    return time.monotonic()
    raise AssertionError(f"the stream ended without {until!r}: {text[-2000:]}")


async def test_the_live_page_tells_a_move_and_then_a_lost_site(
    browsers: dict[Site, Browser], operator: Operator
):
    browser = browsers[Site.CLOUD]
    browser.resume(operator.token)
    await wait_for_text(browser, "/", "No alarms.")
    cell = next(cell.name for cell in site_settings()[Site.IDC].cells if cell.home is Site.IDC)
    before = (await ask_epochs(Site.CLOUD))[cell]

    told = asyncio.create_task(read_events(browser, f'data-epoch="{before + 1}"'))
    path, body = f"/v1/cells/{cell}/move", {"to": "cloud"}
    moved = await ask_agent(site_settings()[Site.IDC], path, MOVE_SECONDS, "POST", body)
    moved_s = time.monotonic()
    assert moved is not None
    assert moved[1]["outcome"] == "done", json.dumps(moved[1])
    behind_s = await told - moved_s
    # A beat of the page and a look at the agent; above that the machine was slow, not the page.
    assert behind_s <= 1.0 + LOOK_SECONDS, f"{behind_s:.2f} s behind"

    kill_site(operator.home, Site.IDC)
    try:
        page = await wait_for_text(browser, "/", "not seen since")
        row = re.search(r'scope="row">a-idc-0</th>(.*?)</tr>', page, re.DOTALL)
        assert row is not None
        assert "not seen since" in row[1]
        assert "serving" not in row[1]
        assert 'class="mark good">answers' in page, "its own site is seen"
        assert epochs_in(page).items() >= {(cell, before + 1)}
    finally:
        start_site(operator.home, Site.IDC)
    await up(operator.home, UpOptions(backups=False))
    page = await wait_for_text(browser, "/", "No alarms.")
    assert "not seen since" not in page


async def test_signing_out_ends_the_session_everywhere(browsers: dict[Site, Browser], operator: Operator):
    browser = browsers[Site.CLOUD]
    assert (await browser.sign_in(PASSWORD, operator.code()))[0] == 303
    (line,) = [line for line in browser.set_cookies if line.startswith(f"{SESSION}=")]
    operator.token = line.split(";")[0].removeprefix(f"{SESSION}=")
    _, page = await browser.get("/")
    form = re.search(r'name="form" value="([0-9a-f]+)"', page)
    assert form is not None
    thief = browsers[Site.IDC]
    thief.resume(operator.token)
    assert (await thief.get("/"))[0] == 200, "a session is good at both sites"
    answer = await browser.session.post(
        browser.url + "/sign-out", data={"form": form[1]}, ssl=browser.tls, allow_redirects=False
    )
    assert answer.status == 303
    status, page = await thief.get("/")
    assert status == 401
    assert "The session is over" in page
