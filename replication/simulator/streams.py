"""Streaming between two copies: messages get lost or late, and either end times out alone."""

from dataclasses import dataclass

from replication.model import CopyId
from replication.simulator.copies import Shelf, SimCopy

KEEPALIVE_MS = 60
"""Pause between two messages of an idle stream; scaled from wal_receiver_status_interval."""
TIMEOUT_MS = 450
"""wal_sender_timeout and wal_receiver_timeout, scaled: under `degrade_after_ms`, above `silence_ms`."""
RETRY_MS = 40
"""wal_retrieve_retry_interval, scaled."""


@dataclass(slots=True, eq=False)
class Stream:
    """One walsender with its walreceiver."""

    standby: SimCopy
    upstream: SimCopy
    name: CopyId
    source: list[int]
    acked: int = 0
    caught_up: bool = False
    replied_ms: int = 0
    heard_ms: int = 0
    sender_open: bool = True
    receiver_open: bool = True

    def push(self) -> None:
        """Send the end of WAL; what a lost message carried goes with the next one."""
        upstream = self.upstream
        if not self.sender_open or upstream.mute:
            return
        shelf = upstream.shelf
        delay_ms = shelf.links.delay_ms(upstream.place.site, self.standby.place.site)
        if delay_ms is not None:
            shelf.engine.at(delay_ms, self._arrive, len(self.source), upstream.timeline, upstream.history)

    def _arrive(self, end: int, timeline: int, history: tuple[tuple[int, int], ...]) -> None:
        standby = self.standby
        if not self.receiver_open or standby.mute:
            return
        shelf, log = standby.shelf, standby.log
        self.heard_ms = shelf.engine.now
        standby.replayed = len(log)
        if end > len(log):
            log.extend(self.source[len(log) : end])
            standby.timeline, standby.history = timeline, history
        delay_ms = shelf.links.delay_ms(standby.place.site, self.upstream.place.site)
        if delay_ms is not None:
            shelf.engine.at(delay_ms, self._reply, len(log))

    def _reply(self, flushed: int) -> None:
        if self.sender_open and not self.upstream.mute:
            self.acked = max(self.acked, flushed)
            self.caught_up = True
            self.replied_ms = self.upstream.shelf.engine.now
            self.upstream.release_waiting()

    def beat(self) -> None:
        """Keep an idle stream alive; either end gives up on the other by its own clock."""
        engine = self.upstream.shelf.engine
        if self.sender_open and not self.upstream.mute:
            if engine.now - self.replied_ms > TIMEOUT_MS:
                self._close_sender()
            else:
                self.push()
        silent = engine.now - self.heard_ms > TIMEOUT_MS
        if self.receiver_open and silent and not self.standby.mute:
            self._close_receiver()
        if self.sender_open or self.receiver_open:
            engine.at(KEEPALIVE_MS, self.beat)

    def close(self, *, reset: bool) -> None:
        """One end went away; the other hears of it at once only by a reset over an open line."""
        ends = ((self.upstream, self._close_sender), (self.standby, self._close_receiver))
        heard = reset and self.upstream.shelf.links.connected(
            self.upstream.place.site, self.standby.place.site
        )
        for copy, close in ends:
            if heard or not copy.running:
                close()

    def break_both(self) -> None:
        """The line was cut: both ends get an error."""
        self._close_sender()
        self._close_receiver()

    def drop_receiver(self) -> None:
        """The standby ends its receiver; what it has received stays."""
        self._close_receiver()
        if self.upstream.shelf.links.connected(self.upstream.place.site, self.standby.place.site):
            self._close_sender()

    def _close_sender(self) -> None:
        if self.sender_open:
            self.sender_open = False
            self.upstream.followers = [f for f in self.upstream.followers if f is not self]

    def _close_receiver(self) -> None:
        if self.receiver_open:
            self.receiver_open = False
            if self.standby.receiver is self:
                self.standby.receiver = None
                self.standby.replayed = len(self.standby.log)


def keep_streaming(standby: SimCopy, life: int) -> None:
    """Try to connect the standby's receiver whenever it has none, as long as this life lasts."""
    if life != standby.life or not standby.running or standby.primary:
        return
    if standby.receiver is None and not standby.mute:
        _connect(standby)
    standby.shelf.engine.at(RETRY_MS, keep_streaming, standby, life)


def _connect(standby: SimCopy) -> None:
    shelf = standby.shelf
    upstream = shelf.by_place[standby.upstream.name] if standby.upstream else None
    if (
        upstream is None
        or upstream is standby
        or standby.copy is None
        or not can_serve(shelf, standby, upstream)
    ):
        return
    if not _same_history(standby, upstream):
        return
    at = len(standby.log)
    if at and upstream.log[at - 1] != standby.log[at - 1]:
        shelf.watch.forked_stream(standby, upstream)
    stream = Stream(standby, upstream, standby.copy, upstream.log)
    stream.replied_ms = stream.heard_ms = shelf.engine.now
    standby.receiver = stream
    upstream.followers.append(stream)
    stream.beat()


def can_serve(shelf: Shelf, client: SimCopy, upstream: SimCopy) -> bool:
    """Say whether a connection from one copy to another's server comes about now."""
    up = upstream.running and not upstream.mute and not upstream.stopping
    return up and shelf.links.connected(client.place.site, upstream.place.site)


def _same_history(standby: SimCopy, upstream: SimCopy) -> bool:
    """What a walsender checks: the timeline is its own or an ancestor, and was not left before."""
    at = len(standby.log)
    if standby.timeline == upstream.timeline:
        return at <= len(upstream.log)
    left_at = dict(upstream.history).get(standby.timeline)
    return left_at is not None and at <= left_at
