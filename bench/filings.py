"""All EAST tables of a portfolio against plain COPY of the same rows, on one server in one run.

`python bench/filings.py --loans 1000000` (20 minutes, most of it filling) writes
bench/results/filings.json. Plain COPY reads tables that hold the rows ready, one after the other, as psycopg
hands them out; a second figure is of the same rows read as ours are. All are timed by turns; memory is
what this process had at most, after each.
"""

import asyncio
import datetime as dt
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg.sql import SQL, Identifier, Literal
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.core.ground import DAY, Ground, open_ground, seed
from compliance.reporting.catalogue import compose_table, read_tables
from compliance.reporting.copying import copy_out
from compliance.reporting.house import House
from compliance.reporting.lanes import Lane, open_lanes
from compliance.reporting.run import write_tables
from compliance.reporting.settings import Institution
from compliance.reporting.snapshot import Evening, Snapshot, open_snapshot
from core_app.loans.classification import read_class_limits
from core_app.loans.schedule import Terms
from core_app.loans.terms import plan_loan
from core_app.products.catalogue import read_catalogue

RESULT = Path(__file__).parent / "results" / "filings.json"
LEAST = 200_000
"""Loans from which a result is kept; it says of how many. Source: our choice; of fewer, the start counts."""
FLAT_MB = 16.0
"""What writing all may add to this process's memory. Source: our choice; the files are hundreds of MB."""
GOAL = 2.0
"""All tables take at most so many times as long as plain COPY. Source: our choice, design of filings."""

# The evening's rows, as day-end writes them: one in twenty has paid nothing, the others what was due.
# The ledger has the draws.
_EVENING = """
insert into core.loan_snapshots (on_date, loan_id, customer_id, product, product_version, balance_fen,
    principal_overdue_fen, interest_overdue_fen, penalty_fen, days_past_due, asset_class, by_60_days,
    non_accrual, interest_receivable_fen, penalty_receivable_fen, off_balance_fen, next_due)
select %(day)s, l.loan_id, l.customer_id, l.product, l.product_version, l.balance_fen,
    coalesce(n.principal_overdue_fen, 0), coalesce(n.interest_overdue_fen, 0), 0,
    greatest(0, %(day)s::date - n.next_due),
    case when n.next_due < %(day)s then 'special_mention' else 'normal' end, false, false, 0, 0, 0, n.next_due
from core.loans l join (
    select loan_id, min(due) as next_due,
        sum(principal_fen) filter (where due < %(day)s) as principal_overdue_fen,
        sum(interest_fen) filter (where due < %(day)s) as interest_overdue_fen
    from core.instalments where ('x' || right(loan_id, 4))::bit(16)::integer %% 20 = 0 or due > %(day)s
    group by loan_id
) as n using (loan_id);
insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key, booked_on)
select l.loan_id, a.account, a.sign * l.principal_fen, 'CNY', l.loan_id, 'seed', l.drawn_on
from core.loans l, (values ('1303', 1), ('1002', -1)) as a (account, sign);
update core.business_date set on_date = %(day)s::date + 1;
"""


def fill(ground: Ground, loans: int) -> None:
    """Write the portfolio and its evening."""
    product = read_catalogue().versions["instalment-12", 1]
    plan = plan_loan(product, Terms(1_200_000, product.pricing.rate_annual, 12), dt.date(2026, 1, 15))
    principals, interests = [one.principal_fen for one in plan], [one.interest_fen for one in plan]
    seed(ground, {
        "loans": loans, "contracts": 0, "day": DAY, "periods": [one.period for one in plan],
        "interest": sum(interests), "principals": principals, "interests": interests,
        "principals_before": [sum(principals[:n]) for n in range(12)],
        "interests_before": [sum(interests[:n]) for n in range(12)],
    })  # fmt: skip
    with psycopg.connect(ground.dsn("biyi_owner"), autocommit=True) as connection:
        for statement in _EVENING.split(";\n"):
            if statement.strip():
                connection.execute(statement, {"day": DAY})
    with psycopg.connect(ground.dsn("biyi_admin"), autocommit=True) as connection:
        connection.execute("vacuum analyze")


def peak_mb() -> float:
    """Return the most memory this process ever had, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


async def run_ours(
    house: House, lanes: Sequence[Lane], evening: Evening
) -> tuple[float, dict[str, float], Any]:
    """Write all EAST tables; return seconds, when each was there, and what was written."""
    there: dict[str, float] = {}
    began = time.perf_counter()

    def tell(about: str) -> None:
        there[about.removeprefix("table ")] = round(time.perf_counter() - began, 2)

    written = await write_tables(house, lanes, evening, tell)
    return time.perf_counter() - began, there, written


async def hold_rows(ground: Ground, snapshot: Snapshot) -> None:
    """Keep every table's rows ready, for plain COPY."""
    dsn = ground.dsn("biyi_owner")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for name in snapshot.tables.east:
            query = compose_table(snapshot.tables, name, snapshot.values)
            await connection.execute(
                SQL("create unlogged table {} as {}").format(Identifier(f"rows_{name}"), query)
            )
        await connection.execute("analyze")


