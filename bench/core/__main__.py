"""Measure posted repayments, draws and day-end against pgbench and bare SQL, in turn, in one run."""

import asyncio
import contextlib
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import psutil
import psycopg
from rich.console import Console
from rich.table import Table

from bench.core.ground import BIN, DAY, EPOCH, Ground, open_ground, seed
from bench.core.history import measure_histories
from bench.core.ours import PLANS, Work, make_core, open_pool, run_workers
from bench.core.scripts import draw_script, repayment_script
from core_app.day_end import store
from core_app.day_end.notices import PLAN_NOTICES, notice_columns
from core_app.day_end.service import ACCOUNTS, DayEnd
from core_app.day_end.terms import product_columns, rule_columns
from core_app.funding.debits import PLAN_DEBITS, debit_columns
from core_app.insight.rfm import GRADE, read_rule, rule_values
from core_app.loans.loan import plan_columns
from core_app.loans.schedule import Terms, plan_equal_instalments
from core_app.products.catalogue import read_catalogue
from core_app.servicing.collection import PLAN_TASKS, collection_columns
from core_app.servicing.read import read_strategies

RESULT = Path(__file__).parent.parent / "results" / "core.json"
CLIENTS = 16
"""Under way at once, of pgbench as of ours: enough to keep two cores busy through every commit."""
DRAWN_ON = dt.date.fromisoformat(DAY)


