"""Entries of the audit trail are found by what they say, who did it and since when, sealed or not."""

import datetime as dt
from typing import Any

from runbooks.audit_search import Search, search_cell
from tests.integration.core_app.lending import make_person
from tests.integration.core_app.test_audit import connect, notaries, seal_all

__all__ = ["notaries"]


async def search(cells: Any, wanted: Search) -> list[dict[str, Any]]:
    found = []
    for cell in ("a", "b"):
        async with connect(cells, cell) as connection:
            entries, looked = await search_cell(connection, wanted)
            assert looked >= len(entries)
            found += entries
    return found


async def test_an_entry_is_found_by_what_it_says(client: Any, cells: Any, notaries: Any) -> None:
    ids = [(await client.post("/v1/customers", make_person()))[1]["customer_id"] for _ in range(2)]
    first = await search(cells, Search(ids[0].upper()))
    assert first
    assert all(ids[0] in str(one["line"]) for one in first)
    assert not await search(cells, Search("no such words 100%"))
    everything = await search(cells, Search(limit=500))
    whats = {one["line"]["what"] for one in everything}
    chosen = sorted(whats)[0]
    assert {one["line"]["what"] for one in await search(cells, Search(what=chosen))} >= {chosen}
    assert await search(cells, Search(what="nothing.")) == []
    assert len(await search(cells, Search(limit=1))) <= 2, "of each cell"
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    assert await search(cells, Search(since=later)) == []
    assert len(await search(cells, Search(since=later - dt.timedelta(days=1), limit=500))) == len(everything)
    actors = {one["line"].get("actor") for one in everything}
    assert {one["line"]["actor"] for one in await search(cells, Search(actor="channel:"))} <= actors - {None}


async def test_what_no_block_holds_yet_is_said(client: Any, cells: Any, notaries: Any) -> None:
    (_, made, _) = await client.post("/v1/customers", make_person())
    assert {one["sealed"] for one in await search(cells, Search(made["customer_id"]))} == {False}
    await seal_all(next(iter(notaries.values())))
    assert {one["sealed"] for one in await search(cells, Search(made["customer_id"]))} == {True}
