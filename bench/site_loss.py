"""Site-loss drills in a row on one fresh stand: how long customers waited, and that nothing was lost.

`python bench/site_loss.py [--drills 10] [--json]`; writes bench/results/site-loss.json. Half of the drills
lose idc, half cloud. Times are of the machine named in the result: compare figures of one file only.
"""

import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from runbooks.stand.home import wipe

RESULT = Path(__file__).parent / "results" / "site-loss.json"
DRILL_SECONDS = 300
"""Patience with a drill. Source: our choice, five times the usual."""


def run(home: str, *words: str, seconds: float = DRILL_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run one command of `biyi` on the stand of `home`; TimeoutExpired after `seconds`."""
    command = [sys.executable, "-m", "runbooks.cli", *words]
    return subprocess.run(
        command, env={**os.environ, "BIYI_HOME": home}, capture_output=True, text=True, timeout=seconds
    )


def run_drill(home: str, *words: str, seconds: float = DRILL_SECONDS) -> dict[str, Any]:
    """Run a drill with --json; its object, or what went wrong under `error`."""
    try:
        done = run(home, *words, "--json", seconds=seconds)
    except subprocess.TimeoutExpired:
        return {"exit_code": None, "error": f"not over after {seconds:.0f} s"}
    try:
        return {**json.loads(done.stdout), "exit_code": done.returncode}
    except ValueError:
        return {"exit_code": done.returncode, "error": done.stderr[-500:]}


def summarise(drills: list[dict[str, Any]]) -> dict[str, Any]:
    """Reduce the drills to the figures that the README shows. Seconds."""
    ended = [d for d in drills if "cells" in d]
    cells = [cell for drill in ended for cell in drill["cells"].values()]
    rtos = sorted(c["rto_seconds"] for c in cells if c["rto_seconds"] is not None)
    pauses = sorted(c["pause_seconds"] for c in cells if c["rto_seconds"] is None)
    return {
        "drills": len(drills),
        "green": sum(d["exit_code"] == 0 for d in drills),
        "acknowledged": sum(d["acknowledged"] for d in ended),
        "lost": sum(d["lost"] for d in ended),
        "overlapping_epochs": sum(d["overlapping_epochs"] for d in ended),
        "unknown": sum(d["unknown"] for d in ended),
        "unknown_unresolved": sum(d["unknown_unresolved"] for d in ended),
        "failed": sum(d["failed"] for d in ended),
        "rto_median": statistics.median(rtos) if rtos else None,
        "rto_p95": _p95(rtos),
        "rto_max": rtos[-1] if rtos else None,
        "surviving_pause_median": statistics.median(pauses) if pauses else None,
        "surviving_pause_max": pauses[-1] if pauses else None,
        "rejoin_max": max((d["rejoin_seconds"] or 0 for d in ended), default=None),
        "all_went_home": all(d["failed_back"] for d in ended),
    }


def _p95(values: list[float]) -> float | None:
    """Return the 95th percentile as nearest rank: a value that was measured, never one in between."""
    return values[math.ceil(0.95 * len(values)) - 1] if values else None


def show(summary: dict[str, Any]) -> None:
    """Print the summary for people."""
    table = Table("figure", "value", title="Site loss")
    for name, value in summary.items():
        table.add_row(name, f"{value:.2f}" if isinstance(value, float) else str(value))
    Console().print(table)


@click.command()
@click.option("--drills", type=click.IntRange(2), default=10, show_default=True, help="Half of them a site.")
@click.option("--rate", default=40.0, show_default=True, help="Operations a second.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(drills: int, rate: float, as_json: bool) -> None:
    """Run the drills and write bench/results/site-loss.json; exit 1 if any was not green."""
    home = tempfile.mkdtemp(prefix="biyi-bench-")
    done = []
    try:
        run(home, "stand", "up").check_returncode()
        for number in track(range(drills), "drills", console=Console(stderr=True)):
            site = ("idc", "cloud")[number % 2]
            words = ("drill", "run", "site-loss", "--execute", "--site", site, "--rate", str(rate))
            words += ("--seed", str(number))
            done.append(run_drill(home, *words))
    finally:
        run(home, "stand", "down")
        wipe(Path(home))  # data may lie outside the home when PostgreSQL's user cannot reach it
        shutil.rmtree(home)
    summary = summarise(done)
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "rate_per_second": rate,
        "summary": summary,
        "drills": [{k: v for k, v in d.items() if k != "evidence"} for d in done],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        show(summary)
    sys.exit(0 if summary["green"] == drills else 1)


if __name__ == "__main__":
    main()
