"""Renewed certificates of a copy's server: PostgreSQL reads them at its start and when it is told to."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterable, MutableMapping

import psutil

from replication.postgres.copy import Copy
from replication.postgres.processes import read_postmaster
from replication.settings import SiteSettings
from replication.tls import stamp_of
from replication.transport import Transport, decide_transport

log = logging.getLogger("biyi.postgres")

LOOK_SECONDS = 5.0
"""Pause between two looks. Source: our choice; far below the minute that Kubernetes takes to bring a renewed
Secret into a pod."""


def tell_renewed(copies: Iterable[Copy], told: MutableMapping[str, tuple[str, int]]) -> list[str]:
    """Have each running one of `copies`, reached by TLS, read its certificates again unless told of these.

    `told` keeps by place what was in force and the server that was told; returns the places told now. A
    server that this process finds running is told once: it may have begun before the last renewal. By
    signal, as a client could not get in once the certificate that it shows has run out. Half a renewal is
    refused by the server, which keeps what it has; the rest of it is told of next time.
    """
    now = []
    for copy in copies:
        assert copy.place.tls_dir is not None  # noqa: S101 - it is reached by TLS
        stamp = stamp_of(copy.place.tls_dir)
        server = read_postmaster(copy)
        if server is None or told.get(copy.place.name) == (stamp, server.pid):
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            server.send_signal(signal.SIGHUP)
            told[copy.place.name] = (stamp, server.pid)
            now.append(copy.place.name)
    return now


async def keep_telling(settings: SiteSettings) -> None:
    """Tell the servers of the site's own copies of each renewal until cancelled: those reached by TLS."""
    copies = [
        Copy.of_place(settings, place)
        for place in settings.agent_places()
        if decide_transport(place) is Transport.TLS
    ]
    told: dict[str, tuple[str, int]] = {}
    while copies:
        try:
            for place in tell_renewed(copies, told):
                log.info("%s: told to read certificates and revocations again", place)
        except OSError as error:
            log.error("certificates cannot be looked at, servers keep what they have: %s", error)
        await asyncio.sleep(LOOK_SECONDS)
