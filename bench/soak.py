"""A long run at 70 % of the machine with faults: what the stand holds must not grow.

`python -m bench.soak [--minutes 60] [--share 0.7] [--rate N] [--json]`; writes bench/results/soak.json and
soak.svg. The rate at which the machine is busy for `--share` is found first, or given. Then the fault matrix
runs with that load; its faults are those that end no process of ours for good reason (`FAULTS`), so that the
same processes live through all of it. Looked at all the time: resident memory and open files of each kind of
process, processes of PostgreSQL and what the largest of them holds alone, the most WAL that a copy keeps,
replication slots, directories set aside because nobody could read them. The second quarter is compared with
the last: the first warms up. WAL has grown once a copy keeps more than its settings name (`CEILINGS`): a
copy that was cloned begins with none and keeps the next hundreds of MB for its peers.
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
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from bench._soak_plot import draw
from bench._stand import RESULTS, fresh_stand, write_result
from replication.model import DATA_SITES, Site
from replication.settings import read_site_settings
from replication.tls import public_tls
from runbooks.drills.customer import Customers
from runbooks.drills.history import HistoryWriter
from runbooks.drills.load import Load, LoadSettings
from runbooks.faults.runner import MatrixOptions, run_matrix
from runbooks.faults.schedule import compose_schedule
from runbooks.faults.verdict import judge_run
from runbooks.stand.processes import read_pids
from runbooks.stand.sites import pids_path
from runbooks.stand.topology import Stand, make_cells, read_stand
from runbooks.tokens import channel_token

FAULTS = (
    "agent-stop", "backend-kill", "backend-stop", "walsender-stop", "walreceiver-stop", "startup-stop",
    "postmaster-kill", "link-cut", "link-hole", "one-way-hole", "link-slow", "link-flap", "witness-cut",
    "router-cut", "api-stop", "planned-move",
)  # fmt: skip
TRIAL_RATE, TRIAL_SECONDS = 40.0, 20.0
"""Operations a second with which the busy share is measured. Source: our choice, half of what fits."""
MATRIX_RATE = 20.0
"""The matrix' own operations a second beside the lending. Source: as runbooks.faults."""
LOOK_SECONDS = 10.0
LEAST_LOOKS = 12
"""Fewer cannot be halved twice and compared. Source: our choice, two minutes of looks."""
MOST_GROWTH = 1.1
"""Last quarter over second quarter that is still no growth. Source: our choice; faults make both uneven."""
FAULTS_A_MINUTE = 60
SMALL = {
    "rss_mib": 8.0,
    "own_mib": 1.0,
    "files": 8.0,
    "sessions": 4.0,
    "wal_mib": 0.0,
    "slots": 1.0,
    "asides": 1.0,
}
"""Growth too small to tell: a few pages, files and sessions, one slot that moves."""
CEILINGS = {"wal_mib": 512.0}
"""Up to here it is no growth. Source: max_wal_size, max_slot_wal_keep_size of replication.postgres.conf."""

Sample = dict[str, float]
"""One look: `what/kind` -> figure."""


def look(stand: Stand) -> Sample:
    """Look once at every process and data directory of the stand."""
    found: defaultdict[str, float] = defaultdict(float)
    for site in Site:
        for name, running in read_pids(pids_path(stand.home, site)).items():
            _add_process(found, name, running.pid)
    for site in DATA_SITES:
        for data in stand.copies_dir(site).iterdir():
            if not data.suffix:  # `.new` and `.old` are of a clone under way
                _add_copy(found, data)
        found["asides/postgres"] += sum(1 for _ in stand.copies_dir(site).glob("*.aside-*"))
    return dict(found)


def _add_process(found: defaultdict[str, float], name: str, pid: int) -> None:
    """Add a process, and those of Python that it keeps beside it: the agent's watchdog and backups."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            found[f"rss_mib/{name}"] += process.memory_info().rss / 2**20
            found[f"files/{name}"] += process.num_fds()
        for child in process.children():
            words = child.cmdline()
            if words[1:2] == ["-m"]:
                _add_process(found, words[2], child.pid)
    except psutil.Error:
        return  # a fault has just ended it


def _add_copy(found: defaultdict[str, float], data: Path) -> None:
    try:
        kept = sum(one.stat().st_size for one in (data / "pg_wal").iterdir()) / 2**20
        found["wal_mib/postgres"] = max(found["wal_mib/postgres"], kept)
        found["slots/postgres"] += sum(1 for _ in (data / "pg_replslot").iterdir())
        pid = int((data / "postmaster.pid").read_text().split()[0])
        sessions = psutil.Process(pid).children()
        found["sessions/postgres"] += len(sessions)
        memory = [session.memory_info() for session in sessions]
        own = max(((one.rss - one.shared) / 2**20 for one in memory), default=0.0)
        found["own_mib/postgres"] = max(found["own_mib/postgres"], own)
    except (OSError, ValueError, IndexError, psutil.Error):
        return  # not there just now: killed, cloned, or a segment recycled while it was counted


async def keep_looking(stand: Stand, samples: list[tuple[float, Sample]]) -> None:
    """Look every LOOK_SECONDS until cancelled; the hour's minute stands with each look."""
    begun = time.monotonic()
    for number in itertools.count(1):
        samples.append(((time.monotonic() - begun) / 60, await asyncio.to_thread(look, stand)))
        await asyncio.sleep(max(0.0, begun + number * LOOK_SECONDS - time.monotonic()))


