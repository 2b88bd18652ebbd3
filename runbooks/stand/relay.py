"""One TCP connection across a border: two ends, two lanes, and what the state of a link does to them.

A connection opened at site X towards Y carries its bytes there on link X>Y and back on Y>X; each
lane obeys its own link. Bytes are never dropped: a hole keeps them (in the queue of the lane, in the
kernel's buffers, at last in the sender), as TCP would send them again once the link is whole.
Standard library only: the border has to start fast.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from runbooks.stand.links import HEALED, LinkMode, LinkState

QUEUE_LIMIT_BYTES: Final = 4 << 20
"""Most bytes a lane keeps for a delayed link. Source: our choice, 80 MB/s at 50 ms."""
WRITE_LIMIT_BYTES: Final = 256 << 10
"""Bytes waiting for a slow receiver before its sender is held back. Source: our choice."""
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)
_FIN: Final = b""
_RESET: Final = None


class Link:
    """Live state of one directed link inside a border, with the lanes that cross it."""

    __slots__ = ("changed", "clear", "delay_s", "lanes", "mode", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.lanes: set[Lane] = set()
        self.changed = asyncio.Event()
        self.become(HEALED)

    def become(self, state: LinkState) -> None:
        """Take on `state`; living connections feel it before this returns."""
        self.mode, self.delay_s = state.mode, state.delay_ms / 1000
        self.clear = self.mode is LinkMode.OK and not self.delay_s
        for lane in list(self.lanes):
            if self.mode is LinkMode.CUT:
                lane.crossing.reset()
            else:
                lane.flow()
        self.changed.set()
        self.changed = asyncio.Event()


class Lane:
    """One direction of a connection. The queue is empty and unused while its link is clear."""

    __slots__ = (
        *("crossing", "ended", "link", "loop", "passed", "queue"),
        *("queued_bytes", "reading", "sink", "sink_full", "source", "timer"),
    )

    def __init__(self, link: Link, crossing: "Crossing", loop: asyncio.AbstractEventLoop) -> None:
        self.link, self.crossing, self.loop = link, crossing, loop
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.queue: deque[tuple[float, bytes | None]] = deque()
        self.queued_bytes = 0
        self.reading = True
        self.sink_full = False
        self.ended = False  # the source has sent its last byte: never read it again
        self.passed = False  # the end of the stream has been handed to the sink
        self.timer: asyncio.TimerHandle | None = None
        link.lanes.add(self)

    def push(self, item: bytes | None) -> None:
        """Carry one chunk (or the end of the stream, or a reset) to the sink, by the link's state."""
        if self.crossing.closed:
            return
        if self.link.clear and not self.queue and self.sink is not None:
            self._deliver(item)
            return
        self.queue.append((self.loop.time() + self.link.delay_s, item))
        self.queued_bytes += len(item or b"")
        self.flow()

    def flow(self) -> None:
        """Hand over what is due, then read on or hold the sender back."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        while self.queue and self.sink is not None and not self.sink_full and self.link.mode is LinkMode.OK:
            due, item = self.queue[0]
            if due > self.loop.time():
                self.timer = self.loop.call_at(due, self.flow)
                break
            self.queue.popleft()
            self.queued_bytes -= len(item or b"")
            self._deliver(item)
        self.steer()

    def steer(self) -> None:
        """Pause or resume reading from the source: that is the back pressure."""
        if self.ended or self.source is None or self.source.is_closing():
            return
        room = self.queued_bytes < QUEUE_LIMIT_BYTES and not self.sink_full
        # Before there is a sink we read on (bounded), so that a client who gives up is noticed.
        wanted = room and (
            self.sink is None or (self.link.mode is LinkMode.OK and not self.sink.is_closing())
        )
        if wanted and not self.reading:
            self.source.resume_reading()
        elif self.reading and not wanted:
            self.source.pause_reading()
        self.reading = wanted

    def close(self) -> None:
        """Leave the link for good, and let go of the transports.

        What refers to them in a circle waits for the collector, which counts objects and not the 40 KB of TLS
        buffers that each holds.
        """
        self.link.lanes.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        self.queue.clear()
        self.source = self.sink = None

    def _deliver(self, item: bytes | None) -> None:
        if item is _RESET:
            self.crossing.reset()
        elif self.sink is None or self.sink.is_closing():
            return
        elif item == _FIN:
            self.passed = True
            if self.crossing.whole_only:
                self.crossing.close()
                return
            self.sink.write_eof()
            self.crossing.close_when_done()
        else:
            self.sink.write(item)


class Crossing:
    """A connection from its acceptance at the border to its end."""

    __slots__ = ("back", "closed", "destination", "ends", "forward", "greeting", "on_closed", "whole_only")

    def __init__(
        self, links: tuple[Link, Link], destination: str, on_closed: Callable[["Crossing"], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.forward, self.back = Lane(links[0], self, loop), Lane(links[1], self, loop)
        self.destination = destination
        self.closed = False
        self.whole_only = False
        """One end speaks TLS, which ends in both directions at once."""
        self.greeting = b""
        """What the near end is told as soon as the far end is reached."""
        self.ends: list[asyncio.Transport] = []
        self.on_closed = on_closed

    def take_client(self, transport: asyncio.Transport) -> "End":
        """Make `transport` the near end; returns the protocol that feeds the lanes."""
        self._add(transport)
        self.forward.source = self.back.sink = transport
        return End(self, self.forward, self.back)

    def take_server(self, transport: asyncio.Transport) -> None:
        """Make `transport` the far end; what waited flows."""
        if self.closed:
            reset_transport(transport)
            return
        if self.greeting:
            self.ends[0].write(self.greeting)
        self._add(transport)
        self.back.source = self.forward.sink = transport
        self.forward.flow()
        self.back.flow()

    @property
    def holed(self) -> bool:
        """True while one of its two links is a hole."""
        return LinkMode.HOLE in (self.forward.link.mode, self.back.link.mode)

    @property
    def connected(self) -> bool:
        """True once the far end has been reached."""
        return self.forward.sink is not None

    def reset(self) -> None:
        """End both sides at once with RST."""
        for transport in self.ends:
            reset_transport(transport)
        self._finish()

    def close_when_done(self) -> None:
        """Close both sides once each has been told that the other has ended."""
        if self.forward.passed and self.back.passed:
            self.close()

    def close(self) -> None:
        """Close both sides once they have what was written to them."""
        for transport in self.ends:
            transport.close()
        self._finish()

    def _add(self, transport: asyncio.Transport) -> None:
        self.ends.append(transport)
        self.whole_only = self.whole_only or not transport.can_write_eof()

    def _finish(self) -> None:
        if not self.closed:
            self.closed = True
            self.forward.close()
            self.back.close()
            self.ends.clear()
            self.on_closed(self)


class End(asyncio.Protocol):
    """Protocol of one end: what it receives goes into `inward`, what it is sent comes out of `outward`."""

    __slots__ = ("crossing", "first", "inward", "outward")

    def __init__(self, crossing: Crossing, inward: Lane, outward: Lane, first: bytes = b"") -> None:
        self.crossing, self.inward, self.outward, self.first = crossing, inward, outward, first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the far end into the crossing (the near end is handed over by the border's door)."""
        end = cast(asyncio.Transport, transport)
        tune_transport(end)
        if self.first:
            end.write(self.first)
        self.crossing.take_server(end)

    def data_received(self, data: bytes) -> None:
        """Carry a chunk on."""
        self.inward.push(data)

    def eof_received(self) -> bool:
        """Carry the end of the stream on, in its turn; the other direction stays open."""
        if self.inward.sink is None and self.crossing.holed:
            self.crossing.reset()  # gave up connecting into a hole: nobody else ever knew of it
        else:
            self.inward.ended = True
            self.inward.push(_FIN)
        return not self.crossing.whole_only  # asyncio knows no half-closed TLS

    def pause_writing(self) -> None:
        """Hold the sender back: this end does not take more."""
        self.outward.sink_full = True
        self.outward.steer()

    def resume_writing(self) -> None:
        """Let the sender go on."""
        self.outward.sink_full = False
        self.outward.flow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Carry the loss on in its turn: a hole hides it as it hides bytes."""
        if self.crossing.closed:
            return
        self.outward.steer()
        if self.inward.sink is None:
            self.crossing.reset()
        elif exc is not None or not self.inward.ended:  # a TLS end that said goodbye has ended already
            self.inward.push(_RESET)


def tune_transport(transport: asyncio.Transport) -> None:
    """Send small chunks at once and bound what waits for a slow receiver."""
    connection = transport.get_extra_info("socket")
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport.set_write_buffer_limits(high=WRITE_LIMIT_BYTES)


def reset_transport(transport: asyncio.Transport) -> None:
    """Close with RST instead of FIN."""
    if not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
