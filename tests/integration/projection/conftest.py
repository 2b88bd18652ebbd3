"""One pair of copies and one Valkey a module; each test finds the outbox and the cache empty."""

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from replication.postgres.copy import Copy
from replication.projection.projector import CellProjector
from tests.integration.postgres.places import Pair, admin, make_pair
from tests.integration.projection.scene import Server, end, make_projector, migrate, run_in_loop


@dataclass
class Scene:
    """What a test of projecting needs."""

    pair: Pair
    server: Server
    valkey: Any

    @property
    def passfile(self) -> Path:
        return self.pair.idc.passfile

    async def empty(self) -> None:
        await self.valkey.flushall()
        async with await admin(self.pair.idc) as conn:
            await conn.execute("truncate core.outbox")

    def projector(self, copy: Copy | None = None) -> CellProjector:
        return make_projector(copy or self.pair.idc, self.passfile, self.valkey)


async def _make(pair: Pair, server: Server) -> None:
    await pair.make_sync()
    await migrate(pair.idc)
    await server.start()


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Pair, Server]]:
    pair, server = make_pair(), Server()
    try:
        run_in_loop(_make(pair, server))
        yield pair, server
    finally:
        run_in_loop(end(pair, server))
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
async def scene(servers: tuple[Pair, Server]) -> AsyncIterator[Scene]:
    pair, server = servers
    valkey = server.client()
    made = Scene(pair, server, valkey)
    await made.empty()
    yield made
    await valkey.aclose()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = make_pair()
    yield made
    await made.end()
