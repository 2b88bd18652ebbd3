"""A connection that its peer resets at once: nobody keeps the number of a closed descriptor."""

import asyncio
import multiprocessing
import socket
import struct
import time
from collections.abc import Iterator
from random import Random

import aiohttp
import pytest

from replication.loops import Loop

REQUESTS = 300
DELAYS_SECONDS = (0.0, 0.0, 0.0001, 0.0003, 0.001)
"""From the accepted connection to its reset: the ways that it meets the client in, each now and then."""


def reset_all(listening: socket.socket) -> None:
    rnd = Random(1)
    while True:
        accepted, _ = listening.accept()
        end = time.perf_counter() + rnd.choice(DELAYS_SECONDS)
        while time.perf_counter() < end:
            continue
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", rnd.randrange(2), 0))
        accepted.close()


@pytest.fixture
def url() -> Iterator[str]:
    """The address of somebody who resets every connection; a process, so that it and we run at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        spawning = multiprocessing.get_context("spawn")
        process = spawning.Process(target=reset_all, args=(listening,), daemon=True)
        process.start()
        try:
            yield f"https://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            process.kill()
            process.join()


async def ask(url: str) -> list[socket.socket]:
    """Return the sockets of requests that all failed; none of them is closed by being collected."""
    made: list[socket.socket] = []

    def keep(address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made.append(socket.socket(family, kind, protocol))
        return made[-1]

    connector = aiohttp.TCPConnector(socket_factory=keep, ssl=False)
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(REQUESTS):
            with pytest.raises((aiohttp.ClientError, TimeoutError)):
                await session.get(url, timeout=aiohttp.ClientTimeout(total=0.4))
    await asyncio.sleep(0.1)  # transports close in the loop's next turns
    return made


def test_no_socket_object_keeps_the_number_of_a_connection_that_is_over(url: str):
    with asyncio.Runner(loop_factory=Loop) as runner:
        made = runner.run(ask(url))
    assert len(made) == REQUESTS
    assert [one for one in made if one.fileno() != -1] == []
