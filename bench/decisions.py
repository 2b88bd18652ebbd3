"""Decisions of one fresh stand: latency at rising rates, saturation, a registry of 100,000 variables.

`python bench/decisions.py [--rates 20,40,80,160] [--seconds 10] [--json]`; writes
bench/results/decisions.json. Open loop at both entrances: applications arrive on schedule however slow
the answers are, and latency counts from the schedule, so nothing late is left out; what is shed above
saturation is counted apart, and a rate is held only when every application is approved. Each application is
of a new customer, with an authorisation (the stand's FakeBureau answers at once) and with device, WiFi
and IP, so that it takes the longest way: windows of both cells, all three steps, sub-scores, challenger.
"""

import asyncio
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import click
from rich.console import Console
from rich.progress import track

from core_app.decisions.variables.compile import compile_online
from core_app.decisions.variables.definition import make_registry
from replication.model import DATA_SITES
from replication.settings import read_site_settings
from replication.tls import public_tls
from runbooks.drills.arrivals import make_person
from runbooks.stand.home import wipe
from runbooks.tokens import channel_token

RESULT = Path(__file__).parent / "results" / "decisions.json"
LIMIT_MS = 200.0
VARIABLES = 100_000
ASKED = 50
AT_ONCE = 32
MOST_PER_SECOND = 300
"""Customers that are registered for the saturation, a second of it: more than two cores decide."""


def run(home: str, *words: str) -> None:
    """Run one command of `biyi` on the stand of `home`."""
    command = [sys.executable, "-m", "runbooks.cli", *words]
    environment = {**os.environ, "BIYI_HOME": home}
    subprocess.run(command, env=environment, capture_output=True, timeout=300, check=True)


