"""Run one job to its end and write down how it ended: `python -m runbooks.console.run_job <folder>`.

It stands between a console, which may die with its site, and the command, so that the end is always told. It
returns as soon as the job runs in a process that is nobody's child.
"""

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

from runbooks.console.jobs import write_whole


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat()  # noqa: TID251 - this process's one clock reader


def run_job(folder: Path) -> int:
    """Run the job's command, its output into `folder`; returns its exit code."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    write_whole(folder / "begun.json", {"at": _now()})
    command = [sys.executable, "-m", "runbooks.cli", *job["words"]]
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False)
    write_whole(folder / "end.json", {"at": _now(), "exit": ended.returncode})
    return ended.returncode


if __name__ == "__main__":
    job_folder = Path(sys.argv[1])
    if child := os.fork():
        started = psutil.Process(child).create_time()
        write_whole(job_folder / "runner.json", {"pid": child, "started": started})
        os._exit(0)
    os._exit(run_job(job_folder))
