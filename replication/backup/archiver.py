"""Archive one cell's WAL from the copy at this site, as it is written, whoever is primary.

The copy here holds every acknowledged commit while it is in the sync set, and follows each change of
timeline; so both sites hold a whole archive, and a lost site takes none with it that is needed.
"""

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from replication.backup.archive import Archive
from replication.backup.coverage import Coverage
from replication.backup.errors import ArchiveBroken, BackupError
from replication.backup.frames import BackupKey
from replication.backup.plan import (
    Ancestry,
    check_segment_head,
    parse_history,
    plan_stream_start,
    start_afresh,
)
from replication.backup.sealed import SealedWriter
from replication.backup.stream import (
    Alive,
    Identity,
    StreamStopped,
    TimelineEnd,
    WalData,
    WalRemoved,
    WalStream,
    open_stream,
)
from replication.model import WAL_SEGMENT_BYTES, WalName, format_lsn, parse_lsn
from replication.postgres.observe import AdminConnection, abort_after, abort_connection, connect_admin
from replication.settings import PlaceSettings

log = logging.getLogger("biyi.backup")

CUT_SECONDS = 0.2
"""Longest time that received WAL is not in the file. Source: our choice, a 25th of the 5 s limit."""
LOOK_SECONDS = 1.0
"""Pause between two looks at how far the archive is. Source: our choice; half of wal_sender_timeout."""
LOOK_PATIENCE_SECONDS = 4.0
"""Patience with the server's answer to a look. Source: our choice, under the 5 s limit on the lag."""
AGAIN_SECONDS = 0.3
"""Pause after anything that broke, and after a timeline ended. Source: our choice; a planned move ends one,
and customers need the core before the begun segment does, which is sealed anew on the new timeline."""
STOPPED_SECONDS = 0.5
"""Pause after the server ended the stream: it stops; a new stream would hold that up. Source: our choice."""
_HEAD_BYTES = 40

_POSITION = """
select case when pg_is_in_recovery() then (select last_msg_send_time from pg_stat_wal_receiver
                                            where status = 'streaming'
                                              and last_msg_send_time <> last_msg_receipt_time)
            else clock_timestamp() end,
       case when pg_is_in_recovery() then (select latest_end_lsn from pg_stat_wal_receiver)
            else pg_current_wal_flush_lsn() end::text
"""
"""Instant (the primary's clock) and WAL end that belong together: of a standby, those of the last
message it got. The clock is read before the LSN. A receiver that has no message yet says its own start for
both instants, beside the LSN that the receiver before it had (walreceiver.c): that is no pair."""


