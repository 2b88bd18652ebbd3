"""What archiving costs: planned moves with and without it by turns, its lag under load, its processor time.

`python bench/backups.py [--pairs 3] [--rounds 2] [--rate 40] [--json]`; writes bench/results/backups.json.
A pair is one stand without backups and one with; the order changes from pair to pair, so that a machine
that is busy for a while is busy for both. Compare within the file only.
"""

import asyncio
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from replication.backup.archive import current_archive
from replication.backup.health import read_health
from replication.backup.sealed import open_backup_key
from replication.model import DATA_SITES
from replication.settings import BackupSettings, SiteSettings, read_site_settings
from runbooks.drills.planned_move import run_planned_move
from runbooks.drills.scene import DrillOptions
from runbooks.stand.home import UpOptions, wipe
from runbooks.stand.processes import read_pids
from runbooks.stand.sites import pids_path
from runbooks.stand.topology import Stand
from runbooks.stand.up import down, up

RESULT = Path(__file__).parent / "results" / "backups.json"
SETTLE_SECONDS = 8.0
"""Pause after `up`, so that first checkpoints are over. Source: our choice."""
REST_SECONDS = 10.0
"""Length of the measurement at rest. Source: our choice; processor time counts in steps of 10 ms."""
SAMPLE_SECONDS = 0.25
SERVICE = "replication.backup.service"


def cpu_seconds(stand: Stand) -> dict[str, float]:
    """Return the processor time used so far by the backup processes and by PostgreSQL's.

    Only at rest for PostgreSQL's: a move ends a server, and the time it had used goes with it.
    """
    backup = postgres = 0.0
    for site in DATA_SITES:
        agent = psutil.Process(read_pids(pids_path(stand.home, site))["agent"].pid)
        for child in agent.children():
            with suppress(psutil.Error):
                if SERVICE in child.cmdline():
                    backup += _cpu_of(child)
        for pid_file in stand.copies_dir(site).glob("*/postmaster.pid"):
            with suppress(psutil.Error, OSError, ValueError):
                postgres += _cpu_of(psutil.Process(int(pid_file.read_text().split()[0])))
    return {"backup": backup, "postgres": postgres}


