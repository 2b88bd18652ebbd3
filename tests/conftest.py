"""What every test runs under. Fixtures live beside their tests, not here."""

import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# No deadline: a slow machine is not a failure. On CI the same examples each time: a red run repeats.
settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")

SERVERS = ("tests/faults/", "tests/integration/")


class ServersTogether(LoadScopeScheduling):
    """Keeps what starts servers in one process: two stands at once on two cores would measure each other."""

    def _split_scope(self, nodeid: str) -> str:
        return "servers" if nodeid.startswith(SERVERS) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ServersTogether:
    return ServersTogether(config, log)
