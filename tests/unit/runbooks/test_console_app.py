"""The application without its core: who is not let in, what goes with every answer, one reader for all."""

import asyncio
import contextlib
import datetime as dt
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.types import Message

from replication.model import Site
from runbooks.console.app import make_app
from runbooks.console.drill_pages import read_book, read_drills, read_run
from runbooks.console.entrance import Entrance, asking
from runbooks.console.forms import HEADERS, NONCE, SESSION
from runbooks.console.frame import Console
from runbooks.console.jobs import Jobs
from runbooks.console.live import PARTS, LiveAnswer, LiveParts, changed_events
from runbooks.console.pages import Pages
from runbooks.console.readings import Readings, running_commands
from runbooks.console.view import Platform
from runbooks.console.watch import LOOK_SECONDS, Watch
from runbooks.drills.catalogue import DRILLS
from runbooks.stand.topology import site_settings
from tests.unit.runbooks.test_console_view import BOTH, IDC_GONE, status
from tests.unit.stand.making import a_stand

SETTINGS = site_settings(a_stand(), Site.IDC)
TOKEN = "s1." + "a" * 43
PAGES = ("/", "/drills", "/drills/runbooks/site-loss", "/drills/runs/20261123T001821Z-site-loss-idc")


def read_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def silence(_site: Site) -> None:
    return None


@contextlib.asynccontextmanager
async def made(evidence: Path, pages: Any = None) -> AsyncIterator[Any]:
    """Yield a function that asks a console whose core does not answer: status, headers, text."""
    async with aiohttp.ClientSession() as session:
        # Nobody listens at port 9 (discard) of this machine.
        entrance = Entrance(asking(session, "http://127.0.0.1:9", True, "console-idc"), time.monotonic)
        watch = Watch(SETTINGS, silence, read_now)
        readings = Readings(running_commands(evidence, "idc"), read_now)
        jobs = Jobs(evidence, "idc", read_now, lambda: "0" * 8)
        shown = pages or Pages("idc")
        app = make_app(Console("idc", shown, watch, entrance, readings, jobs, evidence, evidence, read_now))

        async def ask(
            method: str, path: str, cookies: str = "", body: bytes = b"", **headers: str
        ) -> tuple[int, list[tuple[str, str]], str]:
            sent: list[Message] = []
            given = [(b"host", b"127.0.0.1"), (b"cookie", cookies.encode())]
            given += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
            scope = {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
                "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
                "scheme": "https", "headers": given, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
            }  # fmt: skip
            asked = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def receive() -> Message:
                for message in asked:
                    return message
                await asyncio.Event().wait()  # the browser stays
                raise AssertionError

            async def send(message: Message) -> None:
                sent.append(message)

            with contextlib.suppress(AttributeError):  # a defect is told to the server too
                await app(scope, receive, send)
            got = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
            text = b"".join(message.get("body", b"") for message in sent[1:]).decode()
            return sent[0]["status"], got, text

        yield ask


@pytest.mark.parametrize(
    "path", [*PAGES, "/sign-in", "/live", "/healthz", "/no/such", "/static/console.css", "/static/../app.py"]
)
async def test_every_answer_is_armoured(path: str, tmp_path: Path):
    async with made(tmp_path) as ask:
        _, headers, _ = await ask("GET", path)
    names = dict(headers)
    for name in HEADERS:
        assert name in names, (path, name)
    assert names["content-security-policy"] == HEADERS["content-security-policy"]


async def test_a_defect_is_armoured_too_and_tells_nothing(tmp_path: Path):
    async with made(tmp_path, pages=object()) as ask:
        status_code, headers, text = await ask("GET", "/sign-in")
    assert status_code == 500
    assert dict(headers)["content-security-policy"] == HEADERS["content-security-policy"]
    assert "render" not in text


@pytest.mark.parametrize("path", PAGES)
async def test_who_is_not_signed_in_gets_the_form_and_nothing_else(path: str, tmp_path: Path):
    async with made(tmp_path) as ask:
        for cookies in ("", f"{SESSION}=s1.short", "biyi=" + TOKEN):
            status_code, headers, text = await ask("GET", path, cookies)
            assert (status_code, dict(headers)["location"], text) == (303, "/sign-in", "")


@pytest.mark.parametrize("path", PAGES)
async def test_a_token_that_the_core_cannot_check_opens_nothing(path: str, tmp_path: Path):
    async with made(tmp_path) as ask:
        status_code, _, text = await ask("GET", path, f"{SESSION}={TOKEN}")
    assert status_code == 503
    assert "cannot check accounts now" in text
    assert "cells-title" not in text


async def test_the_live_stream_tells_a_stranger_only_that_it_is_over(tmp_path: Path):
    async with made(tmp_path) as ask:
        for cookies in ("", f"{SESSION}={TOKEN}"):
            status_code, _, text = await ask("GET", "/live", cookies)
            assert status_code == 200
            assert re.findall(r"^event: (\w+)", text, re.MULTILINE) == ["over"]


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/language"])
async def test_a_post_without_the_forms_token_does_nothing(path: str, tmp_path: Path):
    async with made(tmp_path) as ask:
        for cookies in ("", f"{NONCE}={'n' * 43}", f"{SESSION}={TOKEN}; {NONCE}={'n' * 43}"):
            status_code, headers, text = await ask("POST", path, cookies, b"form=x&staff=a&password=b")
            assert status_code == 403
            assert not [value for name, value in headers if name == "set-cookie" and SESSION + "=" in value]
            assert "was not sent from this page" in text