async def run_plain(ground: Ground, names: list[str], folder: Path, *, as_ours: bool = False) -> float:
    """COPY the rows that are held, as psycopg hands them out or read as ours are; return seconds."""
    async with await psycopg.AsyncConnection.connect(ground.dsn("biyi_owner")) as connection:
        began = time.perf_counter()
        for name in names:
            statement = SQL("copy {} to stdout (format text, delimiter {}, null '')").format(
                Identifier(f"rows_{name}"), Literal("\x01")
            )
            with (folder / f"{name}.plain").open("wb") as file:
                if as_ours:
                    await copy_out(connection, statement, file, _NoDigest())
                    continue
                async with connection.cursor() as cursor, cursor.copy(statement) as copy:
                    async for block in copy:
                        file.write(block)
        return time.perf_counter() - began


class _NoDigest:
    def update(self, batch: bytes) -> None:
        """Hash nothing."""


async def measure(ground: Ground, rounds: int) -> dict[str, Any]:
    """Time both by turns and compare their bytes."""
    catalogue = read_catalogue()
    day = dt.date.fromisoformat(DAY)
    limits = read_class_limits(catalogue.rulebook, day)
    evening = Evening(day, None, Institution(), limits, catalogue.versions)
    tables = read_tables()

    def connect(_cell: str) -> Any:
        return _connected(ground)

    ours, plain, read_as_ours, peaks = [], [], [], [peak_mb()]
    with tempfile.TemporaryDirectory(prefix="biyi-bench-filings-") as place:
        folder = Path(place)
        house = House(("a",), connect, _open_nobody, tables, folder)
        async with (
            open_snapshot(connect, "a", tables, evening) as snapshot,
            open_lanes(connect, [snapshot]) as lanes,
        ):
            await hold_rows(ground, snapshot)
            for _ in range(rounds):
                seconds, there, written = await run_ours(house, lanes, evening)
                ours.append(seconds)
                peaks.append(peak_mb())
                plain.append(await run_plain(ground, list(written), folder))
                read_as_ours.append(await run_plain(ground, list(written), folder, as_ours=True))
        sizes = {name: (folder / one["file"]).stat().st_size for name, one in written.items()}
        same = all((folder / f"{name}.plain").stat().st_size == size for name, size in sizes.items())
    middle = statistics.median(ours)
    return {
        "rows": {name: one["rows"] for name, one in written.items()}, "bytes": sum(sizes.values()),
        "same_size": same, "sm3": {name: one["sm3"] for name, one in written.items()},
        "ours_s": [round(one, 2) for one in ours], "last_there_after_s": there,
        "plain_s": [round(one, 2) for one in plain], "ratio": round(middle / statistics.median(plain), 2),
        "plain_read_as_ours_s": [round(one, 2) for one in read_as_ours],
        "ratio_read_as_ours": round(middle / statistics.median(read_as_ours), 2),
        "peak_mb": peaks, "flat": peaks[-1] - peaks[0] <= FLAT_MB,
    }  # fmt: skip


async def _open_nobody(_cell: str, _customers: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    raise AssertionError("EAST opens no person")


def _connected(ground: Ground) -> Any:
    @asynccontextmanager
    async def opened() -> Any:
        dsn = ground.dsn("biyi_report")
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            yield connection

    return opened()


@click.command()
@click.option("--loans", default=1_000_000, show_default=True, help="Size of the portfolio.")
@click.option("--rounds", default=3, show_default=True, help="Turns of each; ratios are of medians.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(loans: int, rounds: int, as_json: bool) -> None:
    """Fill, measure, write bench/results/filings.json; exit 1 when the goal is missed or memory grows."""
    console = Console(stderr=True)
    load_before = os.getloadavg()[0]
    with open_ground() as ground:
        console.print(f"filling {loans:,} loans")
        began = time.perf_counter()
        fill(ground, loans)
        filled_s = round(time.perf_counter() - began, 1)
        console.print(f"filled in {filled_s} s; writing all tables and plain COPY, {rounds} times each")
        found = asyncio.run(measure(ground, rounds))
    result = {
        "loans": loans, "filled_s": filled_s, "goal": GOAL, **found,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load_average_1_min": [round(load, 1) for load in (load_before, os.getloadavg()[0])],
    }  # fmt: skip
    if loans >= LEAST:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if as_json:
        click.echo(json.dumps(result))
    else:
        _tell(result)
    sys.exit(0 if result["ratio"] <= GOAL and result["same_size"] and result["flat"] else 1)


def _tell(result: dict[str, Any]) -> None:
    table = Table("filings", "measured", "goal")
    table.add_row("rows of all tables", f"{sum(result['rows'].values()):,}", "")
    table.add_row("bytes", f"{result['bytes']:,}", "as plain COPY" if result["same_size"] else "DIFFER")
    table.add_row("all tables, seconds", " ".join(map(str, result["ours_s"])), "")
    table.add_row("plain COPY, seconds", " ".join(map(str, result["plain_s"])), "")
    table.add_row("times as long", str(result["ratio"]), f"<= {result['goal']:g}")
    table.add_row("plain COPY, read as ours", " ".join(map(str, result["plain_read_as_ours_s"])), "")
    table.add_row("times as long as that", str(result["ratio_read_as_ours"]), "")
    growth_mb = result["peak_mb"][-1] - result["peak_mb"][0]
    table.add_row("memory added, MB", f"{growth_mb:.1f}", f"<= {FLAT_MB:g}")
    Console().print(table)


if __name__ == "__main__":
    main()
