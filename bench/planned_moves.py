"""Planned moves under load on a fresh stand: how long writes paused, and that no request failed.

`python -m bench.planned_moves [--rounds 25] [--json]`; writes bench/results/planned-moves.json. A pause is as
long as flushes and PostgreSQL's stop and promotion take: other writers on the same disk make it longer. So
the share of time in which somebody waited for a core or a disk (/proc/pressure) is
measured along.
"""

import json
import os
import platform
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.site_loss import DRILL_SECONDS, run, run_drill
from runbooks.stand.home import wipe

RESULT = Path(__file__).parent / "results" / "planned-moves.json"
ROUND_SECONDS = 30
"""Patience with a round of moves, besides that with a drill. Source: our choice, three times the usual."""
_KEPT = ("exit_code", "error", "verdict", "moves", "moves_done", "pause_seconds", "acknowledged", "failed",
         "unknown", "lost", "latency")  # fmt: skip


def read_pressure() -> dict[str, int]:
    """Return for how many microseconds so far some task waited for a core, or a disk; {} if unknown."""
    found = {}
    for what in ("cpu", "io"):
        path = Path("/proc/pressure") / what
        if path.exists():
            found[what] = int(path.read_text().splitlines()[0].rpartition("total=")[2])
    return found


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=25, show_default=True, help="Four moves each.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(rounds: int, as_json: bool) -> None:
    """Run the drill and write bench/results/planned-moves.json; exit 1 if it did not hold."""
    home = tempfile.mkdtemp(prefix="biyi-bench-")
    try:
        run(home, "stand", "up").check_returncode()
        begun, before = datetime.now(UTC), read_pressure()
        patience = DRILL_SECONDS + rounds * ROUND_SECONDS
        moved = run_drill(
            home, "drill", "run", "planned-move", "--execute", "--rounds", str(rounds), seconds=patience
        )
        after, seconds = read_pressure(), (datetime.now(UTC) - begun).total_seconds()
    finally:
        run(home, "stand", "down")
        wipe(Path(home))  # data may lie outside the home when PostgreSQL's user cannot reach it
        shutil.rmtree(home)
    result = {
        "at": begun.isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "seconds": round(seconds, 1),
        "waited_share": {name: round((after[name] - before[name]) / seconds / 1e6, 3) for name in before},
        **{name: moved[name] for name in _KEPT if name in moved},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        table = Table("figure", "value", title="Planned moves")
        for name, value in result.items():
            table.add_row(name, str(value))
        Console().print(table)
    sys.exit(moved["exit_code"] or 0 if moved["exit_code"] is not None else 1)


if __name__ == "__main__":
    main()