async def find_rate(home: Path, share: float) -> tuple[float, float]:
    """Return operations a second that make the machine busy for `share`, and how busy the trial made it."""
    settings = {site: read_site_settings(home / site / "site.json") for site in DATA_SITES}
    own = settings[Site.IDC]
    entrances = {str(site): f"https://127.0.0.1:{one.api_port}" for site, one in settings.items()}
    history, stop = HistoryWriter(home / "bench-history.jsonl"), asyncio.Event()
    async with Customers(entrances, tls=public_tls(own.tls_dir), token=channel_token(own)) as customers:
        load = Load(customers, history, LoadSettings(TRIAL_RATE, 1, "bench-" + secrets.token_hex(4)))
        await load.prepare([cell.name for cell in own.cells])
        psutil.cpu_percent()
        await asyncio.sleep(TRIAL_SECONDS / 2)
        idle = psutil.cpu_percent() / 100
        running = asyncio.create_task(load.run(stop))
        await asyncio.sleep(TRIAL_SECONDS)
        busy = psutil.cpu_percent() / 100
        stop.set()
        await running
    history.close()
    if busy >= share or busy <= idle:
        raise click.ClickException(f"{TRIAL_RATE:g}/s make the machine {busy:.0%} busy, rest {idle:.0%}: "
                                   "something else uses it; try again when it is quiet")  # fmt: skip
    return TRIAL_RATE * (share - idle) / (busy - idle), busy


def compare(samples: list[tuple[float, Sample]]) -> dict[str, dict[str, Any]]:
    """Return each figure's median in the second quarter and in the last, and whether it grew."""
    quarter = len(samples) // 4
    found = {}
    for name in sorted({name for _, sample in samples for name in sample}):
        early = _median(sample.get(name) for _, sample in samples[quarter : 2 * quarter])
        late = _median(sample.get(name) for _, sample in samples[-quarter:])
        if early is None or late is None:
            continue
        kind = name.partition("/")[0]
        small, ceiling = SMALL[kind], CEILINGS.get(kind, 0.0)
        grew = late > max(early * MOST_GROWTH, ceiling) and late - early > small
        found[name] = {"second_quarter": round(early, 1), "last_quarter": round(late, 1), "grew": grew}
    return found


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


async def soak(home: Path, minutes: float, rate: float, seed: int) -> dict[str, Any]:
    """Run the matrix at `rate` operations a second, look all the while."""
    console = Console(stderr=True)
    lending = max(1.0, rate - MATRIX_RATE)
    cells = tuple(cell.name for cell in make_cells(2))
    schedule = compose_schedule(seed, int(minutes * FAULTS_A_MINUTE) + 1, cells, FAULTS)
    options = MatrixOptions(home, schedule, minutes, lending_rate=lending, matrix_rate=MATRIX_RATE)
    samples: list[tuple[float, Sample]] = []
    looking = asyncio.create_task(keep_looking(read_stand(home), samples))
    psutil.cpu_percent()
    try:
        judged = await run_matrix(options, console.print, judge=judge_run)
    finally:
        looking.cancel()
    if looking.done() and not looking.cancelled():
        looking.result()  # it never ends by itself: what ended it is said
    if len(samples) < LEAST_LOOKS:
        raise click.ClickException(f"{len(samples)} looks, needs {LEAST_LOOKS}: nothing can be compared")
    held = psutil.cpu_percent() / 100
    (RESULTS / "soak.svg").write_text(draw(samples))
    compared = compare(samples)
    return {
        "minutes": round(samples[-1][0], 1),
        "rate_per_second": round(rate, 1),
        "busy_share": round(held, 2),
        "faults": judged["faults"],
        "verdict": str(judged["verdict"]),
        "not_held": {found.name: found.examples for found in judged["findings"] if found.verdict != "holds"},
        "evidence": _keep_evidence(Path(judged["evidence"])) if judged["verdict"] != "holds" else None,
        "figures": compared,
        "grew": [name for name, one in compared.items() if one["grew"]],
    }


def _keep_evidence(folder: Path) -> str:
    """Copy a run's evidence out of the stand's home, which goes; return where to."""
    kept = Path(tempfile.mkdtemp(prefix="biyi-soak-")) / folder.name
    shutil.copytree(folder, kept)
    return str(kept)


@click.command()
@click.option("--minutes", type=click.FloatRange(min=2), default=60.0, show_default=True)
@click.option("--share", type=click.FloatRange(0.1, 0.9), default=0.7, show_default=True, help="Busy share.")
@click.option("--rate", type=float, help="Operations a second, on a machine that is not quiet; else found.")
@click.option("--seed", default=1, show_default=True, help="The same seed, the same faults.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(minutes: float, share: float, rate: float | None, seed: int, as_json: bool) -> None:
    """Soak a fresh stand; exit 1 if a check broke or anything grew."""
    load = os.getloadavg()[0]
    with fresh_stand() as home:
        if rate is None:
            rate, busy = asyncio.run(find_rate(Path(home), share))
            click.echo(f"{TRIAL_RATE:g}/s: {busy:.0%} busy; {rate:.0f}/s for {share:.0%}", err=True)
        result = write_result("soak", asyncio.run(soak(Path(home), minutes, rate, seed)), load)
    if as_json:
        click.echo(json.dumps(result))
    else:
        table = Table("", "second quarter", "last quarter", "", title=f"{result['minutes']} minutes")
        for name, one in result["figures"].items():
            figures = (str(one["second_quarter"]), str(one["last_quarter"]))
            table.add_row(name, *figures, "grew" if one["grew"] else "")
        Console().print(table)
        click.echo(f"{result['faults']} faults, {result['verdict']}")
        for name, examples in result["not_held"].items():
            click.echo("\n  ".join((f"not held: {name}", *examples)))
        if result["evidence"]:
            click.echo(f"evidence: {result['evidence']}")
        click.echo(f"grew: {', '.join(result['grew']) or 'nothing'}")
    sys.exit(0 if result["verdict"] == "holds" and not result["grew"] else 1)


if __name__ == "__main__":
    main()