async def test_a_form_is_taken_with_its_token_and_only_from_here(tmp_path: Path):
    async with made(tmp_path) as ask:
        _, headers, text = await ask("GET", "/sign-in")
        cookie = dict(headers)["set-cookie"].split(";")[0]
        token = re.search(r'name="form" value="([0-9a-f]{64})"', text)
        assert token is not None
        body = f"form={token[1]}&language=zh&back=//evil.example".encode()
        status_code, headers, _ = await ask("POST", "/language", cookie, body, sec_fetch_site="same-origin")
        assert (status_code, dict(headers)["location"]) == (303, "/")
        assert "__Host-biyi-lang=zh; Path=/; Secure; HttpOnly; SameSite=Strict" in dict(headers)["set-cookie"]
        assert (await ask("POST", "/language", cookie, body, sec_fetch_site="cross-site"))[0] == 403
        sign_in = f"form={token[1]}&staff=an.bo&password=x&code=".encode()
        status_code, _, text = await ask("POST", "/sign-in", cookie, sign_in)
        assert status_code == 503  # taken, and its core does not answer
        assert 'value="an.bo"' in text
        assert 'value="x"' not in text


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path):
    async with made(tmp_path) as ask:
        assert (await ask("POST", "/sign-in", "", b"a=" + b"x" * 5000))[0] == 413


@pytest.mark.parametrize("folder", ["..", "../../etc", "20261123T001821Z-..", "x", "20261123T001821Z-a/b"])
def test_a_run_is_found_by_its_name_only(folder: str, tmp_path: Path):
    (tmp_path / "secret.html").write_text("x")
    assert read_run(tmp_path / "evidence", folder) is None


def test_without_evidence_every_drill_is_overdue_and_has_a_runbook(tmp_path: Path):
    values = read_drills(tmp_path, read_now())
    assert {due.drill for due in values["schedule"]} == set(DRILLS)
    assert all(due.overdue for due in values["schedule"])
    assert all(read_book(name) for name in DRILLS)
    assert read_book("no-such") is None


def test_only_what_changed_is_sent():
    sent: dict[str, str] = {}
    parts = LiveParts(Pages("idc"))

    def names(platform: Platform) -> list[str]:
        events = changed_events(parts.texts("en", platform), sent)
        return [event.split("\n")[0].removeprefix("event: ") for event in events]

    assert names(BOTH) == ["beat", "alarms", "sites", "cells", "copies"]
    assert names(BOTH) == ["beat"]
    assert "sites" in names(IDC_GONE)


class CountedPages(Pages):
    """Counts what it renders."""

    rendered = 0

    def render(self, template: str, language: str, **values: Any) -> str:
        self.rendered += 1
        return super().render(template, language, **values)


async def test_many_browsers_cost_no_more_questions_and_pages_than_one():
    asked = 0
    answered = asyncio.Event()

    async def ask(site: Site) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        answered.set()
        return status(str(site))

    watch, pages = Watch(SETTINGS, ask, read_now), CountedPages("idc")
    parts = LiveParts(pages)
    frames: set[int] = set()
    kept = []

    async def browse() -> None:
        with watch.watched():
            for _ in range(3):
                platform = await watch.wait_for_news()
                kept.append(platform)
                frames.add(id(platform))
                assert parts.texts("en", platform)["cells"]

    begun_s = time.monotonic()
    async with watch.running():
        await answered.wait()
        await asyncio.gather(*(browse() for _ in range(50)))
    elapsed_s = time.monotonic() - begun_s
    assert len(kept) == 150
    assert len(frames) < 15, "most saw the same few pages"
    assert pages.rendered < 15 * (1 + len(PARTS)), "each page was made once, not once a browser"
    assert asked <= 2 * (elapsed_s / LOOK_SECONDS + 3), "two agents are asked once a pause, whoever watches"


async def test_a_site_that_never_answers_holds_nobody_up():
    async def ask(site: Site) -> dict[str, Any] | None:
        if site is Site.CLOUD:
            await asyncio.Event().wait()
        return status("idc")

    watch = Watch(SETTINGS, ask, read_now)
    platform = await watch.look_now()  # the time limit of the test is the judge
    assert [site.state for site in platform.sites] == ["seen", "never_seen"]


async def test_a_late_answer_does_not_replace_a_younger_one():
    gates: list[asyncio.Event] = []

    async def ask(site: Site) -> dict[str, Any] | None:
        if site is Site.CLOUD:
            return None
        gate, silent = asyncio.Event(), () if gates else ("witness",)
        gates.append(gate)
        await gate.wait()
        return status("idc", silent=silent)

    watch = Watch(SETTINGS, ask, read_now)
    async with asyncio.TaskGroup() as looks:
        looks.create_task(watch.look_now())
        looks.create_task(watch.look_now())
        while len(gates) < 2:
            await asyncio.sleep(0)
        gates[1].set()
        await asyncio.sleep(0.01)
        gates[0].set()
    assert watch.platform().witness == "answers"


async def test_a_browser_that_takes_nothing_is_dropped():
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "event: beat\ndata: x\n\n"

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def never(_message: Message) -> None:
        await asyncio.Event().wait()

    answer = LiveAnswer(endless())
    answer.send_seconds = 0.05
    await answer({"type": "http", "asgi": {"spec_version": "2.0"}}, receive, never)
