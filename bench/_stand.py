"""What benches share: a fresh stand that is gone afterwards, the machine's name, a result file."""

import contextlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbooks.stand.home import wipe

RESULTS = Path(__file__).parent / "results"


def run(home: str, *words: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Run one command of `biyi` on the stand of `home`; TimeoutExpired after `seconds`."""
    command = [sys.executable, "-m", "runbooks.cli", *words]
    environment = {**os.environ, "BIYI_HOME": home}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)


@contextlib.contextmanager
def fresh_stand(*words: str) -> Iterator[str]:
    """Yield the home of a stand that `biyi stand up WORDS` has brought up; nothing of it is left after."""
    home = tempfile.mkdtemp(prefix="biyi-bench-")
    try:
        done = run(home, "stand", "up", *words)
        if done.returncode:
            raise RuntimeError(f"the stand did not come up: {done.stderr[-800:]}")
        yield home
    finally:
        run(home, "stand", "down")
        wipe(Path(home))  # data may lie outside the home when PostgreSQL's user cannot reach it
        shutil.rmtree(home)


def percentile(values: list[float], share: float) -> float:
    """Return a percentile as nearest rank: a value that was measured, never one in between."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def write_result(name: str, figures: dict[str, Any], load_before: float) -> dict[str, Any]:
    """Write bench/results/<name>.json with when and where it was measured, and return all of it."""
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load_average": round(load_before, 1),  # who else used the machine
        **figures,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text)
    return result
