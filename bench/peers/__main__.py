"""`python -m bench.peers`: ours and Patroni in turn; writes bench/results/peers.json and peers.svg.

Times are of the machine named in the result: compare figures of one file only.
"""

import asyncio
import json
import logging
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.peers.environment import ensure_python
from bench.peers.load import CLIENTS, DEADLINE_SECONDS, RATE_PER_CLIENT
from bench.peers.measure import summarise
from bench.peers.ours import Ours
from bench.peers.patroni_conf import LOOP_WAIT_SECONDS, RETRY_TIMEOUT_SECONDS, TTL_SECONDS
from bench.peers.plot import draw
from bench.peers.run import Side, run_once
from bench.peers.theirs import Patroni
from runbooks.stand.binaries import find_etcd, find_postgres
from runbooks.stand.topology import StandError

RESULTS = Path(__file__).parent.parent / "results"
SIDES = (Ours.name, Patroni.name)
_BROKEN = (StandError, psycopg.Error, OSError, TimeoutError)


def read_versions() -> dict[str, str]:
    """Return the versions of everything that was measured."""
    postgres = find_postgres()
    python = ensure_python(postgres.run_as)
    return {
        "postgresql": _output([str(postgres.bin_dir / "postgres"), "--version"]).split()[-1],
        "etcd": ".".join(map(str, find_etcd()[1])),
        "patroni": _output([str(python), "-c", "from patroni.version import __version__ as v; print(v)"]),
        "patroni_python": _output([str(python), "-c", "import platform; print(platform.python_version())"]),
        "python": platform.python_version(),
        "biyi_commit": _output(["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]),
    }


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")
    return done.stdout.strip() or "unknown"


def measure(side_name: str, number: int, seed: int, *, strict: bool) -> dict[str, Any]:
    """Make one run; its figures, or what broke under `error`."""
    about = {
        "side": side_name,
        "run": number,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": round(os.getloadavg()[0], 1),  # who else used the machine
    }
    try:
        side: Side = Ours() if side_name == Ours.name else Patroni(strict=strict)
        return about | asdict(asyncio.run(run_once(side, seed + number)))
    except _BROKEN as error:
        return about | {"error": f"{type(error).__name__}: {error}"}


def summarise_all(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return each side's summary; runs that broke down are counted, not summed up."""
    summary = {}
    for name in SIDES:
        own = [run for run in runs if run["side"] == name]
        whole = [run for run in own if "error" not in run]
        summary[name] = summarise(whole) | {"broken": len(own) - len(whole)}
    return summary


def show(result: dict[str, Any]) -> None:
    """Print the summary for people."""
    ours, theirs = (result["summary"][name] for name in SIDES)
    versions = result["versions"]
    table = Table(
        "after SIGKILL of the leader's whole site",
        "Biyi",
        f"Patroni {versions['patroni']}",
        title=f"{ours['runs']} + {theirs['runs']} runs, in turn; PostgreSQL {versions['postgresql']}, "
        f"etcd {versions['etcd']}, {result['machine']}",
    )
    times = {
        "first_ack_s": "first acknowledged write, s: median (min-max)",
        "noticed_s": "  of it until the loss is noticed",
        "promotion_s": "  of it from there to promoted",
    }
    for name, words in times.items():
        table.add_row(words, _spread_text(ours[name]), _spread_text(theirs[name]))
    counts = {
        "acknowledged": "acknowledged writes", "lost": "  of them lost", "phantom": "rows nobody asked for",
        "misbooked": "accounts booked twice or by half", "failed": "failed requests",
        "never": "runs without a write", "broken": "runs that broke down",
    }  # fmt: skip
    for name, words in counts.items():
        table.add_row(words, str(ours[name]), str(theirs[name]))
    Console().print(table)


def _spread_text(spread: dict[str, float] | None) -> str:
    return f"{spread['median']:.2f} ({spread['min']:.2f}-{spread['max']:.2f})" if spread else "-"


def run_all(runs: int, seed: int, *, strict: bool) -> list[dict[str, Any]]:
    """Make the runs in turn, ours first in every other pair, with progress on standard error."""
    done: list[dict[str, Any]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("peers", total=2 * runs)
        for number in range(runs):
            for name in SIDES if number % 2 == 0 else reversed(SIDES):
                progress.update(task, description=f"run {number + 1}: {name}")
                done.append(measure(name, number, seed, strict=strict))
                progress.advance(task)
                words = done[-1].get("error") or f"first write after {done[-1]['first_ack_s']} s"
                progress.console.print(f"run {number + 1}, {name}: {words}", highlight=False)
    return done


@click.command()
@click.option("--runs", type=click.IntRange(1), default=10, show_default=True, help="Runs of each side.")
@click.option("--seed", default=1, show_default=True, help="Of the load and the instant of the kill.")
@click.option(
    "--patroni", type=click.Choice(["strict", "two-nodes"]), default="strict", show_default=True,
    help="Strict synchronous mode on three nodes, or plain synchronous mode on two.",
)  # fmt: skip
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Where peers.* go.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(runs: int, seed: int, patroni: str, results: Path, as_json: bool) -> None:
    """Measure the same site loss with Biyi and with Patroni; exit 1 if a run broke down or lost a write."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it tells of every killed connection
    try:
        versions = read_versions()
    except StandError as error:
        raise click.ClickException(str(error)) from error
    done = run_all(runs, seed, strict=patroni == "strict")
    summary = summarise_all(done)
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {memory_gib} GiB, {platform.system()} {platform.machine()}",
        "versions": versions,
        "load": {"clients": CLIENTS, "per_second": CLIENTS * RATE_PER_CLIENT, "deadline_s": DEADLINE_SECONDS},
        "patroni": {
            "mode": patroni, "ttl": TTL_SECONDS, "loop_wait": LOOP_WAIT_SECONDS,
            "retry_timeout": RETRY_TIMEOUT_SECONDS, "nodes": 3 if patroni == "strict" else 2,
        },
        "seed": seed,
        "summary": summary,
        "runs": done,
    }  # fmt: skip
    results.mkdir(exist_ok=True)
    (results / "peers.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    (results / "peers.svg").write_text(draw(result))
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        show(result)
    ours = summary[Ours.name]
    harm = ours["never"] + ours["lost"] + ours["phantom"] + ours["misbooked"]
    sys.exit(1 if harm or any("error" in run for run in done) else 0)


if __name__ == "__main__":
    main()
