"""A real pair, a real etcd, and a router of the idc site that follows it."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.postgres.places import Pair, make_pair
from tests.integration.router.scene import Scene, make_scene


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with make_scene() as made:
        yield made


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = make_pair()
    yield made
    await made.end()
