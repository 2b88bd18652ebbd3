"""One whole stand for the modules that look at it as a whole."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from replication.model import Site
from runbooks.stand.home import UpOptions, wipe
from runbooks.stand.processes import find_marked
from runbooks.stand.sites import data_directories
from runbooks.stand.up import down, up


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the home of a stand that was brought up; a test that takes it down leaves it to the next `up`."""
    made = tmp_path_factory.mktemp("stand")
    try:
        asyncio.run(up(made, UpOptions(backups=False)))
        yield made
    finally:
        down(made)
        left = [each for site in Site for each in find_marked(f"{made}|", data_directories(made, site))]
        wipe(made)
        assert left == []