def percentile(values: list[float], share: float) -> float:
    """Return a percentile of milliseconds."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


class Bench:
    """One client of both entrances."""

    def __init__(self, session: aiohttp.ClientSession, entrances: list[str]) -> None:
        self.session = session
        self.entrances = entrances
        self.people = 0

    async def post(self, entrance: str, path: str, body: Any, key: str) -> tuple[int, Any]:
        """Send one command."""
        headers = {"Idempotency-Key": key}
        async with self.session.post(entrance + path, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def register(self, count: int) -> list[str]:
        """Register new customers, a few at a time."""
        ids: list[str] = []
        for _ in range(0, count, 16):
            first, self.people = self.people, self.people + 16
            bodies = [make_person("bench", number + 1) for number in range(first, first + 16)]
            answers = await asyncio.gather(
                *(
                    self.post(
                        self.entrances[number % 2],
                        "/v1/customers",
                        {"name": one.name, "id_number": one.id_number, "phone": one.phone},
                        f"bench-person-{first + number}",
                    )
                    for number, one in enumerate(bodies)
                )
            )
            ids += [answer["customer_id"] for status, answer in answers if status in (200, 201)]
        return ids

    async def apply(self, customer_id: str, number: int, due: float, into: list[tuple[float, str]]) -> None:
        """Apply once and note milliseconds since the schedule and the outcome."""
        wish = {"customer_id": customer_id, "product": "instalment-12", "amount_fen": 1_000_000}
        wish |= {"periods": 12, "bureau_authorisation": "bench-0001"}
        wish["evidence"] = {
            "device": f"BENCH-{number:08d}",
            "wifi": f"{number:012x}",
            "ip": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        }
        try:
            status, body = await self.post(
                self.entrances[number % 2], "/v1/applications", wish, f"bench-apply-{number}"
            )
            outcome = str(body.get("decision")) if status == 201 else f"HTTP {status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome = type(error).__name__
        into.append((1000 * (time.monotonic() - due), outcome))

    async def measure(self, rate: float, seconds: float, first: int) -> dict[str, Any]:
        """Send `rate` applications a second, open loop."""
        count = int(rate * seconds)
        customers = await self.register(count)
        noted: list[tuple[float, str]] = []
        begun = time.monotonic() + 0.1
        tasks = []
        for number, customer_id in enumerate(customers[:count]):
            due = begun + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.append(asyncio.create_task(self.apply(customer_id, first + number, due, noted)))
        await asyncio.gather(*tasks)
        outcomes = [outcome for _, outcome in noted]
        # Applicants are alike and good: a refusal is a step out of its budget, a 503 was told to come back.
        times = [ms for ms, outcome in noted if outcome == "approved"] or [math.inf]
        seconds = time.monotonic() - begun
        return {
            "rate_per_second": rate,
            "answered_per_second": round(len(noted) / seconds, 1),
            "approved_per_second": round(outcomes.count("approved") / seconds, 1),
            "p50_ms": round(statistics.median(times), 1),
            "p99_ms": percentile(times, 0.99),
            "max_ms": round(max(times), 1),
            "late": sum(ms > LIMIT_MS for ms in times),
            "applications": len(noted),
            "shed": outcomes.count("HTTP 503"),
            "outcomes": {one: outcomes.count(one) for one in sorted(set(outcomes))},
        }

    async def saturate(self, seconds: float, first: int) -> float:
        """Return decisions a second with AT_ONCE applications always under way: the most there can be."""
        waiting = iter(enumerate(await self.register(int(seconds * MOST_PER_SECOND)), first))
        noted: list[tuple[float, str]] = []
        begun = time.monotonic()

        async def keep_applying() -> None:
            while (now := time.monotonic()) < begun + seconds and (one := next(waiting, None)):
                await self.apply(one[1], one[0], now, noted)

        await asyncio.gather(*(keep_applying() for _ in range(AT_ONCE)))
        decided = sum(outcome in ("approved", "refused") for _, outcome in noted)
        return round(decided / (time.monotonic() - begun), 1)


async def measure_rates(home: str, rates: list[float], seconds: float) -> tuple[list[dict[str, Any]], float]:
    """Measure each rate in turn, then the saturation: decisions a second, closed loop."""
    settings = [read_site_settings(Path(home) / site / "site.json") for site in DATA_SITES]
    entrances = [f"https://127.0.0.1:{one.api_port}" for one in settings]
    console, found = Console(stderr=True), []
    headers = {"Authorization": f"Bearer {channel_token(settings[0])}"}
    connector = aiohttp.TCPConnector(limit=0, ssl=public_tls(settings[0].tls_dir))
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        bench = Bench(session, entrances)
        await bench.measure(10, 3, 90_000_000)  # warms connections and plans
        for place, rate in enumerate(track(rates, "rates", console=console, disable=not console.is_terminal)):
            found.append(await bench.measure(rate, seconds, 1_000_000 * place))
        return found, await bench.saturate(seconds, 80_000_000)


def measure_registry() -> dict[str, Any]:
    """Time and memory of a registry of VARIABLES definitions of which ASKED are asked for."""
    definitions = [
        {
            "name": f"v{number}",
            "version": 1,
            "text": "A variable of the bench.",
            "aggregate": {
                "source": ("applications", "loans", "repayments")[number % 3],
                "take": "count",
                "days": 1 + number % 365,
            },
        }
        for number in range(VARIABLES)
    ]
    text = json.dumps(definitions)
    tracemalloc.start()
    plain = json.loads(text)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    begun = time.perf_counter()
    registry = make_registry(json.loads(text))
    loaded = time.perf_counter()
    names = [f"v{number * (VARIABLES // ASKED)}" for number in range(ASKED)]
    statement = compile_online(registry, names)
    asked = time.perf_counter()
    return {
        "definitions": len(plain),
        "text_mib": round(len(text) / 2**20, 1),
        "held_mib": round(held / 2**20, 1),
        "load_s": round(loaded - begun, 3),
        "asked_for": len(statement.names),
        "checked": len(registry.checked),
        "compile_ms": round(1000 * (asked - loaded), 1),
    }


@click.command()
@click.option(
    "--rates", default="20,40,80,120,160", show_default=True, help="Applications a second, in turn."
)
@click.option("--seconds", default=10.0, show_default=True, help="How long each rate lasts.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object on one line.")
def main(rates: str, seconds: float, as_json: bool) -> None:
    """Measure and write bench/results/decisions.json; exit 1 if the lowest rate has a p99 above 200 ms."""
    home, busy = tempfile.mkdtemp(prefix="biyi-bench-"), os.getloadavg()[0]
    try:
        run(home, "stand", "up")
        wanted = [float(rate) for rate in rates.split(",")]
        found, saturation = asyncio.run(measure_rates(home, wanted, seconds))
    finally:
        run(home, "stand", "down")
        wipe(Path(home))  # data may lie outside the home when PostgreSQL's user cannot reach it
        shutil.rmtree(home)
    held = [
        one["rate_per_second"]
        for one in found
        if one["p99_ms"] <= LIMIT_MS and one["outcomes"] == {"approved": one["applications"]}
    ]
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load_average": round(busy, 1),  # who else used the machine
        "limit_ms": LIMIT_MS,
        "highest_rate_held": max(held, default=None),
        "saturation_per_second": saturation,
        "held_of_saturation": round(max(held, default=0.0) / saturation, 2) if saturation else None,
        "rates": found,
        "registry": measure_registry(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps(result) if as_json else json.dumps(result, indent=1))
    sys.exit(0 if found[0]["p99_ms"] <= LIMIT_MS else 1)


if __name__ == "__main__":
    main()
