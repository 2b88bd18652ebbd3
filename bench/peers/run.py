"""One run of one side: up, load, kill the leader's node, wait for the first acknowledged write, judge."""

import asyncio
import random
import time
from typing import Any, Protocol, Self

import psycopg

from bench.peers.load import OPENING_FEN, SCHEMA, Connection, Load, Session, read_back
from bench.peers.measure import judge
from bench.peers.records import Figures, Marks
from replication.etcd import Etcd, EtcdUnavailable, Snapshot
from replication.tls import Tls

WARM_SECONDS = 3.0
"""Load before the kill, and up to one second more, so that no loop's rhythm meets the kill's."""
AFTER_SECONDS = 2.0
"""Load after the first acknowledged write."""
GIVE_UP_SECONDS = 60.0
"""Longest wait for that write. Source: our choice, three times Patroni's least ttl."""
_LOOK_EVERY_SECONDS = 0.01


class Side(Protocol):
    """A cluster under measurement, made by `async with` and gone afterwards."""

    name: str
    etcd_prefix: str

    async def __aenter__(self) -> Self:
        """Bring it up: every copy follows, a commit waits for the other site."""

    async def __aexit__(self, *_: object) -> None:
        """Leave no process and no directory."""

    async def connect(self) -> Session:
        """Connect a client to the primary."""

    async def make_schema(self, statements: str) -> None:
        """Run `statements` on the primary as the owner."""

    async def connect_survivors(self) -> list[Connection]:
        """Return an administrator's session with each server that will be left."""

    @property
    def survivors(self) -> frozenset[int]:
        """Ports of the servers that will be left."""

    @property
    def etcd_urls(self) -> tuple[str, ...]:
        """etcd's members, the survivors first."""

    @property
    def tls(self) -> Tls:
        """How etcd is called."""

    def noticed(self, snapshot: Snapshot) -> bool:
        """Say whether the survivors have decided that the leader is gone."""

    def kill(self) -> int:
        """SIGKILL the leader's node; return when, in monotonic nanoseconds."""


async def run_once(side: Side, seed: int) -> Figures:
    """Bring `side` up, lose its leader's node under load, and return the figures."""
    async with side:
        await side.make_schema(SCHEMA)
        watched = await side.connect_survivors()
        load = Load(side, seed)
        load.start()
        await asyncio.sleep(WARM_SECONDS + random.Random(seed).random())
        marks = asyncio.create_task(_watch(side, watched))
        killed_ns = await asyncio.to_thread(side.kill)
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await load.acknowledged_by(side.survivors)
                noticed_ns, promoted_ns = await marks
            await asyncio.sleep(AFTER_SECONDS)
        except TimeoutError:
            noticed_ns, promoted_ns = None, None
        ops = await load.stop()
        for connection in watched:
            await connection.close()
        found = await read_back(side)
        return judge(ops, found, Marks(killed_ns, noticed_ns, promoted_ns), side.survivors, OPENING_FEN)


async def _watch(side: Side, watched: list[Connection]) -> tuple[int, int]:
    """Return when the loss was noticed, and when the first survivor left recovery (monotonic ns)."""
    noticed = asyncio.create_task(_watch_etcd(side))
    promotions = [asyncio.create_task(_watch_server(connection)) for connection in watched]
    try:
        await asyncio.wait(promotions, return_when=asyncio.FIRST_COMPLETED)
        first = min(task.result() for task in promotions if task.done())
        return await noticed, first
    finally:
        for task in (noticed, *promotions):
            task.cancel()


async def _watch_etcd(side: Side) -> int:
    async with Etcd(side.etcd_urls, side.tls) as etcd:
        while True:
            try:
                if side.noticed(await etcd.read_prefix(side.etcd_prefix)):
                    return time.monotonic_ns()
            except EtcdUnavailable:
                pass
            await asyncio.sleep(_LOOK_EVERY_SECONDS)


async def _watch_server(connection: Connection) -> int:
    row: Any = (True,)
    while row != (False,):
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
        try:
            row = await (await connection.execute("select pg_is_in_recovery()")).fetchone()
        except psycopg.OperationalError:  # ended by the promotion's own measures
            await asyncio.Event().wait()
    return time.monotonic_ns()
