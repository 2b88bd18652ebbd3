"""What the border keeps of a connection once it has ended."""

import asyncio
import gc
import socket
import weakref
from collections.abc import Callable

import pytest
import uvloop

from runbooks.stand.relay import Crossing, End, Link


async def transport_of(end: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Transport, socket.socket]:
    """A transport of ours and the peer at its other end."""
    ours, peer = socket.socketpair()
    made, _ = await asyncio.get_running_loop().create_unix_connection(end, sock=ours)
    return made, peer


@pytest.mark.parametrize("end_it", [Crossing.reset, Crossing.close])
def test_what_has_ended_is_gone_without_the_collector(end_it: Callable[[Crossing], None]) -> None:
    """Each TLS end holds 40 KB beside few objects: the collector would let hundreds gather.

    On uvloop, as the border runs: asyncio's own transports refer to themselves.
    """

    async def scene() -> None:
        closed: list[Crossing] = []
        crossing = Crossing((Link("idc>cloud"), Link("cloud>idc")), "cloud", closed.append)
        near, client = await transport_of(asyncio.Protocol)
        near.set_protocol(crossing.take_client(near))
        far, server = await transport_of(lambda: End(crossing, crossing.back, crossing.forward))
        with client, server:
            client.send(b"asked")
            await asyncio.sleep(0.05)
            assert server.recv(16) == b"asked"
            kept = [weakref.ref(near), weakref.ref(far)]
            del near, far
            gc.collect()
            gc.disable()
            try:
                end_it(crossing)
                await asyncio.sleep(0.05)
                assert [ref() for ref in kept] == [None, None]
            finally:
                gc.enable()
            assert closed == [crossing]

    uvloop.run(scene())
