"""What a cell's disk holds and its copies receive: bytes a loan, a repayment, a draw, an evening.

`python -m bench.growth [--loans 200000] [--json]`; writes bench/results/growth.json. One server with the
core's tables; figures are of tables, their indexes and WAL, and do not depend on how fast the machine is.
Day-end is timed against its bare SQL once more, at this size.
"""

import asyncio
import json
import os
from collections import Counter
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.table import Table

from bench._stand import write_result
from bench.core.__main__ import DRAWN_ON, run_day_end, run_ours
from bench.core.ground import DAY, Ground, open_ground, seed
from core_app.loans.loan import plan_columns
from core_app.loans.schedule import Terms, plan_equal_instalments
from core_app.products.catalogue import read_catalogue

CONTRACTS = 40_000
"""Signed contracts that wait for their draw. Source: our choice, above what a few seconds draw."""
_SIZES = """
select c.relname::text, pg_total_relation_size(c.oid)
from pg_class c join pg_namespace n on n.oid = relnamespace
where relkind in ('r', 'p', 'm') and nspname in ('core', 'audit')
"""


def measure_sizes(ground: Ground) -> tuple[Counter[str], int]:
    """Return the bytes of each table with its indexes, and where WAL ends."""
    with psycopg.connect(ground.dsn("biyi_admin"), autocommit=True) as connection:
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
        sizes = Counter(dict(connection.execute(_SIZES).fetchall()))
        row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return sizes, int(row[0])


def count_rows(ground: Ground, table: str) -> int:
    """Return how many rows a table has."""
    with psycopg.connect(ground.dsn("biyi_admin")) as connection:
        row = connection.execute(f"select count(*) from {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def compare(
    before: tuple[Counter[str], int], after: tuple[Counter[str], int], count: int
) -> dict[str, float]:
    """Return bytes of tables and of WAL for each of `count` commands, and the tables that grew most."""
    grown = after[0] - before[0]
    most = {name: round(size / count, 1) for name, size in grown.most_common(6)}
    return {
        "count": count,
        "table_bytes": round(sum(grown.values()) / count, 1),
        "wal_bytes": round((after[1] - before[1]) / count, 1),
        "by_table": most,  # type: ignore[dict-item]
    }


def measure(loans: int, seconds: int) -> dict[str, Any]:
    """Fill, close an evening, repay, draw; what each took."""
    day_columns = plan_columns(
        plan_equal_instalments(
            Terms(1_200_000, read_catalogue().versions["instalment-12", 1].pricing.rate_annual, 12), DRAWN_ON
        ),
        DRAWN_ON,
    )
    with open_ground() as ground:
        empty = measure_sizes(ground)
        wanted = {"loans": loans, "contracts": CONTRACTS, "day": DAY, "interest": 120_195}
        seed(ground, day_columns | wanted)
        filled = measure_sizes(ground)
        found: dict[str, Any] = {"loan": compare(empty, filled, loans)}
        found["day_end"] = asyncio.run(run_day_end(ground))
        closed = measure_sizes(ground)
        found["evening"] = compare(filled, closed, loans)
        sizes = {"loans": loans, "workers": 2, "first": loans, "clients": 16}
        last, rows = closed, {"repayments": "core.repayments", "draws": "core.loans"}
        for kind, table in rows.items():
            before = count_rows(ground, table)
            run_ours(ground, kind, seconds, sizes)
            now = measure_sizes(ground)
            found[kind.removesuffix("s")] = compare(last, now, count_rows(ground, table) - before)
            last = now
    return found


@click.command()
@click.option("--loans", default=200_000, show_default=True, help="Loans in the portfolio.")
@click.option("--seconds", default=5, show_default=True, help="How long repayments and draws are posted.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(loans: int, seconds: int, as_json: bool) -> None:
    """Measure and write bench/results/growth.json."""
    busy = os.getloadavg()[0]
    result = write_result("growth", {"loans": loans, **measure(loans, seconds)}, busy)
    if as_json:
        click.echo(json.dumps(result))
        return
    table = Table("", "bytes in tables", "bytes of WAL", "most of it", title="What a cell's disk takes")
    for what in ("loan", "evening", "repayment", "draw"):
        one = result[what]
        most = ", ".join(f"{name} {size:.0f}" for name, size in one["by_table"].items())
        table.add_row(what, f"{one['table_bytes']:.0f}", f"{one['wal_bytes']:.0f}", most)
    Console().print(table)
    click.echo(f"day-end of {loans} loans: {result['day_end']['ratio']} of its bare SQL")


if __name__ == "__main__":
    main()
