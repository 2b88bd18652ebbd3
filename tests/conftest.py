"""What every test runs under. Fixtures live beside their tests, not here."""

import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# No deadline: a slow machine is not a failure. On CI the same examples each time: a red run repeats.
settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")

STANDS = ("tests/faults/", "tests/integration/")
CORE = "tests/integration/core_app/"


class StandsTogether(LoadScopeScheduling):
    """Keeps what starts stands in one process, since two stands on two cores would measure each other.

    The tests of the core share one PostgreSQL; they go in one process too, beside the stands.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(CORE):
            return "core"
        return "stands" if nodeid.startswith(STANDS) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> StandsTogether:
    return StandsTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let those that freeze and kill their peers leave a socket to the collector.

    A call that is cut off in the middle of a handshake is closed in its loop's next turns, and a test that
    ends before them has no such turns.
    """
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))
