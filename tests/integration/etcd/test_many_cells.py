"""Hundreds of cells whose grants change in the same second; on a real etcd."""

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp

from replication.etcd import SWAPS_AT_ONCE, Etcd, Outcome
from replication.failover.view import SiteView
from replication.grants import GRANTS, PREFIX
from replication.model import CopyId, Grant, Mode, Site
from replication.settings import FailoverSettings
from tests.integration.etcd.members import Member, until_it_serves
from tests.unit.replication.test_observe import SETTINGS

CHANGES = 1500
TICK_SECONDS = 4.0
SLOW = FailoverSettings(
    tick_ms=int(1000 * TICK_SECONDS), silence_ms=10_000, peer_promise_ms=20_000, degrade_after_ms=20_000,
    fence_after_ms=30_000, watchdog_after_ms=60_000,
)  # fmt: skip


def grant_of(cell: str, epoch: int = 1) -> Grant:
    return Grant(cell, epoch, CopyId(cell, Site.IDC, 0, "0"), frozenset(), Mode.ALONE)


async def test_changes_of_many_grants_keep_no_look_waiting(member: Member):
    """Counted in changes that end during one look, not in seconds: this machine's disk may pause for any."""
    async with Etcd([member.url], attempt_seconds=30.0) as etcd:
        await until_it_serves(etcd)
        swaps = [
            asyncio.create_task(etcd.swap(f"{GRANTS}c{number}", grant_of(f"c{number}").to_json(), 0))
            for number in range(CHANGES)
        ]
        ended, during_looks = 0, []
        while ended < CHANGES:
            await etcd.read_prefix(PREFIX + "hold")
            before, ended = ended, sum(swap.done() for swap in swaps)
            during_looks.append(ended - before)
        assert {await swap for swap in swaps} == {Outcome.DONE}
        assert statistics.median(during_looks) < 2 * SWAPS_AT_ONCE


@contextlib.asynccontextmanager
async def running_view(etcd: Etcd, home: Path) -> AsyncIterator[SiteView]:
    """A site's view between two looks that are everybody's: the next one is TICK_SECONDS away."""
    nobody = {Site.CLOUD: "http://127.0.0.1:1"}
    settings = replace(SETTINGS, home_dir=home, failover=SLOW, agent_urls=nobody)
    async with aiohttp.ClientSession() as session:
        view = SiteView(settings, etcd, session)
        running = asyncio.create_task(view.run())
        first = await view.next_look(0, "a")
        await view.next_look(first)  # the one that the watch of grants asks for when it begins
        try:
            yield view
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def test_a_look_asked_for_by_a_cell_is_that_cells_and_not_everybodys(member: Member, tmp_path: Path):
    async with Etcd([member.url]) as etcd:
        await until_it_serves(etcd)
        for cell in "abc":
            await etcd.put(GRANTS + cell, grant_of(cell).to_json())
        async with running_view(etcd, tmp_path) as view:
            begun, seen = asyncio.get_running_loop().time(), view.looks
            waiting = {cell: asyncio.create_task(view.next_look(view.started, cell)) for cell in "abc"}
            await asyncio.sleep(0)
            view.nudge("a")
            await waiting["a"]
            await etcd.put(GRANTS + "b", grant_of("b", 2).to_json())
            await waiting["b"]
            assert view.looks >= seen + 2
            assert not waiting["c"].done()
            assert asyncio.get_running_loop().time() - begun < TICK_SECONDS
            await waiting["c"]
            assert asyncio.get_running_loop().time() - begun > TICK_SECONDS / 2
