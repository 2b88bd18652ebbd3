"""A primary cut off from everybody: its sessions die, and its own files show that it acknowledged nothing."""

import asyncio
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
import pytest

from replication.model import Site
from replication.postgres.copy import Copy
from replication.postgres.processes import processes_of
from replication.settings import SiteSettings
from runbooks.stand.home import UpOptions
from runbooks.stand.links import LinkMode, LinkState, links_of_site
from runbooks.stand.sites import heal_site, set_links
from runbooks.stand.up import down, up
from tests.integration.failover.injectors import server_process
from tests.integration.failover.town import find_lost, is_healthy, settings_of, wait_for_grants, writing

COMMIT = re.compile(r"desc: COMMIT (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("isolated")
    try:
        asyncio.run(up(made, UpOptions(backups=False, patience_s=300)))
        yield made
    finally:
        down(made)


def connect_to(settings: SiteSettings, place: str) -> psycopg.Connection:
    at = settings.place(place)
    return psycopg.connect(
        host=at.host, port=at.port, user="biyi_admin", dbname="biyi", passfile=str(settings.passfile),
        autocommit=True,
    )  # fmt: skip


class LocalWriter(threading.Thread):
    """A client inside the isolated site, straight at its primary: what it was told stays with it."""

    def __init__(self, settings: SiteSettings) -> None:
        super().__init__()
        self._settings = settings
        self.acknowledged: list[int] = []
        self.ended: psycopg.Error | None = None

    def run(self) -> None:
        connection = connect_to(self._settings, "a-idc-0")
        try:
            for number in range(1_000_000):
                connection.execute("insert into isolated values (%s)", (number,))
                self.acknowledged.append(number)
        except psycopg.Error as error:
            self.ended = error
        finally:
            connection.close()


def read_commits(copy: Copy) -> list[datetime]:
    """Return when each commit in a stopped directory's WAL was made, by its own records."""
    waldump = str(copy.pg_bin / "pg_waldump")
    commits = []
    for segment in sorted((copy.data_dir / "pg_wal").glob("0000*[0-9A-F]")):
        done = subprocess.run(
            [waldump, "--rmgr=Transaction", str(segment)],
            capture_output=True, text=True, env={"TZ": "UTC", "LC_ALL": "C"},
        )  # fmt: skip
        commits += [
            datetime.fromisoformat(found).replace(tzinfo=UTC) for found in COMMIT.findall(done.stdout)
        ]
    return commits


def read_fence(home: Path) -> tuple[datetime, int]:
    """Return when the isolated primary was fenced, and how old its grant was when that was decided."""
    lines = (home / "idc" / "journal" / "a-idc-0.jsonl").read_text().splitlines()
    entries = list(map(json.loads, lines))
    decided = [e for e in entries if (e.get("decision"), e.get("why")) == ("stop_hard", "grant_unconfirmed")]
    fenced = [e for e in entries if e.get("stage") == "fenced"]
    return datetime.fromisoformat(fenced[-1]["at"]), int(decided[-1]["seen"]["confirmed_age_ms"])


async def test_an_isolated_primary_ends_its_sessions_and_acknowledges_nothing_new(home: Path):
    settings = settings_of(home, Site.IDC)
    copy = Copy.of_place(settings, settings.place("a-idc-0"))
    before = await wait_for_grants(home, is_healthy)
    with connect_to(settings, "a-idc-0") as connection:
        connection.execute("create table isolated (number int primary key)")
    writer = LocalWriter(settings)
    async with writing(home) as writers:
        await writers.write_on({"a"})
        writer.start()
        postmaster = server_process(copy, "postmaster")
        set_links(home, dict.fromkeys(links_of_site(Site.IDC), LinkState(LinkMode.HOLE)))
        try:
            taken = await wait_for_grants(
                home, lambda grants: grants["a"].epoch > before["a"].epoch and not grants["a"].candidate
            )
            assert taken["a"].primary.site is Site.CLOUD
            gone, _ = await asyncio.to_thread(psutil.wait_procs, [postmaster], 60)
            assert gone
            await asyncio.to_thread(writer.join, 60)
            assert processes_of(copy) == []
            fenced_at, confirmed_age_ms = read_fence(home)
            commits = await asyncio.to_thread(read_commits, copy)
        finally:
            heal_site(home, Site.IDC)
        await wait_for_grants(home, is_healthy)
    assert isinstance(writer.ended, psycopg.OperationalError)
    # Margin: a loaded machine may be late with a tick, not with several seconds of them.
    limit_ms = settings.failover.fence_after_ms
    assert limit_ms <= confirmed_age_ms < limit_ms + 4000
    assert commits
    assert max(commits) <= fenced_at
    with connect_to(settings, "a-idc-0") as connection:
        kept = {row[0] for row in connection.execute("select number from isolated")}
    assert set(writer.acknowledged) <= kept
    assert await find_lost(home, writers) == set()
