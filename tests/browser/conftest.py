"""The stand, the browser, its users; with $BIYI_PICTURES a folder, also pictures of what it shows."""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ROOT = Path(__file__).parents[2]
PYTHON = str(ROOT / ".venv" / "bin" / "python")
UP_SECONDS, DOWN_SECONDS = 2400, 240
STEP_SECONDS = 30
ANSWERS = re.compile(
    r"Failed to load resource|Response Status Error Code \d+ from |htmx:(\w+Error|afterRequest)"
    r"|\[object Event\]"
)
"""What browser and htmx note of an answer that is a refusal, or of none, as from a console that was killed
with its site: the tests judge by themselves what the page makes of it. A failing script is no such thing."""


def scene(*words: str, seconds: float = DOWN_SECONDS) -> str:
    """Run the stand's side of the tests with the project's own interpreter; return what it printed."""
    command = [PYTHON, "-m", "tests.browser.scene", *words]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=seconds, check=True)
    return done.stdout


@dataclass
class Console:
    """A stand with its consoles, and one signed-in context for each person, made when first asked for."""

    made: dict[str, Any]
    browser: Browser
    contexts: dict[str, BrowserContext]
    steps: dict[str, int]
    complaints: list[str]

    def url(self, site: str = "cloud") -> str:
        return str(self.made["urls"][site])

    def code(self, staff: str) -> str:
        """Return a code that was not used: a step ahead of the clock at most, so waits for it."""
        step = max(self.steps.get(staff, 0) + 1, int(time.time()) // STEP_SECONDS)
        while step > int(time.time()) // STEP_SECONDS + 1:
            time.sleep(0.5)
        self.steps[staff] = step
        secret = bytes.fromhex(self.made["secrets"][staff])
        return pyotp.TOTP(base64.b32encode(secret).decode()).at(step * STEP_SECONDS)

    def page_of(self, staff: str, **options: Any) -> Page:
        """Return a new page of somebody who is signed in; `options` are of a context of its own."""
        if staff not in self.contexts:
            self.contexts[staff] = self._context()
            self.sign_in(self._page(self.contexts[staff]), staff)
        context = self.contexts[staff]
        if options:
            context = self._context(storage_state=context.storage_state(), **options)
        return self._page(context)

    def sign_in(self, page: Page, staff: str, site: str = "cloud") -> None:
        self.fill_in(page, staff, self.made["password"], self.code(staff), site)
        page.wait_for_selector("nav")

    def fill_in(self, page: Page, staff: str, password: str, code: str = "", site: str = "cloud") -> None:
        """Send the sign-in form."""
        page.goto(self.url(site) + "/sign-in")
        page.fill("#staff", staff)
        page.fill("#password", password)
        page.fill("#code", code)
        page.keyboard.press("Enter")

    def stranger(self) -> Page:
        return self._page(self._context())

    def _context(self, **options: Any) -> BrowserContext:
        how = {"ignore_https_errors": True, "locale": "en-US", "viewport": {"width": 1280, "height": 980}}
        return self.browser.new_context(**(how | options))

    def _page(self, context: BrowserContext) -> Page:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("console", lambda said: said.type == "error" and self._note(page, said.text))
        return page

    def _note(self, page: Page, text: str) -> None:
        if not ANSWERS.search(text) and text not in self.complaints:
            self.complaints.append(f"{page.url}: {text}")


@pytest.fixture(scope="session")
def console() -> Iterator[Console]:
    home = Path(tempfile.mkdtemp(prefix="biyi-browser-"))
    rich = ["--rich"] if os.environ.get("BIYI_PICTURES") else []
    try:
        made = json.loads(scene("up", str(home), *rich, seconds=UP_SECONDS))
        with sync_playwright() as playwright:
            own = os.environ.get("BIYI_CHROMIUM") or None
            # Without --no-sandbox Chromium does not start as root, as tests in containers are.
            flags = ["--no-sandbox"] if os.geteuid() == 0 else []
            with playwright.chromium.launch(executable_path=own, args=flags) as browser:
                yield Console(made, browser, {}, {}, [])
    finally:
        subprocess.run([PYTHON, "-m", "tests.browser.scene", "down", str(home)], cwd=ROOT, check=False)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def _pages_closed(console: Console) -> Iterator[None]:
    """Close what a test opened: an open page keeps asking, and its readings would be read anew for nobody."""
    yield
    for context in console.browser.contexts:
        for page in context.pages:
            page.close()


def take_picture(page: Page, name: str, *, whole: bool = False) -> None:
    """Leave a picture where $BIYI_PICTURES says; nothing without it."""
    folder = os.environ.get("BIYI_PICTURES")
    if folder:
        page.wait_for_timeout(600)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=whole)


def keep_figures(name: str, found: dict[str, float]) -> None:
    """Leave measured figures beside the pictures; nothing without $BIYI_PICTURES."""
    folder = os.environ.get("BIYI_PICTURES")
    if folder:
        (Path(folder) / f"{name}.json").write_text(json.dumps(found, indent=1))
