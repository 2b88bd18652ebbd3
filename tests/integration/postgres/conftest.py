"""A pair of places, ended whatever the test did."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.postgres.places import Pair, make_pair


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = make_pair()
    yield made
    await made.end()
