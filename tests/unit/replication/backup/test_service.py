"""The backup process lets the agent, the databases and the core go first."""

import subprocess
import sys
from pathlib import Path

import pytest

_GIVES_WAY = """
import os
from replication.backup.service import give_way
give_way()
print(os.nice(0))
group = "/proc/self/autogroup"
print(open(group).read().split()[-1] if os.path.exists(group) else "none")
"""


def test_the_backup_process_weighs_less_than_whatever_customers_wait_for() -> None:
    """In a session of its own: there Linux weighs the session's group, and `nice` alone changes nothing."""
    done = subprocess.run(
        [sys.executable, "-c", _GIVES_WAY], capture_output=True, text=True, check=True, start_new_session=True
    )
    niceness, group = done.stdout.split()
    assert int(niceness) >= 10
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("this Linux has no autogroups: nice alone weighs")
    assert int(group) >= 10
