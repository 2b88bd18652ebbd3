"""One transaction in a cell as its owner, on whatever copy is primary, fenced by the epoch."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg

from replication.etcd import Etcd, EtcdUnavailable
from replication.grants import read_world
from replication.settings import SiteSettings
from replication.tls import calling
from replication.transport import plan_calling

T = TypeVar("T")
Connection = psycopg.AsyncConnection[Any]
PATIENCE_S = 30.0
"""Patience with one transaction in a cell. Source: our choice, six times the promised 5 s of a failover."""
TRANSACTION_MS = 3000
"""The server ends a transaction of ours that is open this long. Source: as the core's own (decision 006)."""
_PAUSE_S = 0.2
_PASSING = ("BY001", "BY150", "25006")
"""It is in another epoch; slots are leaving it; it is no primary any more, and read-only."""


class CellSilent(Exception):
    """A cell took no transaction in time; the message says which and what it said last."""


async def run_in_cell(
    settings: SiteSettings,
    cell: str,
    work: Callable[[Connection], Awaitable[T]],
    patience_s: float = PATIENCE_S,
) -> T:
    """Run `work` in one transaction on the cell's primary and commit it; again after a failover.

    A commit whose answer was lost is run again too: `work` must be one that may happen twice.
    """
    end = time.monotonic() + patience_s
    while True:
        try:
            return await _once(settings, cell, work)
        except (OSError, EtcdUnavailable, KeyError, TimeoutError, psycopg.Error) as error:
            state = getattr(error, "sqlstate", None)
            passing = not isinstance(error, psycopg.Error) or isinstance(error, psycopg.OperationalError)
            if not passing and state not in _PASSING:
                raise
            if time.monotonic() > end:
                raise CellSilent(f"cell {cell}: {type(error).__name__} for {patience_s:.0f} s") from error
            await asyncio.sleep(_PAUSE_S)


async def _once(settings: SiteSettings, cell: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    async with Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd")) as etcd:
        grant = (await read_world(etcd)).grants[cell].grant
    place = settings.place(grant.primary.place)
    connection = await psycopg.AsyncConnection.connect(
        **plan_calling(place), dbname="biyi", user="biyi_owner", passfile=str(settings.passfile),
        connect_timeout=5, autocommit=True, application_name="biyi-keys",
        options=f"-c transaction_timeout={TRANSACTION_MS}",
    )  # fmt: skip
    async with connection, connection.transaction():
        await connection.execute("select biyi.require_epoch(%s), core.require_place(null)", [grant.epoch])
        return await work(connection)
