"""The warm caches of one fresh stand under load: how far behind they are, and what reading them costs.

`python bench/warm_cache.py [--rate 40] [--seconds 20] [--rows 20000] [--json]`; writes
bench/results/warm-cache.json. Both ways of reading are timed in turn in the same run, at both
entrances, for loans of both cells: figures of one file compare, others do not.
"""

import asyncio
import itertools
import json
import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import click
import psycopg

from replication.model import DATA_SITES, Site
from replication.settings import SiteSettings, read_site_settings
from replication.tls import Tls, public_tls
from runbooks.cache import read_caches
from runbooks.drills.customer import Customers
from runbooks.drills.history import HistoryWriter
from runbooks.drills.load import Load, LoadSettings
from runbooks.stand.home import wipe
from runbooks.tokens import channel_token

RESULT = Path(__file__).parent / "results" / "warm-cache.json"
READS_PER_SECOND = 25
_FILL = """
insert into core.outbox (topic, key, payload, idempotency_key)
select 'loan.repaid', 'L000-' || lpad(to_hex(n / 4), 32, '0'),
       jsonb_build_object('loan', jsonb_build_object('loan_id', n / 4, 'balance_fen', n)), 'bench-' || n
from generate_series(1, %s) as n
"""
"""Rows of no loan there is: they fill the outbox, four a key; the ledger is not touched."""


def run(home: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one command of `biyi` on the stand of `home`."""
    command = [sys.executable, "-m", "runbooks.cli", *words]
    return subprocess.run(
        command, env={**os.environ, "BIYI_HOME": home}, capture_output=True, text=True, timeout=300
    )


def percentiles(values: list[float]) -> dict[str, float]:
    """Return p50 and p99 of milliseconds."""
    ordered = sorted(values)
    return {
        "p50_ms": round(statistics.median(ordered), 2),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 2),
        "samples": len(ordered),
    }


async def time_reads(
    load: Load, entrances: dict[str, str], token: str, tls: Tls, stop: asyncio.Event
) -> dict[str, Any]:
    """Read in turn from the cache and from the primary until told to stop."""
    times: dict[str, list[float]] = {"cache": [], "primary": []}
    fell_back = 0
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), headers=headers) as session:
        for number in itertools.count():
            if stop.is_set():
                break
            loan = load.loans[number % len(load.loans)]
            for name, path in (("cache", "/summary"), ("primary", "")):
                for entrance in entrances.values():
                    begun = time.perf_counter()
                    async with session.get(f"{entrance}/v1/loans/{loan.loan_id}{path}") as answer:
                        body = await answer.json()
                    if name == "cache" and body["source"] != "cache":
                        fell_back += 1
                    else:
                        times[name].append(1000 * (time.perf_counter() - begun))
            await asyncio.sleep(4 / READS_PER_SECOND)
    cache, primary = percentiles(times["cache"]), percentiles(times["primary"])
    ratio = round(primary["p50_ms"] / cache["p50_ms"], 2)
    return {"cache": cache, "primary": primary, "primary_over_cache_p50": ratio, "fell_back": fell_back}


async def measure(home: str, rate: float, seconds: float) -> dict[str, Any]:
    """Load both entrances; return lags by site and cell and the times of reads."""
    settings = {site: read_site_settings(Path(home) / site / "site.json") for site in DATA_SITES}
    entrances = {str(site): f"https://127.0.0.1:{s.api_port}" for site, s in settings.items()}
    history = HistoryWriter(Path(home) / "bench-history.jsonl")
    plan = LoadSettings(rate=rate, seed=1, key_prefix="bench-" + secrets.token_hex(4))
    tls, token = public_tls(settings[Site.IDC].tls_dir), channel_token(settings[Site.IDC])
    async with Customers(entrances, tls=tls, token=token) as customers:
        load = Load(customers, history, plan)
        await load.prepare([cell.name for cell in settings[Site.IDC].cells])
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, stop.set)
        _, reads = await asyncio.gather(load.run(stop), time_reads(load, entrances, token, tls, stop))
        await load.close()
    history.close()
    caches = await read_caches(settings)
    kept = ("in_recovery", "lag_p50_ms", "lag_p99_ms", "lag_samples", "applied", "read_anew")
    lags = {
        f"{site} {cell}": {name: facts[name] for name in kept}
        for site, cells in caches.items()
        for cell, facts in cells.items()
    }
    return {"acknowledged": load.stats.acknowledged, "lags": lags, "reads": reads}


async def fill(settings: SiteSettings, rows: int) -> None:
    """Fill the outbox of cell a."""
    place = next(p for p in settings.places if p.cell == "a" and p.site is Site.IDC)
    async with await psycopg.AsyncConnection.connect(
        host=place.host, port=place.port, user="biyi_owner", dbname="biyi", passfile=str(settings.passfile)
    ) as owner:
        await owner.execute(_FILL, [rows])


@click.command()
@click.option("--rate", default=40.0, show_default=True, help="Operations a second.")
@click.option("--seconds", default=20.0, show_default=True, help="How long the load lasts.")
@click.option("--rows", default=20_000, show_default=True, help="Rows of the outbox for the reading anew.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(rate: float, seconds: float, rows: int, as_json: bool) -> None:
    """Measure and write bench/results/warm-cache.json; exit 1 if the caches are not warm at the end."""
    home = tempfile.mkdtemp(prefix="biyi-bench-")
    try:
        run(home, "stand", "up").check_returncode()
        found = asyncio.run(measure(home, rate, seconds))
        asyncio.run(fill(read_site_settings(Path(home) / Site.IDC / "site.json"), rows))
        resync = json.loads(run(home, "cache", "resync", "--site", "cloud", "--json").stdout)
        status = run(home, "cache", "status")
    finally:
        run(home, "stand", "down")
        wipe(Path(home))  # data may lie outside the home when PostgreSQL's user cannot reach it
        shutil.rmtree(home)
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "rate_per_second": rate,
        **found,
        "resync": resync,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps(result) if as_json else json.dumps(result, indent=1))
    sys.exit(status.returncode)


if __name__ == "__main__":
    main()
