"""Whether a primary can still put WAL on its disk and let a new client in: what a status query cannot tell.

A status query succeeds while every fsync hangs, and an old connection works while the postmaster stands
still. Both are asked in the background, so that a look never waits for them.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import psycopg

from replication.postgres.copy import Copy
from replication.postgres.observe import abort_connection
from replication.postgres.standing import StandingConnection

log = logging.getLogger("biyi.agent")

KNOCK_SECONDS = 1.0
"""Patience with one knock. Source: our choice; the postmaster forks and answers in a millisecond."""
_SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))
"""What a client may say first, and the server answers with one byte before it knows who asks. Source:
PostgreSQL documentation, 54.7, SSLRequest. (libpq's own ping holds up the whole process.)"""
_FLUSH = b"select pg_logical_emit_message(false, 'biyi', '', true)"
"""One record of about 50 bytes, flushed; outside any transaction, so it waits for no copy and needs no xid.
Source: PostgreSQL documentation, 9.28.6; the argument `flush` is there since PostgreSQL 17."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """For how long a primary has owed an answer; milliseconds, 0 while it owes none."""

    flush_ms: int
    """Its WAL was asked onto the disk this long ago, and has not got any further since."""
    door_ms: int
    """A new client has knocked this long ago."""


class WriteProbe:
    """Probes one primary; held by whoever looks at it, closed whenever the server is let go."""

    def __init__(self, copy: Copy, every_ms: int) -> None:
        self._standing = StandingConnection(copy)
        self._every_ms = every_ms
        self._flush = _Question()
        self._door = _Question()
        self._at = copy.place
        self._flushed_lsn = 0
        self._moved_ms = 0

    def look(self, flush_lsn: int) -> Unanswered:
        """Note how far the WAL is, ask what is due, and say what is owed. Never waits.

        WAL that got further by itself is an answer: a busy primary is never asked to write more.
        """
        at_ms = _now_ms()
        if flush_lsn != self._flushed_lsn:
            self._flushed_lsn, self._moved_ms = flush_lsn, at_ms
        if self._flush.is_due(at_ms - self._every_ms) and at_ms - self._moved_ms >= self._every_ms:
            self._flush.ask(self._ask_flush(), at_ms)
        if self._door.is_due(at_ms - self._every_ms):
            self._door.ask(self._knock(), at_ms)
        return Unanswered(self._flush.owed_ms(at_ms, self._moved_ms), self._door.owed_ms(at_ms))

    async def close(self) -> None:
        """Forget everything and drop the connection; the next look begins anew."""
        questions, self._flush, self._door = (self._flush, self._door), _Question(), _Question()
        self._flushed_lsn = 0
        if self._standing.current is not None:
            abort_connection(self._standing.current)  # a cancelled query would wait for the stalled server
        for question in questions:
            await question.drop()
        await self._standing.close()

    async def _ask_flush(self) -> bool:
        """An error is an answer: who refuses to flush is not stalled; a lost server shows elsewhere."""
        try:
            connection = await self._standing.get()
            await connection.execute("set statement_timeout = 0")
            await connection.execute(_FLUSH)
        except (psycopg.Error, TimeoutError, OSError) as error:
            log.warning("write probe of %s: %s", self._at.name, error)
        return True

    async def _knock(self) -> bool:
        """Any word will do: a server that refuses has answered."""
        try:
            async with asyncio.timeout(KNOCK_SECONDS):
                path, at = self._at.socket_path, (self._at.host, self._at.port)
                opening = asyncio.open_unix_connection(path) if path else asyncio.open_connection(*at)
                reader, writer = await opening
                try:
                    writer.write(_SSL_REQUEST)
                    return await reader.read(1) != b""
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False


class _Question:
    """One question that is asked again and again; a failed answer leaves it open."""

    def __init__(self) -> None:
        self._answered_ms = 0
        self._asked_ms: int | None = None
        self._task: asyncio.Task[bool] | None = None

    def is_due(self, before_ms: int) -> bool:
        """Take in an answer; say whether to ask: nothing is under way and the last answer is that old."""
        if self._task is not None and self._task.done():
            answered, self._task = self._task.result(), None
            if answered:
                self._asked_ms, self._answered_ms = None, _now_ms()
        return self._task is None and self._answered_ms <= before_ms

    def ask(self, question: Coroutine[Any, Any, bool], at_ms: int) -> None:
        """Begin to ask; the time owed goes on from the first of several failed answers."""
        self._task = asyncio.create_task(question)
        if self._asked_ms is None:
            self._asked_ms = at_ms

    def owed_ms(self, at_ms: int, since_ms: int = 0) -> int:
        """Return for how long an answer is owed, not counting time before `since_ms`."""
        return 0 if self._asked_ms is None else max(0, at_ms - max(self._asked_ms, since_ms))

    async def drop(self) -> None:
        """Wait for nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
