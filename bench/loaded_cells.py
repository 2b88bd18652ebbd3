"""One, two and four loaded cells on this machine: repayments a core's second, what one cell feels of others.

`python -m bench.loaded_cells [--cells 1 --cells 2 --cells 4] [--seconds 15] [--json]`; writes
bench/results/loaded-cells.json. Repayments over both entrances, closed loop, as many under way whatever the
number of cells; what they cost is the processor time of all the stand's processes. Then the first cell alone
is asked at a calm rate, twice: with the others at rest, and with the others as busy as the machine allows.
"""

import asyncio
import itertools
import json
import os
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench._stand import percentile, write_result
from bench.cost_at_rest import cpu_seconds
from replication.model import DATA_SITES
from replication.settings import read_site_settings
from replication.tls import public_tls
from runbooks.drills.customer import Customers, Request
from runbooks.drills.history import HistoryWriter
from runbooks.drills.load import Load, LoadSettings
from runbooks.drills.records import Outcome
from runbooks.stand.home import UpOptions, wipe
from runbooks.stand.topology import Stand
from runbooks.stand.up import down, up
from runbooks.tokens import channel_token

AT_ONCE = 16
"""Repayments under way over all cells. Source: our choice, as bench.core; keeps two cores busy."""
CALM_RATE = 10.0
"""Repayments a second at the first cell while it is watched. Source: our choice, a tenth of what it holds."""
LOANS_PER_CELL = 12


class Borrowers:
    """Repays loans of given cells, and notes how long each answer took."""

    def __init__(self, customers: Customers, loans: Sequence[tuple[str, str]], prefix: str) -> None:
        self._customers = customers
        self._loans = loans
        self._prefix = prefix
        self._ids = itertools.count(1)

    async def repay(self, cells: set[str], times: list[float]) -> None:
        """Repay one fen of some loan of `cells`; RuntimeError when it is not acknowledged."""
        number = next(self._ids)
        own = [loan for loan, cell in self._loans if cell in cells]
        body = {"loan_id": own[number % len(own)], "amount_fen": 1}
        request = Request("POST", "/v1/repayments", f"{self._prefix}-{number}", body)
        entrance = str(DATA_SITES[number % len(DATA_SITES)])
        begun = time.perf_counter()
        done = await self._customers.settle(request, entrance)
        if done.outcome is not Outcome.OK:
            raise RuntimeError(f"repayment of {body['loan_id']}: {done.status} {done.answer}")
        times.append(1000 * (time.perf_counter() - begun))

    async def keep_busy(self, cells: set[str], seconds: float) -> list[float]:
        """Keep AT_ONCE repayments under way; return milliseconds of each."""
        times: list[float] = []
        until = time.monotonic() + seconds

        async def go_on() -> None:
            while time.monotonic() < until:
                await self.repay(cells, times)

        await asyncio.gather(*(go_on() for _ in range(AT_ONCE)))
        return times

    async def ask_calmly(self, cells: set[str], seconds: float) -> list[float]:
        """Repay at CALM_RATE, open loop; return milliseconds of each."""
        times: list[float] = []
        begun, tasks = time.monotonic(), []
        for number in range(int(CALM_RATE * seconds)):
            await asyncio.sleep(max(0.0, begun + number / CALM_RATE - time.monotonic()))
            tasks.append(asyncio.create_task(self.repay(cells, times)))
        await asyncio.gather(*tasks)
        return times


async def measure(home: Path, cells: int, seconds: float) -> dict[str, Any]:
    """Bring up a stand of `cells` cells, lend, and measure."""
    done = await up(home, UpOptions(cells=cells, backups=False, patience_s=300))
    settings = {site: read_site_settings(home / site / "site.json") for site in DATA_SITES}
    own = settings[DATA_SITES[0]]
    names = [cell.name for cell in own.cells]
    entrances = {str(site): f"https://127.0.0.1:{one.api_port}" for site, one in settings.items()}
    history, prefix = HistoryWriter(home / "bench-history.jsonl"), "bench-" + secrets.token_hex(4)
    async with Customers(entrances, tls=public_tls(own.tls_dir), token=channel_token(own)) as customers:
        load = Load(customers, history, LoadSettings(1, 1, prefix, loans_per_cell=LOANS_PER_CELL))
        await load.prepare(names)
        borrowers = Borrowers(customers, [(loan.loan_id, loan.cell) for loan in load.loans], prefix + "-r")
        await borrowers.keep_busy(set(names), 2)  # connections and plans
        found = await _measure_loaded(borrowers, done.stand, names, seconds)
        await load.close()
    history.close()
    return {"cells": cells, "up_seconds": round(done.seconds, 1), **found}


async def _measure_loaded(
    borrowers: Borrowers, stand: Stand, names: Sequence[str], seconds: float
) -> dict[str, Any]:
    before = cpu_seconds(stand)
    times = await borrowers.keep_busy(set(names), seconds)
    used = sum((cpu_seconds(stand) - before).values())
    found = {
        "per_second": round(len(times) / seconds, 1),
        "per_core_second": round(len(times) / used, 1),
        "p50_ms": round(statistics.median(times), 1),
    }
    first, others = set(names[:1]), set(names[1:])
    if not others:
        return found
    calm = await borrowers.ask_calmly(first, seconds)
    felt, noise = await asyncio.gather(
        borrowers.ask_calmly(first, seconds), borrowers.keep_busy(others, seconds)
    )
    rates = {"others_per_second": round(len(noise) / seconds, 1)}
    return found | rates | {"others_at_rest": _summarise(calm), "others_busy": _summarise(felt)}


def _summarise(times: list[float]) -> dict[str, float]:
    return {"p50_ms": round(statistics.median(times), 1), "p99_ms": round(percentile(times, 0.99), 1)}


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows for people."""
    table = Table(
        "cells", "a second", "a core's second", "p50 ms", "first cell, others at rest", "others busy"
    )
    for row in rows:
        sides = [row.get(side) for side in ("others_at_rest", "others_busy")]
        words = [f"p50 {one['p50_ms']}, p99 {one['p99_ms']} ms" if one else "" for one in sides]
        table.add_row(
            *(str(row[name]) for name in ("cells", "per_second", "per_core_second", "p50_ms")), *words
        )
    Console().print(table)


@click.command()
@click.option("--cells", "counts", type=click.IntRange(1, 16), multiple=True, default=(1, 2, 4))
@click.option("--seconds", default=15.0, show_default=True, help="Length of each measurement.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(counts: tuple[int, ...], seconds: float, as_json: bool) -> None:
    """Measure fresh stands under load and write bench/results/loaded-cells.json."""
    busy, rows = os.getloadavg()[0], []
    for cells in counts:
        home = Path(tempfile.mkdtemp(prefix="biyi-bench-"))
        try:
            Console(stderr=True).print(f"{cells} cells …")
            rows.append(asyncio.run(measure(home, cells, seconds)))
        finally:
            down(home)
            wipe(home)  # data may lie outside the home when PostgreSQL's user cannot reach it
            shutil.rmtree(home)
    least, most = rows[0]["per_core_second"], rows[-1]["per_core_second"]
    figures = {"seconds": seconds, "rows": rows, "last_over_first": round(most / least, 2)}
    result = write_result("loaded-cells", figures, busy)
    if as_json:
        click.echo(json.dumps(result))
    else:
        show(rows)
    sys.exit(0)


if __name__ == "__main__":
    main()
