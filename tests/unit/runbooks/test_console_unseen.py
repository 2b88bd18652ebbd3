"""Each page says which site its console does not see; what was read before a loss is read anew."""

import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from compliance.access.roles import Role
from replication.model import Site
from runbooks.console.app import make_app
from runbooks.console.entrance import Entrance
from runbooks.console.frame import Console
from runbooks.console.jobs import Jobs
from runbooks.console.pages import Pages, tell_unseen
from runbooks.console.readings import Commands, Readings
from runbooks.console.view import SiteView
from runbooks.console.watch import Watch
from tests.unit.runbooks.console_core import say
from tests.unit.runbooks.test_console_app import SETTINGS
from tests.unit.runbooks.test_console_pages import PAGES, Asker, Browser, read_fully
from tests.unit.runbooks.test_console_view import status

EVERYBODY = tuple(map(str, Role))


class World:
    """Both sites' agents as the console hears them, its clock, and which commands it had run."""

    def __init__(self) -> None:
        self.silent: set[Site] = set()
        self.now = dt.datetime(2026, 11, 22, 16, 31, 7, tzinfo=dt.UTC)
        self.ran: list[tuple[str, ...]] = []

    async def ask(self, site: Site) -> Mapping[str, Any] | None:
        return None if site in self.silent else status(str(site))

    async def run(self, commands: Commands) -> Any:
        self.ran += commands
        return await say(commands)

    def lose(self, site: Site, watch: Watch) -> None:
        """A site falls silent for longer than an answer is shown."""
        self.silent.add(site)
        heard, at, at_s, took_ms = watch._heard[site]
        watch._heard[site] = heard, at, at_s - 10.0, took_ms
        self.now += dt.timedelta(seconds=10)


@contextlib.asynccontextmanager
async def browsing(home: Path, world: World) -> AsyncIterator[tuple[Browser, Watch]]:
    """Yield a browser of somebody with every role."""
    asker = Asker(EVERYBODY)
    readings = Readings(world.run, lambda: world.now)
    jobs = Jobs(home, "idc", lambda: world.now, lambda: "0123abcd")
    watch = Watch(SETTINGS, world.ask, lambda: world.now)
    entrance = Entrance(asker, time.monotonic)
    console = Console(
        "idc", Pages("idc"), watch, entrance, readings, jobs, home / "evidence", home, lambda: world.now
    )
    async with readings.running():
        yield Browser(make_app(console), asker, readings), watch


@pytest.mark.parametrize("path", [path for path in PAGES if path != "/"])
async def test_every_page_says_which_site_is_not_seen_and_since_when(path: str, tmp_path: Path):
    world = World()
    async with browsing(tmp_path, world) as (browser, watch):
        _, _, text = await browser.ask("GET", path)
        assert "not seen since" not in text
        world.lose(Site.CLOUD, watch)
        for language, said in (("en", "not seen since 00:31:07"), ("zh", "自 00:31:07 起看不到")):
            _, _, text = await browser.ask("GET", path, language=language)
            assert f'<p class="notice bad"><b>cloud</b> {said}' in text
            assert '<p class="notice bad"><b>idc</b>' not in text


async def test_an_open_page_is_told_only_what_changed(tmp_path: Path):
    world = World()
    async with browsing(tmp_path, world) as (browser, watch):
        status, headers, text = await browser.ask("GET", "/sites-seen?told=")
        assert (status, headers["biyi-read-at"], text) == (204, "00:31:07", "")
        world.lose(Site.CLOUD, watch)
        status, headers, text = await browser.ask("GET", "/sites-seen?told=")
        assert (status, headers["biyi-read-at"]) == (200, "00:31:17")
        assert 'hx-get="/sites-seen?told=cloud"' in text
        assert (await browser.ask("GET", "/sites-seen?told=cloud"))[0] == 204
        assert (await browser.ask("GET", "/sites-seen?told=cloud%2Bidc"))[0] == 200


async def test_what_was_read_before_a_loss_is_read_anew_once(tmp_path: Path):
    world = World()
    async with browsing(tmp_path, world) as (browser, watch):
        await read_fully(browser, "/keys")
        await read_fully(browser, "/keys")
        assert len(world.ran) == 1, "a young reading is shown again"
        world.lose(Site.CLOUD, watch)
        _, _, text = await browser.ask("GET", "/keys")
        assert "being read now" in text
        text = await read_fully(browser, "/keys")
        assert "Read at 2026-11-23 00:31:17" in text
        world.now += dt.timedelta(seconds=5)
        await read_fully(browser, "/keys")
        assert len(world.ran) == 2


def test_which_sites_are_not_seen_is_told_in_one_order():
    views = [SiteView(site, "not_seen", World().now, None, None, None) for site in ("idc", "cloud")]
    assert tell_unseen(views) == tell_unseen(views[::-1]) == "cloud+idc"
    assert tell_unseen([]) == ""