def _cpu_of(process: psutil.Process) -> float:
    """Return the processor time of a process and its children, living and dead."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    dead = times[0].children_user + times[0].children_system
    return float(sum(t.user + t.system for t in times) + dead)


async def sample_lags(stand: Stand, lags: list[float], unknown: list[str]) -> None:
    """Note every archive's lag (seconds) until cancelled; where none was known yet, which archive's.

    Where a new history lacks what was covered, an archive says nothing for a while: the earlier counts then.
    """
    covered: dict[str, datetime] = {}
    sites: list[tuple[SiteSettings, BackupSettings]] = []
    for site in DATA_SITES:
        settings = read_site_settings(stand.site_dir(site) / "site.json")
        if settings.backup is not None:
            sites.append((settings, settings.backup))
    keys = [open_backup_key(settings.key_file) for settings, _ in sites]
    while True:
        for (settings, backup), key in zip(sites, keys, strict=True):
            for cell in settings.cells:
                archive = current_archive(backup.directory, cell.name, key)
                name, now = f"{cell.name} at {settings.site}", datetime.now(UTC)
                health = read_health(archive, now, backup.lag_limit) if archive else None
                if health is not None and health.lag_seconds is not None:
                    covered[name] = now - timedelta(seconds=health.lag_seconds)
                if name in covered:
                    lags.append((now - covered[name]).total_seconds())
                else:
                    unknown.append(name)
        await asyncio.sleep(SAMPLE_SECONDS)


async def measure(home: Path, rounds: int, rate: float, *, backups: bool) -> dict[str, Any]:
    """Bring a stand up, leave it alone, move its cells under load; return what was seen."""
    lags: list[float] = []
    unknown: list[str] = []
    done = await up(home, UpOptions(backups=backups, patience_s=300))
    try:
        await asyncio.sleep(SETTLE_SECONDS)
        rest = await _cores(done.stand, asyncio.sleep(REST_SECONDS))
        sampling = asyncio.create_task(sample_lags(done.stand, lags, unknown))
        options, results = DrillOptions(home, rate), []

        async def drill() -> None:
            results.append(await run_planned_move(options, rounds, lambda _text: None))

        load = await _cores(done.stand, drill())
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
    finally:
        await asyncio.to_thread(down, home)
    plain = results[0].plain
    return {
        "pauses_seconds": [round(p, 4) for p in results[0].pauses_s],
        "failed": plain["failed"] + plain["unknown"],
        "lost": plain["lost"],
        "latency": plain["latency"],
        "cpu_cores_at_rest": rest,
        "cpu_cores_under_load": load,
        "lags_seconds": [round(lag, 3) for lag in lags],
        "lag_max_seconds": round(max(lags), 3) if lags else None,
        "machine_load_1_min": os.getloadavg()[0],
        "lag_samples_unknown": len(unknown),
    }


async def _cores(stand: Stand, work: Any) -> dict[str, float]:
    """Return the processor time used while `work` went on, in cores."""
    before, begun = cpu_seconds(stand), time.monotonic()
    await work
    lasted, after = time.monotonic() - begun, cpu_seconds(stand)
    return {name: round((after[name] - before[name]) / lasted, 4) for name in before}


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Reduce the runs to figures; a ratio is with backups over without."""
    summary: dict[str, Any] = {}
    for name, rows in runs.items():
        pauses = [pause for row in rows for pause in row["pauses_seconds"]]
        summary[name] = {
            "moves": len(pauses),
            "pause_median_seconds": statistics.median(pauses),
            "pause_max_seconds": max(pauses),
            "failed": sum(row["failed"] for row in rows),
            "lost": sum(row["lost"] for row in rows),
            "latency_p50_ms": statistics.median(row["latency"]["p50_ms"] for row in rows),
        }
        for part, when in (("backup", "at_rest"), ("postgres", "at_rest"), ("backup", "under_load")):
            value = statistics.mean(row[f"cpu_cores_{when}"][part] for row in rows)
            summary[name][f"{part}_cpu_cores_{when}"] = value
    lags = sorted(lag for row in runs["with"] for lag in row["lags_seconds"])
    summary["lag"] = {
        "samples": len(lags),
        "median_seconds": statistics.median(lags),
        "p99_seconds": lags[int(0.99 * (len(lags) - 1))],
        "max_seconds": lags[-1],
        "unknown_samples": sum(row["lag_samples_unknown"] for row in runs["with"]),
    }
    for figure in ("pause_median_seconds", "pause_max_seconds", "latency_p50_ms"):
        summary[f"ratio_{figure}"] = summary["with"][figure] / summary["without"][figure]
    return summary


def show(summary: dict[str, Any]) -> None:
    """Print the summary for people."""
    table = Table("figure", "without", "with", title="Planned moves without and with backups")
    for name in summary["with"]:
        table.add_row(name, f"{summary['without'][name]:.3f}", f"{summary['with'][name]:.3f}")
    Console().print(table)
    for name in [n for n in summary if n.startswith("ratio_")]:
        Console().print(f"{name}: {summary[name]:.2f}", highlight=False)
    Console().print(f"archive lag: {summary['lag']}", highlight=False)


@click.command()
@click.option("--pairs", type=click.IntRange(1), default=3, show_default=True, help="Stands of each kind.")
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True, help="Rounds of moves each.")
@click.option("--rate", default=40.0, show_default=True, help="Operations a second.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(pairs: int, rounds: int, rate: float, as_json: bool) -> None:
    """Measure and write bench/results/backups.json; exit 1 if anything was lost."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number in range(pairs):
        for backups in (False, True) if number % 2 == 0 else (True, False):
            name = "with" if backups else "without"
            Console(stderr=True).print(f"pair {number + 1}: {name} …")
            home = Path(tempfile.mkdtemp(prefix="biyi-bench-"))
            try:
                runs[name].append(asyncio.run(measure(home, rounds, rate, backups=backups)))
            finally:
                down(home)
                wipe(home)  # data may lie outside the home when PostgreSQL's user cannot reach it
                shutil.rmtree(home)
    summary = summarise(runs)
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "rate_per_second": rate,
        "summary": summary,
        "runs": {
            name: [{k: v for k, v in row.items() if k != "lags_seconds"} for row in rows]
            for name, rows in runs.items()
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        show(summary)
    sys.exit(1 if summary["with"]["lost"] or summary["without"]["lost"] else 0)


if __name__ == "__main__":
    main()
