"""Every page, for every role, in both languages: who may open it, what stands on it, what takes a form."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.routing import Route
from starlette.types import Message

from compliance.access.roles import Role
from runbooks.console.app import make_app
from runbooks.console.customer_pages import ROUTES as CUSTOMERS
from runbooks.console.entrance import Entrance
from runbooks.console.forms import NONCE, SESSION, make_form_token
from runbooks.console.frame import Console
from runbooks.console.job_pages import ROUTES as JOBS
from runbooks.console.jobs import Jobs
from runbooks.console.pages import Pages
from runbooks.console.reading_pages import ROUTES as READINGS
from runbooks.console.readings import Readings
from runbooks.console.review_pages import ROUTES as REVIEWS
from runbooks.console.rights import SECTIONS, may_open
from runbooks.console.watch import Watch
from tests.unit.runbooks.console_core import ANSWERS, APPROVAL, CASE, CLEAR, CUSTOMER, LOOK, say
from tests.unit.runbooks.test_console_app import SETTINGS, TOKEN, read_now, silence

NONCE_VALUE = "n" * 43
FORM = make_form_token(NONCE_VALUE, TOKEN)
COOKIES = f"{SESSION}={TOKEN}; {NONCE}={NONCE_VALUE}"
FILLED = {"case": CASE, "approval": APPROVAL, "batch": "east-20261122-001", "item": "8.1.1.1.a",
          "name": "20261122T153501Z-0123abcd"}  # fmt: skip
PAGES = [
    "/", "/drills", "/drills/runbooks/site-loss", "/backups", "/deployments", "/reviews",
    f"/reviews/cases/{CASE}", "/approvals", "/trail", "/keys", "/level3", "/customers", "/board", "/filings",
    "/filings/batches/east-20261122-001",
]  # fmt: skip
POSTS = [
    route.path.format(**FILLED)
    for route in (*CUSTOMERS, *JOBS, *READINGS, *REVIEWS)
    if isinstance(route, Route) and "POST" in (route.methods or ())
]


@dataclass
class Asker:
    """The core as far as a console asks it, for one account; notes what it was asked to do."""

    roles: tuple[str, ...]
    asked: list[tuple[str, str, Any, Mapping[str, str]]] = field(default_factory=list)
    refuses: tuple[int, Any] | None = None

    async def __call__(
        self, method: str, path: str, address: str, *, token: str = "", body: object = None,
        more: Mapping[str, str] | None = None,
    ) -> tuple[int, Any] | None:  # fmt: skip
        if path in ("/v1/staff/me", "/v1/staff/standing"):
            who = {"staff": "wang.fang", "branch": "head", "roles": list(self.roles), "scope": "full"}
            self.asked.append((method, path, None, {}))
            return 200, who
        self.asked.append((method, path, body, more or {}))
        return self.refuses or (200, ANSWERS[method, path.partition("?")[0]])


@dataclass
class Browser:
    """Asks a console for pages; `asker` is its core."""

    app: Any
    asker: Asker
    readings: Readings

    async def ask(
        self, method: str, path: str, fields: Mapping[str, str] | None = None, language: str = "en",
        cookies: str = COOKIES,
    ) -> tuple[int, dict[str, str], str]:  # fmt: skip
        path, _, query = path.partition("?")
        body = urlencode(fields or {}).encode()
        headers = [(b"host", b"127.0.0.1"), (b"cookie", f"{cookies}; __Host-biyi-lang={language}".encode())]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "scheme": "https",
            "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        sent: list[Message] = []

        whole = asyncio.Event()  # a stream asks for more, and hears nothing while its browser listens

        async def receive() -> Message:
            if whole.is_set():
                await asyncio.Event().wait()
            whole.set()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], got, b"".join(one.get("body", b"") for one in sent[1:]).decode()

    async def post(self, path: str, **fields: str) -> tuple[int, dict[str, str], str]:
        return await self.ask("POST", path, {"form": FORM, **fields})


@contextlib.asynccontextmanager
async def browsing(
    home: Path, *roles: str, run: Any = say, asker: Asker | None = None
) -> AsyncIterator[Browser]:
    """Yield a browser whose user has these roles, or whose core is `asker`."""
    asker = asker or Asker(roles)
    readings = Readings(run, read_now)
    jobs = Jobs(home, "idc", read_now, lambda: "0123abcd")
    watch = Watch(SETTINGS, silence, read_now)
    entrance = Entrance(asker, time.monotonic)
    console = Console("idc", Pages("idc"), watch, entrance, readings, jobs, home / "evidence", home, read_now)
    async with readings.running():
        yield Browser(make_app(console), asker, readings)


async def read_fully(browser: Browser, path: str, language: str = "en") -> str:
    """Return a page once its readings were read; the time limit of the test is the judge."""
    while True:
        status, _, text = await browser.ask("GET", path, language=language)
        assert status == 200, (path, text)
        if "being read now" not in text and "正在读取" not in text:
            return text
        await asyncio.sleep(0)


@pytest.mark.parametrize("role", list(Role))
async def test_a_page_is_for_its_roles_and_nobody_else(role: Role, tmp_path: Path):
    async with browsing(tmp_path, str(role)) as browser:
        for path in PAGES:
            status, headers, text = await browser.ask("GET", path)
            if may_open(path, [role]):
                assert status == 200, (path, text[-2000:])
            elif path == "/":
                assert status == 303
                assert may_open(headers["location"], [role])
            else:
                assert (status, "may open this page" in text) == (403, True), path
        data = [path for _, path, _, _ in browser.asker.asked if not path.endswith(("/me", "/standing"))]
        assert all(may_open("/reviews", [role]) or may_open("/approvals", [role]) for _ in data)


@pytest.mark.parametrize("role", list(Role))
async def test_the_navigation_leads_only_where_one_may_go(role: Role, tmp_path: Path):
    async with browsing(tmp_path, str(role)) as browser:
        path = next(one.path for one in SECTIONS if role in one.roles)
        _, _, text = await browser.ask("GET", path)
        nav = re.search(r"<nav.*?</nav>", text, re.DOTALL)
        assert nav is not None
        links = re.findall(r'href="([^"]+)"', nav[0])
        assert links == [one.path for one in SECTIONS if role in one.roles]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("path", PAGES)
async def test_a_page_shows_what_was_read(path: str, language: str, tmp_path: Path):
    roles = [str(role) for role in Role if may_open(path, [role])]
    async with browsing(tmp_path, *roles) as browser:
        text = await read_fully(browser, path, language)
    assert "Undefined" not in text
    assert f'lang="{"zh-CN" if language == "zh" else "en"}"' in text


@pytest.mark.parametrize("path", POSTS)
async def test_a_form_without_its_token_reaches_nobody(path: str, tmp_path: Path):
    async with browsing(tmp_path, *map(str, Role)) as browser:
        status, _, text = await browser.ask("POST", path, {"form": "0" * 64, "purpose": "complaint"})
        assert (status, "was not sent from this page" in text) == (403, True)
        assert browser.asker.asked == []


@pytest.mark.parametrize("path", POSTS)
async def test_a_form_of_somebody_who_may_not_open_its_page_does_nothing(path: str, tmp_path: Path):
    others = [str(role) for role in Role if not may_open(path, [role])]
    async with browsing(tmp_path, *others) as browser:
        assert (await browser.post(path, purpose="complaint"))[0] == 403
        assert {asked for _, asked, _, _ in browser.asker.asked} <= {"/v1/staff/me", "/v1/staff/standing"}
    assert not (tmp_path / "console").exists()


async def test_a_customer_is_masked_until_a_clear_look(tmp_path: Path):
    async with browsing(tmp_path, "service") as browser:
        look = {"subject": "customer", "subject_id": CUSTOMER, "purpose": "complaint", "case_id": "TS-1"}
        for path, fields in (
            ("/customers/search", {"by": "phone", "value": CLEAR["phone"], "purpose": "complaint"}),
            ("/customers/look", look),
        ):
            status, headers, text = await browser.post(path, **fields)
            assert status == 200
            assert headers["cache-control"] == "no-store"
            assert "138****8000" in text
            assert "in clear</span>" not in text
            assert not any(value in text for value in CLEAR.values()), "nor what was looked for"
        clear = {"customer_id": CUSTOMER, "field_phone": "1", "purpose": "complaint"}
        _, _, text = await browser.post("/customers/clear", **clear)
        assert CLEAR["phone"] in text
        assert "in clear</span>" in text
        method, path, body, more = browser.asker.asked[-1]
        assert (method, path) == ("POST", f"/v1/staff/customers/{CUSTOMER}/unmaskings")
        assert body == {"purpose": "complaint", "fields": ["phone"]}
        assert more == {}


async def test_how_long_a_look_was_shown_is_told_without_using_the_session(tmp_path: Path):
    async with browsing(tmp_path, "service") as browser:
        assert (await browser.post("/customers/beats", looks=LOOK, dwell_ms="8200"))[0] == 204
        assert (await browser.post("/customers/ends", looks=LOOK, dwell_ms="9000"))[0] == 204
        paths = [path for _, path, _, _ in browser.asker.asked]
        assert paths == ["/v1/staff/standing", "/v1/staff/heartbeats",
                         "/v1/staff/standing", f"/v1/staff/looks/{LOOK}/end"]  # fmt: skip
        for looks, dwell in (("x", "1"), (LOOK, "-1"), (f"{LOOK}/../x", "1")):
            assert (await browser.post("/customers/ends", looks=looks, dwell_ms=dwell))[0] == 404


async def test_what_the_core_refuses_is_said_in_its_words(tmp_path: Path):
    async with browsing(tmp_path, "service", "security_admin") as browser:
        browser.asker.refuses = 403, {"detail": "It takes two people: x."}
        _, _, text = await browser.post(f"/reviews/cases/{CASE}/acts", kind="confirm")
        assert "It takes two people: x." in text
        status, _, text = await browser.post("/customers/look", subject="customer", subject_id=CUSTOMER)
        assert (status, "It takes two people: x." in text) == (403, True)
        browser.asker.refuses = 401, {}
        status, headers, _ = await browser.ask("GET", "/reviews")
        assert (status, f"{SESSION}=;" in headers["set-cookie"]) == (401, True)
        browser.asker.refuses = 503, {}
        assert (await browser.ask("GET", "/reviews"))[0] == 503


async def test_a_disposition_is_sent_once_however_often_the_button_is_pressed(tmp_path: Path):
    async with browsing(tmp_path, "audit_admin") as browser:
        fields = {"kind": "propose", "disposition": "explained", "family": "volume", "until": "2026-12-01"}
        for _ in range(2):
            status, _, _ = await browser.post(f"/reviews/cases/{CASE}/acts", key="ab" * 16, **fields)
            assert status == 303
        sent = [(body, more) for method, _, body, more in browser.asker.asked if method == "POST"]
        assert sent == [(fields, {"Idempotency-Key": "ab" * 16})] * 2


async def test_a_name_is_shown_with_an_approval_only(tmp_path: Path):
    async with browsing(tmp_path, "audit_admin") as browser:
        _, _, text = await browser.ask("GET", f"/reviews/cases/{CASE}")
        assert "li.wei" not in text
        assert (await browser.post(f"/reviews/cases/{CASE}/name", approval="x"))[0] == 404
        _, _, text = await browser.post(f"/reviews/cases/{CASE}/name", approval=APPROVAL, key="cd" * 16)
        assert "<b>li.wei</b>" in text
        more = next(more for _, path, _, more in browser.asker.asked if path.endswith("/unmaskings"))
        assert more == {"Idempotency-Key": "cd" * 16, "Biyi-Approval": APPROVAL}


async def test_what_is_searched_for_is_no_option_of_the_command(tmp_path: Path):
    heard: list[Any] = []

    async def hear(commands: Any) -> Any:
        heard.extend(commands)
        return await say(commands)

    async with browsing(tmp_path, "audit_admin", run=hear) as browser:
        await read_fully(browser, "/trail?text=--json&actor=--limit&what=")
    assert ("audit", "search", "--json", "--limit=100", "--actor=--limit", "--", "--json") in heard


async def test_the_board_has_its_figures_and_alerts(tmp_path: Path):
    async with browsing(tmp_path, "supervisor") as browser:
        text = await read_fully(browser, "/board")
    assert text.count('<th scope="row">') >= 20
    alarms = re.findall(r'<li class="(\w+)">', text)
    assert alarms == sorted(alarms)
    assert {"bad", "odd"} == set(alarms)


async def test_no_evidence_pack_is_said_and_an_unknown_item_is_missing(tmp_path: Path):
    async with browsing(tmp_path, "security_admin") as browser:
        assert "no evidence pack yet" in await read_fully(browser, "/level3")
        assert (await browser.ask("GET", "/level3/items/8.1.1.1.a"))[0] == 404


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"drill": "site-loss", "site": "witness"}, 404), ({"drill": "rm"}, 404), ({"drill": "site-loss"}, 404)],
)
async def test_a_drill_is_planned_only_as_the_catalogue_has_it(
    fields: dict[str, str], status: int, tmp_path: Path
):
    async with browsing(tmp_path, "system_admin") as browser:
        assert (await browser.post("/drills/plans", **fields))[0] == status
    assert not (tmp_path / "console").exists()
