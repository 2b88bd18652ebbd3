"""One pair of cells for the tests of a module; each test takes a chunk of its own."""

from collections.abc import Iterator

import pytest

from tests.integration.moving.world import World, make_world


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with make_world() as made:
        yield made
