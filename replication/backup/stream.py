"""PostgreSQL's streaming replication protocol, the reading side: WAL as it is written, as values.

Source: PostgreSQL documentation, "Streaming Replication Protocol". psycopg makes the connection and
frames the messages; what is in them is read here.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import DiagnosticField, ExecStatus

from replication.backup.errors import BackupError
from replication.model import format_lsn, parse_lsn
from replication.postgres.copy import ARCHIVER, REPL
from replication.postgres.observe import TCP_OPTIONS
from replication.settings import PlaceSettings
from replication.transport import plan_calling

ANSWER_SECONDS = 5.0
"""Patience with one answer. Source: our choice; a walsender answers at once or is gone."""
_ADMIN_SHUTDOWN = b"57P01"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the server is and where its WAL ends; LSN in bytes."""

    system: str
    timeline: int
    lsn: int


@dataclass(frozen=True, slots=True)
class WalData:
    """Bytes of WAL from `start_lsn` on; the server has WAL up to `server_end`."""

    start_lsn: int
    data: bytes
    server_end: int


@dataclass(frozen=True, slots=True)
class Alive:
    """The server has nothing new; it may want an answer at once."""

    server_end: int
    reply_now: bool


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing came for a while."""


@dataclass(frozen=True, slots=True)
class TimelineEnd:
    """The timeline that was asked for goes no further."""


Message = WalData | Alive | Quiet | TimelineEnd


class StreamStopped(BackupError):
    """The server ended the stream, because it stops or was told to; the timeline goes on."""


class WalRemoved(BackupError):
    """The server no longer has the WAL that was asked for."""


class WalStream:
    """One replication connection. Make it with `open_stream`."""

    def __init__(self, conn: psycopg.AsyncConnection[Any]) -> None:
        self._pg = conn.pgconn
        self._pg.nonblocking = 1

    async def identify(self) -> Identity:
        """Ask who the server is."""
        row = await self._ask("IDENTIFY_SYSTEM")
        return Identity(row[0].decode(), int(row[1]), parse_lsn(row[2].decode()))

    async def show(self, name: str) -> str:
        """Return a setting of the server."""
        return (await self._ask(f"SHOW {name}"))[0].decode()

    async def history(self, timeline: int) -> str:
        """Return the history file of a timeline; empty for the first."""
        if timeline == 1:
            return ""
        return (await self._ask(f"TIMELINE_HISTORY {timeline}"))[1].decode()

    async def start(self, timeline: int, lsn: int) -> bool:
        """Begin to stream; False when the timeline has nothing from there on. WalRemoved when it is gone."""
        async with asyncio.timeout(ANSWER_SECONDS):
            self._pg.send_query(f"START_REPLICATION PHYSICAL {format_lsn(lsn)} TIMELINE {timeline}".encode())
            result = await self._result()
        if result is not None and result.status == ExecStatus.COPY_BOTH:
            return True
        if result is not None and result.status == ExecStatus.FATAL_ERROR:
            self._refuse(result)
        return False

    async def messages(self, quiet_seconds: float) -> AsyncIterator[Message]:
        """Yield what comes; Quiet when nothing has for `quiet_seconds`; TimelineEnd is the last.

        StreamStopped when the server ends the stream for another reason, psycopg.Error when it breaks.
        """
        while True:
            count, data = self._pg.get_copy_data(1)
            if count > 0:
                message = _read(bytes(data))
                if message is not None:
                    yield message
            elif count == 0:
                if await self._readable(quiet_seconds):
                    self._pg.consume_input()
                else:
                    yield Quiet()
            else:
                result = self._pg.get_result()
                self._check_end(result)
                yield TimelineEnd()
                return

    def report(self, received_lsn: int) -> None:
        """Tell the server how far we are: its clean stop waits for this (not for our disk)."""
        body = b"r" + received_lsn.to_bytes(8, "big") + bytes(24) + b"\0"
        self._pg.put_copy_data(body)
        self._pg.flush()

    async def _ask(self, command: str) -> list[bytes]:
        async with asyncio.timeout(ANSWER_SECONDS):
            self._pg.send_query(command.encode())
            result = await self._result()
            while await self._result() is not None:
                continue
        if result is None or result.status != ExecStatus.TUPLES_OK or result.ntuples < 1:
            if result is not None and result.status == ExecStatus.FATAL_ERROR:
                self._refuse(result)
            raise BackupError(f"{command}: no answer")
        return [result.get_value(0, column) or b"" for column in range(result.nfields)]

    async def _result(self) -> Any:
        while self._pg.flush():
            await asyncio.sleep(0)
        while self._pg.is_busy():
            await self._readable(ANSWER_SECONDS)
            self._pg.consume_input()
        return self._pg.get_result()

    async def _readable(self, seconds: float) -> bool:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._pg.socket, ready.set)
        try:
            async with asyncio.timeout(seconds):
                await ready.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._pg.socket)
        return True

    def _check_end(self, result: Any) -> None:
        """Tell the end of a timeline, behind which the server still answers, from the end of the stream.

        A server that stops says just that the command is complete. To take that for the end of the timeline
        would leave a gap: what the timeline got after this server's stop.
        """
        if result is not None and result.status == ExecStatus.COPY_IN:
            return
        if result is not None and result.status == ExecStatus.FATAL_ERROR and not _was_told_to_end(result):
            self._refuse(result)
        raise StreamStopped("the server ended the stream")

    def _refuse(self, result: Any) -> None:
        message = (result.error_message or b"").decode(errors="replace").strip()
        if "has already been removed" in message:
            raise WalRemoved(message)
        raise BackupError(f"replication: {message}")


@contextlib.asynccontextmanager
async def open_stream(place: PlaceSettings, passfile: Path) -> AsyncIterator[WalStream]:
    """Connect for replication; psycopg.Error when the server is not there."""
    conn = await psycopg.AsyncConnection.connect(
        user=REPL,
        passfile=str(passfile),
        replication="true",
        autocommit=True,
        connect_timeout=2,
        **plan_calling(place),
        application_name=ARCHIVER,
        **TCP_OPTIONS,
    )
    try:
        yield WalStream(conn)
    finally:
        conn.pgconn.finish()  # at once: a polite end would wait for a stream that never ends


def _was_told_to_end(result: Any) -> bool:
    return bool(result.error_field(DiagnosticField.SQLSTATE) == _ADMIN_SHUTDOWN)


def _read(data: bytes) -> Message | None:
    kind = data[:1]
    if kind == b"w":
        return WalData(_number(data, 1), data[25:], _number(data, 9))
    if kind == b"k":
        return Alive(_number(data, 1), data[17:18] == b"\1")
    return None


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "big")
