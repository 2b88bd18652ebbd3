"""A cell with its archive going, ended whatever the test did."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.backup.scene import Scene, a_scene


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with a_scene() as made:
        yield made