class SegmentSink:
    """Writes consecutive WAL of one timeline into segments of an archive."""

    def __init__(self, archive: Archive, timeline: int, start_lsn: int) -> None:
        self._archive, self.timeline = archive, timeline
        self.received_lsn = start_lsn
        self.written_lsn = start_lsn
        """Up to here the archive's files hold the WAL, on disk."""
        self._clear = bytearray()
        self._open: tuple[WalName, Path, SealedWriter] | None = None
        self._earlier: bytes | None = None

    def take(self, start_lsn: int, data: bytes) -> None:
        """Take the next bytes; ArchiveBroken when they are not the next ones, or foreign."""
        if start_lsn != self.received_lsn:
            raise ArchiveBroken(f"WAL from {format_lsn(start_lsn)}, expected {format_lsn(self.received_lsn)}")
        while data:
            name, _, writer = self._open or self._begin()
            piece = data[: name.start_lsn + WAL_SEGMENT_BYTES - self.received_lsn]
            data = data[len(piece) :]
            before = len(self._clear)
            self._clear += piece
            if before < _HEAD_BYTES <= len(self._clear):
                check_segment_head(bytes(self._clear[:_HEAD_BYTES]), name, self._archive.system)
            writer.write(piece)
            self.received_lsn += len(piece)
            self._compare(name)
            if len(self._clear) == WAL_SEGMENT_BYTES:
                self._end()

    def cut(self) -> None:
        """Put what was received into the archive, on disk."""
        if self._open is not None and self.written_lsn < self.received_lsn:
            self._open[2].cut(durable=True)
        self.written_lsn = self.received_lsn

    def close(self) -> None:
        """Leave the begun segment as it is."""
        if self._open is not None:
            self.cut()
            self._open[2].abandon()
            self._open = None

    def _begin(self) -> tuple[WalName, Path, SealedWriter]:
        name = WalName(self.timeline, self.received_lsn // WAL_SEGMENT_BYTES)
        self._earlier = self._archive.read_segment(name) if self._archive.parts_of(name) else None
        self._open = (name, *self._archive.begin_segment(name))
        self._clear.clear()
        return self._open

    def _compare(self, name: WalName) -> None:
        """Once the new file holds as much as an earlier one: the same bytes, then the earlier one goes.

        Other bytes: the timeline's number was given twice, the earlier history was abandoned.
        """
        if self._earlier is None or len(self._clear) < len(self._earlier) or self._open is None:
            return
        same = self._clear.startswith(self._earlier)
        self._earlier = None
        if not same:
            aside = self._archive.set_aside(self.timeline)
            raise ArchiveBroken(f"segment {name} differs from what was archived: that is in {aside.name} now")
        self._open[2].cut(durable=True)
        for part in self._archive.parts_of(name):
            if part != self._open[1]:
                part.unlink()

    def _end(self) -> None:
        if self._open is not None:
            self._archive.end_segment(*self._open)
            self.written_lsn = self.received_lsn
            self._open = None


class CellArchiver:
    """Keeps the archive of the copy at `place` going until cancelled."""

    def __init__(self, place: PlaceSettings, passfile: Path, directory: Path, key: BackupKey) -> None:
        self.place = place
        self._passfile, self._directory, self._key = passfile, directory, key
        self._coverage = Coverage("")
        self._ended: set[int] = set()

    async def run(self) -> None:
        """Stream for ever; whatever breaks is logged once and tried again."""
        last = ""
        while True:
            try:
                await self.stream_once()
                last = ""
            except (StreamStopped, psycopg.errors.AdminShutdown) as error:
                log.info("archiving %s: %s; again in %g s", self.place.cell, error, STOPPED_SECONDS)
                await asyncio.sleep(STOPPED_SECONDS)
            except (psycopg.Error, OSError, TimeoutError, BackupError, ValueError) as error:
                if isinstance(error, ArchiveBroken):
                    self._coverage = Coverage("")  # what it had said may be of an abandoned timeline
                if str(error) != last:
                    log.warning("archiving %s: %s: %s", self.place.cell, type(error).__name__, error)
                last = str(error)
                await asyncio.sleep(AGAIN_SECONDS)

    async def stream_once(self) -> None:
        """Stream until the timeline ends; raises when anything breaks."""
        async with (
            open_stream(self.place, self._passfile) as stream,
            await connect_admin(self.place, self._passfile, timeout_seconds=3.0) as admin,
        ):
            identity = await stream.identify()
            archive = await self._archive_for(stream, identity)
            if self._coverage.system != identity.system:
                self._coverage, self._ended = Coverage(identity.system), set()
            text = await stream.history(identity.timeline)
            if identity.timeline > 1:
                archive.keep_history(identity.timeline, text)
            ancestry = parse_history(text, identity.timeline)
            start = plan_stream_start(ancestry, archive.archived(), identity.lsn, self._ended)
            try:
                streams = await stream.start(start.timeline, start.lsn)
            except WalRemoved as error:
                log.error("cell %s: WAL is missing in the archive from here: %s", self.place.cell, error)
                await self._go_round_gap(archive, ancestry, identity)
                return
            sink = SegmentSink(archive, start.timeline, start.lsn)
            self._coverage.follow(ancestry, start.timeline)
            try:
                if streams:
                    await self._follow(stream, admin, archive, sink)
                self._ended.add(start.timeline)
            finally:
                sink.close()
        if start.timeline == identity.timeline:  # not so when the end lay behind us already
            await asyncio.sleep(AGAIN_SECONDS)

    async def _go_round_gap(self, archive: Archive, ancestry: Ancestry, identity: Identity) -> None:
        """Begin anew behind a gap: the older chain ends there, `status` says so, a full backup is due."""
        async with (
            open_stream(self.place, self._passfile) as stream,
            await connect_admin(self.place, self._passfile, timeout_seconds=3.0) as admin,
        ):
            start = start_afresh(ancestry, identity.lsn)
            await stream.start(start.timeline, start.lsn)
            sink = SegmentSink(archive, start.timeline, start.lsn)
            self._coverage = Coverage(identity.system)
            self._coverage.follow(ancestry, start.timeline)
            try:
                await self._follow(stream, admin, archive, sink)
            finally:
                sink.close()

    async def _archive_for(self, stream: WalStream, identity: Identity) -> Archive:
        size = await stream.show("wal_segment_size")
        if size != (ours := f"{WAL_SEGMENT_BYTES >> 20}MB"):
            raise BackupError(
                f"cell {self.place.cell}: WAL segments of {size}, needs {ours}: make the cell anew"
            )
        archive = Archive(self._directory, self.place.cell, identity.system, self._key)
        archive.make()
        return archive

    async def _follow(
        self, stream: WalStream, admin: AdminConnection, archive: Archive, sink: SegmentSink
    ) -> None:
        """Take the timeline to its end; looks meanwhile, so that a slow look holds up no message."""
        ended = asyncio.Event()
        looking = asyncio.create_task(self._look_until(ended, stream, admin, archive, sink))
        try:
            await self._take_messages(stream, archive, sink, looking)
        finally:
            ended.set()
            abort_connection(admin)  # cancelling psycopg would ask the server first, which may be gone
            await asyncio.gather(looking, return_exceptions=True)

    async def _take_messages(
        self, stream: WalStream, archive: Archive, sink: SegmentSink, looking: asyncio.Task[None]
    ) -> None:
        begun = 0.0
        async for message in stream.messages(CUT_SECONDS):
            now = time.monotonic()
            if isinstance(message, TimelineEnd):
                return
            if isinstance(message, WalData):
                begun = begun if sink.written_lsn < sink.received_lsn else now
                sink.take(message.start_lsn, message.data)
            elif isinstance(message, Alive) and message.reply_now:
                stream.report(sink.received_lsn)
            if sink.written_lsn < sink.received_lsn and now - begun >= CUT_SECONDS:
                sink.cut()
                self._settle(archive, sink)
            if looking.done():
                looking.result()  # raises: it ends by itself only when its connection does

    async def _look_until(
        self,
        ended: asyncio.Event,
        stream: WalStream,
        admin: AdminConnection,
        archive: Archive,
        sink: SegmentSink,
    ) -> None:
        """Say every second how far the archive is. An instant is covered once its WAL end is on disk."""
        while not ended.is_set():
            async with abort_after(admin, LOOK_PATIENCE_SECONDS):
                row = await (await admin.execute(_POSITION)).fetchone()
            at, lsn = row or (None, None)
            seen = None if lsn is None else parse_lsn(str(lsn))
            self._coverage.see(None if at is None else at.astimezone(UTC), seen)
            self._settle(archive, sink, say_always=True)
            stream.report(sink.received_lsn)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await ended.wait()

    def _settle(self, archive: Archive, sink: SegmentSink, *, say_always: bool = False) -> None:
        """Note what became covered by what is on disk, and say how far the archive is."""
        if self._coverage.settle(sink.written_lsn) or say_always:
            now = datetime.now(UTC)  # noqa: TID251 - the archive's one clock reader
            archive.write_progress(self._coverage.progress(now))
