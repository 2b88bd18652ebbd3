"""After a day-end of all cells the opinion feed is read to its end, once a day, whoever does it."""

import asyncio
import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core_app.servicing.complaint_watch import ComplaintWatch
from core_app.servicing.fake_opinions import FakeOpinionFeed
from core_app.servicing.opinion_check import Checked, OpinionCheck
from core_app.servicing.opinions import Post
from tests.integration.core_app.conftest import TODAY

SEEN = dt.datetime(2026, 1, 15, 9, tzinfo=dt.timezone(dt.timedelta(hours=8)))
NEXT = TODAY + dt.timedelta(days=1)
KEPT = "select on_date, posts, taken, place from core.opinion_checks"


def make_check(core: Any, feed: FakeOpinionFeed) -> OpinionCheck:
    own = replace(core, router=core.router.notices)
    return OpinionCheck(own, ComplaintWatch(own, feed))


def posts(first: int, last: int) -> list[Post]:
    return [Post(n, "heimao", f"17{n:09d}", "fees", SEEN) for n in range(first, last + 1)]


def close(cells: Any, cell: str, day: dt.date) -> None:
    cells.run_sql(
        cells.databases[cell], f"update core.business_date set on_date = '{day + dt.timedelta(days=1)}'"
    )


async def test_a_day_is_checked_once_all_cells_closed_it_and_every_post_is_one_complaint(
    core: Any, cells: Any
) -> None:
    feed = FakeOpinionFeed(posts(1, 250))
    check = make_check(core, feed)
    assert await check.check() is None, "no day-end yet"
    close(cells, "a", TODAY)
    assert await check.check() is None, "cell b is still on the day"
    close(cells, "b", TODAY)
    found = await asyncio.gather(check.check(), make_check(core, feed).check())
    assert sum(one is not None for one in found) == 1, "two sites at once write one check"
    assert await cells.rows("select count(*), count(distinct reference) from core.complaints") == [
        (250, 250),
        (0, 0),
    ]
    ((day, _, _, place),) = await cells.rows(KEPT)
    assert (day, place) == (TODAY, 250)
    feed.posts = posts(1, 251)
    assert await check.check() is None, "the day is checked: the next one takes it, or the watch"
    close(cells, "a", NEXT)
    assert await check.check() is None, "cell b is open on the next day: nothing is checked on its account"
    close(cells, "b", NEXT)
    assert await check.check() == Checked(NEXT, 1, 1)
    assert await check.check() is None
    assert sorted(await cells.rows(KEPT))[1] == (NEXT, 1, 1, 251)


async def test_without_the_feed_the_day_stays_due_and_is_checked_later(core: Any, cells: Any) -> None:
    for cell in ("a", "b"):
        close(cells, cell, TODAY)
    feed = FakeOpinionFeed(posts(1, 2), down=True)
    check = make_check(core, feed)
    with pytest.raises(OSError, match="down"):
        await check.check()
    assert await cells.rows(KEPT) == []
    assert await check.find_due() == TODAY
    feed.down = False
    assert await check.check() == Checked(TODAY, 2, 2)
    nobody = make_check(core, feed)
    nobody.watch.feed = None
    assert await nobody.check() is None


async def test_a_check_that_was_kept_stays_as_it_was(core: Any, cells: Any) -> None:
    for cell in ("a", "b"):
        close(cells, cell, TODAY)
    assert await make_check(core, FakeOpinionFeed()).check() == Checked(TODAY, 0, 0)
    for user in ("biyi_notices", "biyi_owner"):
        dsn = cells.server.dsn(cells.databases["a"], user)
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            with pytest.raises(psycopg.Error):
                await connection.execute("update core.opinion_checks set posts = 9")


async def test_the_fake_feed_reads_posts_from_a_file_and_names_a_bad_line(tmp_path: Path) -> None:
    feed = FakeOpinionFeed(file=tmp_path / "posts.jsonl")
    assert await feed.read(0, 10) == [], "no file yet"
    line = {"site": "heimao", "reference": "17000000001", "about": "fees", "seen_at": SEEN.isoformat()}
    feed.file.write_text(f"{json.dumps(line)}\n{json.dumps(line | {'reference': '2'})}\n", encoding="utf-8")
    assert await feed.read(1, 10) == [Post(2, "heimao", "2", "fees", SEEN)]
    feed.file.write_text("{}\n", encoding="utf-8")
    with pytest.raises(OSError, match=r"posts.jsonl, line 1: no post \(KeyError\)"):
        await feed.read(0, 10)
