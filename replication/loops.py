"""The event loop of processes that serve many: uvloop, with one defect of it kept away from us.

Given a socket (`create_connection(sock=…)`, as aiohttp does for every connection), uvloop 0.23 has libuv
close its descriptor and forgets to tell the socket object when the peer resets the connection before uvloop
has attached it. The object, collected later, closes the number again: by then another connection's, perhaps
a PostgreSQL session's, whose bytes would go to whoever gets the number next
(docs/decisions/110-a-socket-is-closed-once.md).
"""

import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from replication.memory import settle_memory

T = TypeVar("T")


class Loop(uvloop.Loop):
    """uvloop's loop; whatever becomes of a connection, its socket object lets go of the descriptor."""

    async def create_connection(
        self, *args: Any, sock: socket.socket | None = None, **named: Any
    ) -> tuple[Any, Any]:
        """As uvloop's. libuv owns `sock`'s descriptor from here on and closes it, once."""
        try:
            return await super().create_connection(*args, sock=sock, **named)
        finally:
            if sock is not None:
                sock.detach()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on such a loop, in a process that lives for it."""
    settle_memory()
    return uvloop.run(main, loop_factory=Loop)  # noqa: TID251 - the one place
