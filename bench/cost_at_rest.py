"""What cells cost while nobody asks anything of them: etcd writes, processor time, from 2 to 64 cells.

`python bench/cost_at_rest.py [--cells 2 --cells 8 …] [--seconds 20] [--json]`; writes
bench/results/cost-at-rest.json. Beats are one a site, so etcd's writes must not grow with the cells.
"""

import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from replication.etcd import Etcd
from replication.grants import GRANTS, PREFIX
from replication.model import DATA_SITES, Site
from runbooks.stand.home import UpOptions, wipe
from runbooks.stand.processes import read_pids
from runbooks.stand.sites import pids_path
from runbooks.stand.topology import Stand
from runbooks.stand.up import down, up

RESULT = Path(__file__).parent / "results" / "cost-at-rest.json"
SETTLE_SECONDS = 10.0
"""Pause after `up`, so that first checkpoints and migrations are over. Source: our choice."""
GROUPS = ("agent", "etcd", "postgres", "api", "projector", "payer", "notary", "border", "valkey")
SHOWN = ("agent", "etcd", "postgres")
"""Those of GROUPS that people are shown; the result holds all."""


def cpu_seconds(stand: Stand) -> Counter[str]:
    """Return the processor time used so far by each kind of the stand's processes."""
    used: Counter[str] = Counter()
    for site in Site:
        for name, running in read_pids(pids_path(stand.home, site)).items():
            process = psutil.Process(running.pid)
            used[name] += _cpu_of(process)
    for site in DATA_SITES:
        for pid_file in stand.copies_dir(site).glob("*/postmaster.pid"):
            used["postgres"] += _cpu_of(psutil.Process(int(pid_file.read_text().split()[0])))
    return used


def _cpu_of(process: psutil.Process) -> float:
    """Return the processor time of a process and its children, living and dead."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    dead = times[0].children_user + times[0].children_system
    return float(sum(t.user + t.system for t in times) + dead)


async def etcd_state(stand: Stand) -> tuple[int, set[tuple[str, int]]]:
    """Return etcd's revision (it grows by one a write) and the revision of each cell's grant."""
    async with Etcd([stand.etcd_url(site) for site in Site], stand.calling("etcd")) as etcd:
        snapshot = await etcd.read_prefix(PREFIX)
    grants = {(k, v.mod_revision) for k, v in snapshot.values.items() if k.startswith(GRANTS)}
    return snapshot.revision, grants


async def measure(cells: int, seconds: float, home: Path) -> dict[str, Any]:
    """Bring up a stand with `cells` cells, leave it alone, and measure for `seconds`."""
    done = await up(home, UpOptions(cells=cells, backups=False, patience_s=900))
    try:
        await asyncio.sleep(SETTLE_SECONDS)
        before, cpu_before, begun = await etcd_state(done.stand), cpu_seconds(done.stand), time.monotonic()
        await asyncio.sleep(seconds)
        after, cpu_after = await etcd_state(done.stand), cpu_seconds(done.stand)
        lasted = time.monotonic() - begun
    finally:
        down(home)
    cpu = {name: (cpu_after[name] - cpu_before[name]) / lasted for name in GROUPS}
    return {
        "cells": cells,
        "up_seconds": done.seconds,
        "etcd_writes_per_second": (after[0] - before[0]) / lasted,
        "grants_changed": len(after[1] - before[1]),
        "cpu_cores": cpu,
        "agent_cpu_cores_per_copy": cpu["agent"] / (2 * cells),
        "postgres_cpu_cores_per_copy": cpu["postgres"] / (2 * cells),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows for people."""
    heads = ("cells", "writes/s", "grants", *SHOWN, "agent/copy", "pg/copy")
    table = Table(*heads, title="At rest: etcd writes a second, grants changed, % of one core")
    for row in rows:
        cpu = [f"{100 * row['cpu_cores'][name]:.1f}" for name in SHOWN]
        per_copy = [f"{100 * row[f'{name}_cpu_cores_per_copy']:.2f}" for name in ("agent", "postgres")]
        writes = f"{row['etcd_writes_per_second']:.2f}"
        table.add_row(str(row["cells"]), writes, str(row["grants_changed"]), *cpu, *per_copy)
    Console().print(table)


@click.command()
@click.option("--cells", "counts", type=click.IntRange(1, 64), multiple=True, default=(2, 8, 32, 64))
@click.option("--seconds", default=20.0, show_default=True, help="Length of each measurement.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(counts: tuple[int, ...], seconds: float, as_json: bool) -> None:
    """Measure stands at rest and write bench/results/cost-at-rest.json."""
    rows = []
    for cells in counts:
        home = Path(tempfile.mkdtemp(prefix="biyi-bench-"))
        try:
            Console(stderr=True).print(f"{cells} cells …")
            rows.append(asyncio.run(measure(cells, seconds, home)))
        finally:
            down(home)
            wipe(home)  # data may lie outside the home when PostgreSQL's user cannot reach it
            shutil.rmtree(home)
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "seconds": seconds,
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        show(rows)
    sys.exit(0)


if __name__ == "__main__":
    main()