def processor_seconds(ground: Ground) -> float:
    """Return the processor time of the server's processes so far, those that ended included."""
    postmaster = psutil.Process(ground.postmaster_pid)
    total = 0.0
    for process in (postmaster, *postmaster.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    ended = postmaster.cpu_times()
    return total + float(ended.children_user + ended.children_system)


def run_pgbench(ground: Ground, script: str, seconds: int, facts: dict[str, int]) -> dict[str, float]:
    """Return transactions a second and processor time a transaction of pgbench and of the server."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        os.chmod(file.name, 0o644)
        defines = [word for name, value in facts.items() for word in ("-D", f"{name}={value}")]
        command = [
            BIN / "pgbench", "-h", "127.0.0.1", "-p", str(ground.port), "-U", "biyi_app", "-n",
            "-M", "prepared", "-c", str(facts["clients"]), "-j", "2", "-T", str(seconds), "-f", file.name,
            *defines, "core",
        ]  # fmt: skip
        before = processor_seconds(ground)
        environment = {**os.environ, "PGOPTIONS": PLANS}  # else it plans some statements anew each time
        found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if found.returncode:
        raise click.ClickException(found.stderr[-2000:])
    tps = float(next(line for line in found.stdout.splitlines() if line.startswith("tps")).split()[2])
    server_ms = 1000 * (processor_seconds(ground) - before) / (tps * seconds)
    return {"per_second": round(tps, 1), "server_cpu_ms": round(server_ms, 3)}


def run_ours(ground: Ground, kind: str, seconds: int, sizes: dict[str, int]) -> dict[str, float]:
    """Return commands a second and processor time a command of the workers and of the server."""
    workers = sizes["workers"]
    works = [
        Work(
            ground.dsn(),
            kind,
            number,
            sizes["clients"] // workers,
            seconds,
            sizes["loans"],
            sizes["first"],
            workers,
        )
        for number in range(workers)
    ]
    before = processor_seconds(ground)
    count, in_all, used = run_workers(works)
    server_ms = 1000 * (processor_seconds(ground) - before) / in_all
    return {
        "per_second": round(count / seconds, 1),
        "python_cpu_ms": round(1000 * used / count, 3),
        "server_cpu_ms": round(server_ms, 3),
    }


async def run_day_end(ground: Ground) -> dict[str, Any]:
    """Return loans a second of day-end and of its bare statements over all loans at once.

    The bare statements write the same business rows: evenings and closings, notices, tasks of collection,
    customers' tiers. `evenings_ratio`: day-end, which writes all of them, beside evenings and closings alone.
    """
    loans, bare = run_bare(ground)
    rows = ("loan_snapshots", "closings", "notices", "collection_tasks", "rfm_tiers", "debit_orders")
    async with open_pool(ground.dsn(), 8) as pool:
        closed = await DayEnd(make_core(pool), "a", lambda *_: None).run(DRAWN_ON)
    per_second = closed.loans / closed.seconds
    return {
        "loans": closed.loans,
        "per_second": round(per_second, 1),
        "bare_per_second": round(loans / sum(bare.values()), 1),
        "ratio": round(per_second * sum(bare.values()) / loans, 3),
        "evenings_ratio": round(per_second * (bare["close"] + bare["book"]) / loans, 3),
        "bare_seconds": {name: round(seconds, 3) for name, seconds in bare.items()},
        "rows": {table: _count(ground, table) for table in rows},
    }


def run_bare(ground: Ground) -> tuple[int, dict[str, float]]:
    """Run day-end's statements over all loans in one transaction that is taken back.

    Returns the loans they saw and the seconds of each.
    """
    catalogue = read_catalogue()
    products, rulebook = catalogue.versions.values(), catalogue.rulebook
    values: dict[str, Any] = {"day": DRAWN_ON, "chunk": 0, "key": "bare", "first": "L000-", "last": "L400-"}
    values |= {"epoch": EPOCH, "site": "idc"} | rule_columns(rulebook, DRAWN_ON)
    values |= product_columns(products, DRAWN_ON) | debit_columns(products) | ACCOUNTS
    values |= notice_columns(products, DRAWN_ON)
    values |= collection_columns(products, read_strategies(), rulebook, DRAWN_ON)
    statements = {"close": store.CLOSE_CHUNK, "debits": PLAN_DEBITS, "notices": PLAN_NOTICES}
    statements |= {"tasks": PLAN_TASKS, "book": store.BOOK_CHUNK, "tiers": GRADE}
    values |= rule_values(read_rule())
    took, loans = {}, 0
    with psycopg.connect(ground.dsn()) as connection:
        for name, statement in statements.items():
            begun = time.monotonic()
            found = connection.execute(statement, values)
            took[name] = time.monotonic() - begun
            if name == "close":
                (loans,) = found.fetchone() or (0,)
        connection.rollback()
    if not loans:
        raise click.ClickException("the bare statements saw no loan")
    return int(loans), took


def _count(ground: Ground, table: str) -> int:
    with psycopg.connect(ground.dsn("biyi_admin")) as connection:
        (count,) = connection.execute(f"select count(*) from core.{table}".encode()).fetchone() or (0,)
    return int(count)


@click.command()
@click.option("--loans", default=50_000, show_default=True, help="Loans in the portfolio.")
@click.option("--seconds", default=10, show_default=True, help="Length of each measurement.")
@click.option("--rounds", default=2, show_default=True, help="Turns of pgbench and ours; the medians count.")
@click.option("--workers", default=2, show_default=True, help="Processes of the core.")
@click.option("--clients", default=CLIENTS, show_default=True, help="Commands under way at once, in each.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(*, loans: int, seconds: int, rounds: int, workers: int, clients: int, as_json: bool) -> None:
    """Post repayments and draws through the core, and through pgbench with the same statements."""
    contracts, busy = 400_000 if seconds > 5 else 100_000, os.getloadavg()[0]
    plan = plan_equal_instalments(
        Terms(1_200_000, read_catalogue().versions["instalment-12", 1].pricing.rate_annual, 12), DRAWN_ON
    )
    columns = plan_columns(plan, DRAWN_ON)
    result: dict[str, Any] = {"repayments": [], "draws": []}
    with open_ground() as ground:
        seed(ground, columns | {"loans": loans, "contracts": contracts, "day": DAY, "interest": 120_195})
        result["day_end"] = asyncio.run(run_day_end(ground))
        result["history"] = asyncio.run(measure_histories(ground))
        sizes = {"loans": loans, "workers": workers, "first": loans, "clients": clients}
        for number in range(rounds):
            facts = {"loans": loans, "clients": clients, "i": 0, "run": number}
            pair = run_pgbench(ground, repayment_script(), seconds, facts)
            result["repayments"].append(
                {"pgbench": pair, "ours": run_ours(ground, "repayments", seconds, sizes)}
            )
            facts["first"] = 1 + number * contracts // (2 * rounds)
            pair = run_pgbench(ground, draw_script(columns), seconds, facts)
            sizes["first"] = loans + contracts // 2 + number * contracts // (2 * rounds)
            result["draws"].append({"pgbench": pair, "ours": run_ours(ground, "draws", seconds, sizes)})
    for kind in ("repayments", "draws"):
        theirs, ours = (
            statistics.median(turn[who]["per_second"] for turn in result[kind]) for who in ("pgbench", "ours")
        )
        result[f"{kind}_ratio"] = round(ours / theirs, 3)
    result |= {
        "cpus": os.cpu_count(),
        "load_average": round(busy, 1),  # who else used the machine
        "python": platform.python_version(),
        "clients": clients,
        "workers": workers,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(result))
        return
    table = Table("posted a second", "pgbench", "ours", "ratio", "CPU ms ours: Python", "server")
    for kind in ("repayments", "draws"):
        turn = result[kind][-1]
        last = turn["ours"]
        row = (turn["pgbench"]["per_second"], last["per_second"], result[f"{kind}_ratio"])
        table.add_row(kind, *map(str, row), str(last["python_cpu_ms"]), str(last["server_cpu_ms"]))
    day = result["day_end"]
    table.add_row(
        "day-end, loans", str(day["bare_per_second"]), str(day["per_second"]), str(day["ratio"]), "", ""
    )
    Console().print(table)
    click.echo(f"median repayment after a history: {json.dumps(result['history'])}")


if __name__ == "__main__":
    main()
