"""Freezing a process so that it surely stands still: the signal alone is only a request."""

import os
import signal
import time
from pathlib import Path


def freeze(pid: int) -> None:
    """SIGSTOP a process and wait until each of its threads has stopped: until then one may still answer."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + 30
    while not all(_stopped(task) for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < end, f"process {pid} does not stop"
        time.sleep(0.001)


def _stopped(task: Path) -> bool:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except (FileNotFoundError, ProcessLookupError):  # a thread that has ended does not answer either
        return True
