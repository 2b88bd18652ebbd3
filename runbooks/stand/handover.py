"""Keep connections of a lost site open in silence, in the border of the site they lead to.

When a process is killed, its kernel sends FIN or RST on each of its sockets; when a site is lost,
nobody does. So the border of a site that is about to be killed passes the far ends of its
connections (SCM_RIGHTS over a Unix socket) to the borders of the sites they lead to, which only hold
them. Abstract Unix sockets exist on Linux; elsewhere nothing is handed over and the peers see FIN.
Standard library only.
"""

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Callable

from runbooks.stand.links import link_name

MOST_AT_ONCE = 250
"""Descriptors in one message. Source: Linux SCM_MAX_FD is 253."""


class HandedOver:
    """Sockets that this border keeps for lost sites, by the site that they came from."""

    def __init__(self, own_site: str) -> None:
        self.own_site = own_site
        self.kept: dict[str, list[socket.socket]] = {}

    @property
    def count(self) -> int:
        """Return how many sockets are kept."""
        return sum(map(len, self.kept.values()))

    def release(self, passes: Callable[[str], bool]) -> None:
        """Reset what is kept for sites to which both links pass again, as a returned site would."""
        for site in list(self.kept):
            if passes(link_name(site, self.own_site)) and passes(link_name(self.own_site, site)):
                for kept in self.kept.pop(site):
                    with contextlib.suppress(OSError):
                        kept.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    kept.close()

    def take(self, listener: socket.socket) -> None:
        """Accept one delivery; only from processes of our own user."""
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(0.5)
                peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
                if struct.unpack("3i", peer)[1] != os.geteuid():
                    return
                while True:
                    site, descriptors, _, _ = socket.recv_fds(connection, 64, MOST_AT_ONCE)
                    if not site:
                        return
                    kept = self.kept.setdefault(site.decode(), [])
                    kept.extend(socket.socket(fileno=each) for each in descriptors)
                    connection.sendall(b"k")


def open_handover(name: str, loop: asyncio.AbstractEventLoop) -> HandedOver | None:
    """Listen at the abstract Unix socket `name` (`\\0...-<site>`); None where there are none."""
    if sys.platform != "linux":
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(name)
    listener.listen(8)
    listener.setblocking(False)
    handed_over = HandedOver(name.rpartition("-")[2])
    loop.add_reader(listener, handed_over.take, listener)
    return handed_over


def hand_over(name: str, own_site: str, descriptors: list[int]) -> int:
    """Pass open sockets to the border that listens at `name`; returns how many it has taken."""
    given = 0
    if sys.platform != "linux":
        return given
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(0.5)
        connection.connect(name)
        for start in range(0, len(descriptors), MOST_AT_ONCE):
            some = descriptors[start : start + MOST_AT_ONCE]
            socket.send_fds(connection, [own_site.encode()], some)
            if connection.recv(1) != b"k":
                break
            given += len(some)
    return given
