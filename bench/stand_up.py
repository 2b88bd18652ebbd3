"""How long `biyi stand up` takes from nothing, until both entrances serve and every cell is in sync.

`python -m bench.stand_up [--times 5] [--json]`; writes bench/results/stand-up.json. Two cells, backups on, as
`biyi stand up` has it; each time in a new directory. Before the first one the programs may lie on disk only.
"""

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import click

from bench._stand import write_result
from runbooks.stand.home import UpOptions, wipe
from runbooks.stand.up import down, up


def time_once() -> tuple[float, dict[str, float]]:
    """Bring a stand up and down again; return the seconds it took up, and those of each stage."""
    home, begun = Path(tempfile.mkdtemp(prefix="biyi-bench-")), time.monotonic()
    marks: list[tuple[str, float]] = []
    try:
        done = asyncio.run(
            up(home, UpOptions(), lambda stage, _n, _all: marks.append((stage, time.monotonic())))
        )
    finally:
        down(home)
        wipe(home)  # data may lie outside the home when PostgreSQL's user cannot reach it
        shutil.rmtree(home)
    ends = [at for _, at in marks[1:]] + [begun + done.seconds]
    return done.seconds, {stage: end - at for (stage, at), end in zip(marks, ends, strict=True)}


@click.command()
@click.option("--times", type=click.IntRange(1), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(times: int, as_json: bool) -> None:
    """Measure and write bench/results/stand-up.json."""
    busy = os.getloadavg()[0]
    found = [time_once() for _ in range(times)]
    seconds = [one for one, _ in found]
    stages = {name: round(statistics.median(one[name] for _, one in found), 2) for name in found[0][1]}
    figures = {
        "median_seconds": round(statistics.median(seconds), 1),
        "max_seconds": round(max(seconds), 1),
        "seconds": [round(one, 1) for one in seconds],
        "stages": stages,
    }
    result = write_result("stand-up", figures, busy)
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo(f"{times} times: median {result['median_seconds']} s, longest {result['max_seconds']} s")
        click.echo("  ".join(f"{name} {one} s" for name, one in stages.items()))
    sys.exit(0)


if __name__ == "__main__":
    main()
