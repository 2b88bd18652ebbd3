"""While a site is lost each page of the other's console says so, and shows nothing of before as of now."""

import asyncio
import contextlib
import datetime as dt
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest

from compliance.access.roles import Role
from compliance.access.second_factor import STEP_SECONDS, make_code
from core_app.business_calendar import SHANGHAI
from replication.model import Site, other_data_site
from runbooks.console.forms import SESSION
from runbooks.console.rights import SECTIONS
from runbooks.lending_core import open_portal
from runbooks.stand.home import UpOptions
from runbooks.stand.sites import kill_site
from runbooks.stand.up import start_site, up
from tests.browser.scene import PASSWORD, seat
from tests.integration.stand.test_stand_whole_console import Browser, browser_at

PEOPLE = {
    "wang.yun": Role.SYSTEM_ADMIN, "wang.shen": Role.AUDIT_ADMIN, "wang.ke": Role.SERVICE,
}  # fmt: skip
PATIENCE_SECONDS = 90.0
READING = {"/keys", "/trail", "/board", "/filings"}
"""Pages of commands that this stand answers; it keeps no backups, and probes are run by hand."""
GONE = {
    "/": '<span class="mark bad">not seen since ',
    "/trail": '<th scope="row">{site}</th><td class="n">-</td><td>-</td>'
    '<td><span class="mark bad">does not answer</span>',
    "/board": "Payment channel (seen from {site})",
    "/keys": '<th scope="row">{site}</th><td class="n">not known</td>',
}
"""What a page says of the lost site beside its head: blanks of the template left out."""


def pages() -> dict[str, str]:
    """Return who opens each page of the navigation."""
    found = {}
    for section in SECTIONS:
        found[section.path] = next(staff for staff, role in PEOPLE.items() if role in section.roles)
    return found


@pytest.fixture(scope="module")
def tokens(home: Path) -> Iterator[Mapping[str, str]]:
    """Yield a session of each, good at both consoles."""
    before = os.environ.get("BIYI_HOME")
    os.environ["BIYI_HOME"] = str(home)
    try:
        asyncio.run(up(home, UpOptions(backups=False)))
        yield asyncio.run(sign_in(home))
    finally:
        os.environ.pop("BIYI_HOME")
        if before is not None:
            os.environ["BIYI_HOME"] = before


async def sign_in(home: Path) -> Mapping[str, str]:
    async with open_portal() as portal:
        secrets = await seat(portal, PEOPLE)
    found = {}
    for staff, secret in secrets.items():
        async with browsing(home, Site.CLOUD) as browser:
            code = make_code(secret, int(time.time()) // STEP_SECONDS * STEP_SECONDS)
            status, text = await browser.sign_in(PASSWORD, code, staff)
            assert status == 303, text
            (line,) = [line for line in browser.set_cookies if line.startswith(f"{SESSION}=")]
            found[staff] = line.split(";")[0].removeprefix(f"{SESSION}=")
    return found


@contextlib.asynccontextmanager
async def browsing(home: Path, site: Site, token: str = "") -> AsyncIterator[Browser]:
    """Yield a browser at a site's console."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, trust_env=False) as session:
        browser = browser_at(home, site, session)
        if token:
            browser.resume(token)
        yield browser


def read_at(text: str) -> dt.datetime | None:
    """Return of when a page says its figures are."""
    found = re.search(r"Read at ([0-9: -]{19}), Beijing time", text)
    return dt.datetime.fromisoformat(found[1]).replace(tzinfo=SHANGHAI) if found else None


async def settle(browser: Browser, path: str, done: Callable[[str], bool]) -> str:
    """Load a page until `done` says so of its text; red with the last one after a while."""
    end, text = time.monotonic() + PATIENCE_SECONDS, ""
    while time.monotonic() < end:
        status, text = await browser.get(path)
        if status == 200 and done(text):
            return text
        await asyncio.sleep(0.3)
    raise AssertionError(f"{path} did not settle: {text}")


@pytest.mark.parametrize("lost", [Site.IDC, pytest.param(Site.CLOUD, marks=pytest.mark.slow)])
async def test_each_page_says_what_it_does_not_see(home: Path, tokens: Mapping[str, str], lost: Site):
    site = other_data_site(lost)
    for path, staff in pages().items():
        async with browsing(home, site, tokens[staff]) as browser:
            text = await settle(browser, path, lambda text: "being read now" not in text)
            assert "not seen since" not in text, path
    lost_at = dt.datetime.now(dt.UTC)
    kill_site(home, lost)
    try:
        for path, staff in pages().items():
            async with browsing(home, site, tokens[staff]) as browser:
                await check_page(browser, path, lost, lost_at)
    finally:
        start_site(home, lost)
    await up(home, UpOptions(backups=False))
    for path, staff in pages().items():
        async with browsing(home, site, tokens[staff]) as browser:
            await settle(browser, path, lambda text: "not seen since" not in text)


async def check_page(browser: Browser, path: str, lost: Site, lost_at: dt.datetime) -> None:
    text = await settle(browser, path, lambda text: "not seen since" in text)
    if path != "/":
        assert re.search(rf"<b>{lost}</b> not seen since \d\d:\d\d:\d\d \(Beijing time\)", text), path
    if path in READING:
        read = read_at(text)
        assert read is None or read >= lost_at - dt.timedelta(seconds=1) or "being read now" in text, path
        text = await settle(browser, path, lambda text: "being read now" not in text)
        read = read_at(text)
        assert read is not None, path
        assert read >= lost_at - dt.timedelta(seconds=1), f"{path} shows what was before the loss as it is"
    if path in GONE:
        wanted = GONE[path].format(site=lost)
        await settle(browser, path, lambda text: wanted in re.sub(r">\s+<", "><", text))
