"""The staff portal of one process: a core whose router logs in as biyi_staff, and the desk of access control.

Accounts live in the first cell: they move with it and are where most of its commits are (decision 026).
"""

import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from psycopg.types.json import Jsonb

from compliance.access.desk import Desk
from compliance.access.settings import AccessSettings
from compliance.protection.fields import STAFF_TOTP_SECRET
from core_app.core import CellRouter, Connection, LendingCore

T = TypeVar("T")

_TELL = "insert into core.outbox (topic, key, payload, idempotency_key) values (%s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class CellDirectory:
    """The directory of accounts, in the first cell."""

    router: CellRouter
    deadline_seconds: float

    async def write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in a transaction of the first cell; CellUnavailable when it cannot be in time."""

        async def in_epoch(connection: Connection, _epoch: int) -> T:
            return await work(connection)

        cell = self.router.cells[0]
        return (await self.router.write(cell, in_epoch, deadline_seconds=self.deadline_seconds)).value

    async def tell(self, connection: Connection, topic: str, event: Mapping[str, Any]) -> None:
        """Add an event to the outbox in the transaction of `connection`."""
        key = event["event_id"]
        at = dt.datetime.now(dt.UTC).isoformat()  # noqa: TID251 - a shell: the event says when it happened
        await connection.execute(_TELL, [topic, key, Jsonb({**event, "at": at}), key])


@dataclass(frozen=True, slots=True)
class Portal:
    """What staff routes are handed. `core.router` has the rights of biyi_staff and no others."""

    core: LendingCore
    desk: Desk


def make_portal(
    core: LendingCore,
    router: CellRouter,
    limits: AccessSettings | None = None,
    read_s: Callable[[], float] = time.time,
) -> Portal:
    """Return the portal around a router that logs in as biyi_staff."""
    vault = core.vault
    desk = Desk(
        directory=CellDirectory(router, core.deadline_seconds),
        site=core.site,
        digest=vault.request_digest,
        seal=lambda staff, secret: vault.encrypt(STAFF_TOTP_SECRET, staff, secret),
        unseal=lambda staff, sealed: vault.decrypt(STAFF_TOTP_SECRET, staff, sealed),
        read_s=read_s,
        limits=limits or AccessSettings(),
    )
    return Portal(replace(core, router=router), desk)
