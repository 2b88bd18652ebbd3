"""What every service of access control is handed: where accounts live, the limits, keys, time and chance."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from compliance.access.bearer import Digest
from compliance.access.errors import AccessRefused, Why
from compliance.access.roles import Role
from compliance.access.rules import Scope
from compliance.access.settings import AccessSettings

Connection: TypeAlias = psycopg.AsyncConnection[Any]
Row: TypeAlias = dict[str, Any]
T = TypeVar("T")

MOST_WAITING = 50
"""Logins that may wait at one process. Source: our choice; two at once, the last waits some three seconds."""


class Directory(Protocol):
    """The one database that holds the accounts; writable wherever its primary stands."""

    async def write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in a transaction and commit it; exceptions of `work` roll back and pass through."""

    async def tell(self, connection: Connection, topic: str, event: Mapping[str, Any]) -> None:
        """Tell behaviour scoring of `event` (its `event_id` is unique) in the transaction of `connection`."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from: peer address, and the work place that the portal names."""

    address: str | None
    terminal: str | None


@dataclass(frozen=True, slots=True)
class Session:
    """Who is logged in, as of this request."""

    staff: str
    branch: str
    roles: tuple[Role, ...]
    scope: Scope
    origin: Origin
    digest: bytes = field(repr=False)


class Turns:
    """Turns at hashing passwords: a few at once, so that a flood of logins does not take cores and memory."""

    def __init__(self, at_once: int) -> None:
        self.taken = 0
        self._turns = asyncio.Semaphore(at_once)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work` in a thread when it is its turn; BUSY when too many wait already."""
        if self.taken >= MOST_WAITING:
            raise AccessRefused(Why.BUSY, "Too many logins at once; ask again in a few seconds.")
        self.taken += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(work, *arguments)
        finally:
            self.taken -= 1


@dataclass(frozen=True, slots=True)
class Desk:
    """One process's access control.

    `digest` is keyed; `seal` and `unseal` protect second-factor secrets, bound to the account's name;
    `read_s` is the wall clock in seconds since 1970 (codes only: sessions live by the database's clock).
    """

    directory: Directory
    site: str
    digest: Digest
    seal: Callable[[str, str], bytes]
    unseal: Callable[[str, bytes], str]
    read_s: Callable[[], float]
    limits: AccessSettings = field(default_factory=AccessSettings)
    new_uuid: Callable[[], uuid.UUID] = uuid.uuid4
    turns: Turns = field(default_factory=lambda: Turns(AccessSettings().hashes_at_once))

    def token_digest(self, token: str) -> bytes:
        """Return what is stored of a session's token."""
        return self.digest(f"staff-token|{token}".encode())


async def fetch(connection: Connection, statement: str, values: Mapping[str, Any]) -> Row | None:
    """Return the first row by its columns' names."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(statement.encode(), values)
    return await cursor.fetchone()


async def fetch_all(connection: Connection, statement: str, values: Mapping[str, Any]) -> list[Row]:
    """Return all rows by their columns' names."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(statement.encode(), values)
    return await cursor.fetchall()


_CHANGE = """
insert into access.changes (change_id, staff, what, detail, done_by, approval)
values (%(id)s, %(staff)s, %(what)s, %(detail)s, %(by)s, %(approval)s)
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One act on an account, to be written down: whose, what, by whom, with which approval."""

    staff: str
    what: str
    by: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    approval: str | None = None


async def record_change(desk: Desk, connection: Connection, change: Change) -> None:
    """Write an act on an account down, and tell behaviour scoring, in the act's own transaction."""
    change_id = desk.new_uuid().hex
    await connection.execute(
        _CHANGE,
        {
            "id": change_id, "staff": change.staff, "what": change.what, "detail": Jsonb(change.detail),
            "by": change.by, "approval": change.approval,
        },
    )  # fmt: skip
    event = {
        "event_id": change_id,
        "staff": change.by,
        "action": change.what,
        "about": change.staff,
        "detail": change.detail,
        "case_id": change.approval,
    }
    await desk.directory.tell(connection, "staff.account_changed", event | {"site": desk.site})
