"""What every test runs under. Fixtures live beside their tests, not here."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: a slow machine is not a failure. On CI the same examples each time: a red run repeats.
settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")

SERVERS = ("faults", "integration")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what starts servers in one process: two stands at once on two cores would measure each other."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in SERVERS:
            item.add_marker(pytest.mark.xdist_group("servers"))
