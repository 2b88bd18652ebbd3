"""Reading a loan's summary from the site's cache, beside a bare ASGI application on the same server.

`python -m bench.reads [--seconds 5] [--turns 3] [--json]`; writes bench/results/reads.json. Both are asked in
turn by the same client over the same TLS, one API process of one site each. Client, API and Valkey share the
machine's cores, so what a node can do is told by the processor time of a request in the server's process: a
core's worth of requests a second, ours over the bare one's, is the ratio.
"""

import asyncio
import contextlib
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import click
import psutil
from rich.console import Console
from rich.table import Table

from bench._stand import fresh_stand, write_result
from replication.model import DATA_SITES, Site
from replication.settings import SiteSettings, read_site_settings
from replication.tls import Tls, public_tls
from runbooks.drills.customer import Customers
from runbooks.drills.history import HistoryWriter
from runbooks.drills.load import Load, LoadSettings
from runbooks.stand.processes import read_pids
from runbooks.stand.sites import pids_path
from runbooks.tokens import channel_token

ADDRESSES = 8
"""Addresses of loopback the client comes from: one alone would meet the rate limit (1,000 a second)."""
AT_ONCE = 4
"""Requests under way from each of them. Source: our choice; more than keep one process busy."""


@contextlib.contextmanager
def hello(settings: Path, site: SiteSettings) -> Iterator[tuple[str, psutil.Process]]:
    """Serve the bare application beside the stand; its address and process."""
    with socket.socket() as free:
        free.bind((site.listen_host, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bench._hello", str(settings), str(port)]
    with subprocess.Popen(command) as process:
        try:
            yield f"https://{site.listen_host}:{port}/", psutil.Process(process.pid)
        finally:
            process.terminate()


async def ask(url: str, headers: dict[str, str], tls: Tls, seconds: float) -> dict[str, Any]:
    """GET `url` again and again, closed loop; answers, those from the cache, and milliseconds."""
    until, times, warm = time.perf_counter() + seconds, [], 0

    async def go_on(session: aiohttp.ClientSession) -> None:
        nonlocal warm
        while (begun := time.perf_counter()) < until:
            async with session.get(url) as answer:
                body = await answer.json(content_type=None)
            if answer.status != 200:
                raise RuntimeError(f"{url}: {answer.status} {body}")
            warm += body.get("source") == "cache"
            times.append(1000 * (time.perf_counter() - begun))

    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        for number in range(ADDRESSES):
            connector = aiohttp.TCPConnector(ssl=tls, local_addr=(f"127.0.0.{number + 2}", 0))
            session = aiohttp.ClientSession(connector=connector, headers=headers)
            await stack.enter_async_context(session)
            for _ in range(AT_ONCE):
                tasks.create_task(go_on(session))
    return {"answers": len(times), "warm": warm, "p50_ms": round(statistics.median(times), 2)}


async def turn(
    url: str, headers: dict[str, str], tls: Tls, seconds: float, server: psutil.Process
) -> dict[str, Any]:
    """Measure one side once: answers a second, and processor milliseconds of the server for each."""
    used = sum(server.cpu_times()[:2])
    found = await ask(url, headers, tls, seconds)
    used = sum(server.cpu_times()[:2]) - used
    return {
        **found,
        "per_second": round(found["answers"] / seconds),
        "cpu_ms": round(1000 * used / found["answers"], 4),
        "per_core_second": round(found["answers"] / used),
    }


async def measure(home: str, seconds: float, turns: int) -> dict[str, list[dict[str, Any]]]:
    """Lend a little, warm the cache, then measure both in turn at the idc entrance."""
    settings = {site: read_site_settings(Path(home) / site / "site.json") for site in DATA_SITES}
    entrances = {str(site): f"https://127.0.0.1:{one.api_port}" for site, one in settings.items()}
    own = settings[Site.IDC]
    tls, token = public_tls(own.tls_dir), channel_token(own)
    history = HistoryWriter(Path(home) / "bench-history.jsonl")
    async with Customers(entrances, tls=tls, token=token) as customers:
        plan = LoadSettings(rate=1, seed=1, key_prefix="bench-" + secrets.token_hex(4), loans_per_cell=1)
        load = Load(customers, history, plan)
        await load.prepare([cell.name for cell in own.cells])
        await load.close()
    history.close()
    url = f"{entrances[str(Site.IDC)]}/v1/loans/{load.loans[0].loan_id}/summary"
    headers = {"Authorization": f"Bearer {token}"}
    api = read_pids(pids_path(Path(home), Site.IDC))["api"].pid
    found: dict[str, list[dict[str, Any]]] = {"summary": [], "hello": []}
    with hello(Path(home) / Site.IDC / "site.json", own) as (bare, server):
        sides = {"summary": (url, psutil.Process(api)), "hello": (bare, server)}
        await asyncio.sleep(2)
        for where, process in sides.values():
            await turn(where, headers, tls, 1, process)  # connections, caches, plans
        for _ in range(turns):
            for side, (where, process) in sides.items():
                found[side].append(await turn(where, headers, tls, seconds, process))
    return found


@click.command()
@click.option("--seconds", default=5.0, show_default=True, help="How long a turn of one side lasts.")
@click.option("--turns", type=click.IntRange(1), default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(seconds: float, turns: int, as_json: bool) -> None:
    """Measure and write bench/results/reads.json; exit 1 if any answer was not from the cache."""
    busy = os.getloadavg()[0]
    with fresh_stand() as home:
        found = asyncio.run(measure(home, seconds, turns))
    middle = {side: statistics.median(one["per_core_second"] for one in seen) for side, seen in found.items()}
    cold = sum(one["answers"] - one["warm"] for one in found["summary"])
    figures = {
        "ratio": round(middle["summary"] / middle["hello"], 3),
        "per_core_second": middle,
        "not_from_the_cache": cold,
        "turns": found,
    }
    result = write_result("reads", figures, busy)
    if as_json:
        click.echo(json.dumps(result))
    else:
        table = Table("side", "turn", "a second", "server ms", "a core's second", "p50 ms", title="Reads")
        for side, seen in found.items():
            for number, one in enumerate(seen, 1):
                words = (one["per_second"], one["cpu_ms"], one["per_core_second"], one["p50_ms"])
                table.add_row(side, str(number), *map(str, words))
        Console().print(table)
        click.echo(f"ratio {result['ratio']}")
    sys.exit(1 if cold else 0)


if __name__ == "__main__":
    main()
