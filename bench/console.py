"""The console on a fresh stand: how fast its pages are, how far behind its live view is.

`python -m bench.console [--loads 40] [--moves 10] [--json]` (4 minutes); writes bench/results/console.json.
Every page of the navigation is loaded by somebody who may open it, over TLS, one after the other, each load
with its own question to the core who the user is; first with both sites, then with idc killed. What
pages of commands show was read before, as it is for whoever follows them. Behind: from the first moment at
which an agent says a cell's new epoch (asked every 20 ms) to the moment at which the live stream brings it.
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import click
from rich.console import Console
from rich.table import Table

from bench._stand import fresh_stand, percentile, write_result
from compliance.access.roles import Role
from compliance.access.second_factor import STEP_SECONDS, make_code
from replication.model import Mode, Site
from replication.tls import public_tls
from runbooks.cells import MOVE_SECONDS, ask_agent, site_settings
from runbooks.console.rights import SECTIONS
from runbooks.lending_core import open_portal
from runbooks.stand.certificates import tls_dir
from runbooks.stand.sites import kill_site
from runbooks.stand.topology import read_stand
from tests.browser.scene import PASSWORD, seat

PAGE_P95_SECONDS, BEHIND_SECONDS = 0.3, 1.0
"""What is promised of pages and of the live view. Source: docs/decisions/084, 097."""
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.02
PEOPLE = {"wang.yun": Role.SYSTEM_ADMIN, "wang.shen": Role.AUDIT_ADMIN, "wang.ke": Role.SERVICE}
Sessions = Mapping[str, aiohttp.ClientSession]


def summarise(values: list[float]) -> dict[str, float]:
    """Return median, p95 and maximum of seconds."""
    found = {"p50": percentile(values, 0.5), "p95": percentile(values, 0.95), "max": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def page_owners() -> dict[str, str]:
    """Return who opens each page of the navigation."""
    return {one.path: next(staff for staff, role in PEOPLE.items() if role in one.roles) for one in SECTIONS}


@contextlib.asynccontextmanager
async def signed_in(home: Path) -> AsyncIterator[Sessions]:
    """Yield a browser of each, signed in at the cloud's console."""
    async with open_portal() as portal:
        secrets = await seat(portal, PEOPLE)
    url = f"https://127.0.0.1:{read_stand(home).port(Site.CLOUD, 'console')}"
    async with contextlib.AsyncExitStack() as stack:
        found = {}
        for staff, secret in secrets.items():
            connector = aiohttp.TCPConnector(ssl=public_tls(tls_dir(home, Site.CLOUD)))
            jar = aiohttp.CookieJar(unsafe=True)
            session = aiohttp.ClientSession(url, cookie_jar=jar, connector=connector, trust_env=False)
            found[staff] = await stack.enter_async_context(session)
            async with session.get("/sign-in") as answer:
                form = re.search(r'name="form" value="([0-9a-f]+)"', await answer.text())
            assert form is not None
            code = make_code(secret, int(time.time()) // STEP_SECONDS * STEP_SECONDS)
            fields = {"form": form[1], "staff": staff, "password": PASSWORD, "code": code}
            async with session.post("/sign-in", data=fields, allow_redirects=False) as answer:
                assert answer.status == 303, await answer.text()
        yield found


async def load_pages(sessions: Sessions, loads: int) -> dict[str, dict[str, float]]:
    """Return seconds of each page, loaded `loads` times; waits first until it shows what was read."""
    found = {}
    for path, staff in page_owners().items():
        end = time.monotonic() + PATIENCE_SECONDS
        while "being read now" in (text := await load(sessions[staff], path)) and time.monotonic() < end:
            await asyncio.sleep(0.3)
        assert "being read now" not in text, path
        took = []
        for _ in range(loads):
            begun_s = time.perf_counter()
            await load(sessions[staff], path)
            took.append(time.perf_counter() - begun_s)
        found[path] = summarise(took)
    return found


async def load(session: aiohttp.ClientSession, path: str) -> str:
    """Return a page; tried again while the core cannot say who asks: a takeover."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        async with session.get(path, allow_redirects=False) as answer:
            text = await answer.text()
            if answer.status == 200:
                return text
            assert answer.status == 503, (path, answer.status)
            assert time.monotonic() < end, path
        await asyncio.sleep(0.2)


async def hear(session: aiohttp.ClientSession, wanted: str) -> float:
    """Return the instant (monotonic) at which the live stream says `wanted`."""
    text = ""
    async with asyncio.timeout(PATIENCE_SECONDS), session.get("/live") as stream:
        async for chunk in stream.content.iter_any():
            text += chunk.decode()
            if wanted in text:
                return time.monotonic()
    raise AssertionError(f"the stream ended without {wanted!r}")


async def measure_moves(session: aiohttp.ClientSession, moves: int) -> dict[str, float]:
    """Return how far behind the live view told the new epoch of each of `moves` planned moves."""
    settings, behind = site_settings(), []
    cell, at = next((one.name, one.home) for one in settings[Site.CLOUD].cells)
    for number in range(moves):
        await wait_for_sync(cell)
        epoch = await ask_epoch(cell) + 1
        told = asyncio.create_task(hear(session, f'data-primary="{cell}-{other(at)}-0"'))
        await asyncio.sleep(0.1 * (number % 7))  # nothing in step with the console's own looks
        known = asyncio.create_task(wait_for_epoch(cell, epoch))
        body = {"to": str(other(at))}
        moved = await ask_agent(settings[at], f"/v1/cells/{cell}/move", MOVE_SECONDS, "POST", body)
        assert moved is not None, "the agent gave no answer"
        assert moved[1]["outcome"] == "done", moved[1]
        behind.append(max(0.0, await told - await known))
        at = other(at)
    return summarise(behind)


def other(site: Site) -> Site:
    """Return the other data site."""
    return Site.IDC if site is Site.CLOUD else Site.CLOUD


async def ask_epoch(cell: str) -> int:
    """Return a cell's epoch as the cloud's agent knows it; -1 when it does not answer."""
    answer = await ask_agent(site_settings()[Site.CLOUD], "/v1/status", 1.0)
    return -1 if answer is None else int(answer[1]["grants"][cell]["epoch"])


async def wait_for_epoch(cell: str, epoch: int) -> float:
    """Return the instant (monotonic) at which the cloud's agent first says an epoch."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await ask_epoch(cell) < epoch:
            await asyncio.sleep(POLL_SECONDS)
    return time.monotonic()


async def wait_for_sync(cell: str) -> None:
    """Wait until a cell has a copy at the other site again, as after each move."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            answer = await ask_agent(site_settings()[Site.CLOUD], "/v1/status", 1.0)
            if answer is not None and answer[1]["grants"][cell]["mode"] == Mode.SYNC:
                return
            await asyncio.sleep(POLL_SECONDS)


async def measure(home: Path, loads: int, moves: int) -> dict[str, Any]:
    """Return what the pages and the live view took, with both sites and with one."""
    async with signed_in(home) as sessions:
        whole = await load_pages(sessions, loads)
        behind = await measure_moves(sessions["wang.yun"], moves)
        told = asyncio.create_task(hear(sessions["wang.yun"], "not seen since"))
        await asyncio.sleep(1.0)
        killed_s = time.monotonic()
        kill_site(home, Site.IDC)
        told_s = await told - killed_s
        lost = await load_pages(sessions, loads)
    return {
        "pages_seconds": whole,
        "pages_seconds_without_idc": lost,
        "live_behind_seconds": behind,
        "loss_told_after_seconds": round(told_s, 2),
        "worst_page_p95_seconds": max(one["p95"] for one in (*whole.values(), *lost.values())),
    }


@click.command()
@click.option("--loads", type=click.IntRange(20), default=40, show_default=True, help="Of each page.")
@click.option("--moves", type=click.IntRange(2), default=10, show_default=True, help="Of one cell.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(loads: int, moves: int, as_json: bool) -> None:
    """Measure and write bench/results/console.json; exit 1 when a page or the live view is late."""
    load = os.getloadavg()[0]
    with fresh_stand("--no-backups") as home:
        os.environ["BIYI_HOME"] = home
        measured = asyncio.run(measure(Path(home), loads, moves))
    result = write_result("console", {"loads": loads, "moves": moves, **measured}, load)
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        show(result)
    late = result["worst_page_p95_seconds"] > PAGE_P95_SECONDS
    sys.exit(1 if late or result["live_behind_seconds"]["p95"] > BEHIND_SECONDS else 0)


def show(result: Mapping[str, Any]) -> None:
    """Print the result for people."""
    table = Table("page", "p50", "p95", "max", "without idc: p50", "p95", "max", title="Seconds")
    for path, one in result["pages_seconds"].items():
        lost = result["pages_seconds_without_idc"][path]
        table.add_row(path, *(f"{part[name]:.3f}" for part in (one, lost) for name in ("p50", "p95", "max")))
    Console().print(table)
    behind = result["live_behind_seconds"]
    click.echo(f"live view behind: p50 {behind['p50']} s, p95 {behind['p95']} s, max {behind['max']} s")
    click.echo(f"the loss of idc was told after {result['loss_told_after_seconds']} s")


if __name__ == "__main__":
    main()
