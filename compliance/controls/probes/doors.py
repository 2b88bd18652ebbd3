"""What a stranger at a listener gets: which TLS, whether without a certificate, whether in clear."""

import asyncio
import datetime as dt
import ssl
import stat
import warnings
from collections.abc import Sequence
from typing import TypeVar

import aiohttp
from cryptography import x509

from compliance.controls.ground import Door, Facts, Ground, SiteGround
from replication.settings import SiteSettings

T = TypeVar("T")
PATIENCE_S = 5.0
"""Patience with a door. Source: our choice; it answers in milliseconds."""
REFUSAL_S = 0.5
"""How long a door is listened to that should say nothing. Source: our choice."""
_HTTP = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def read_tls(ground: Ground, site: SiteGround) -> Facts:
    """Knock at every door: with its own caller's certificate, with old TLS, in clear."""
    _known(site.doors, "door")
    dead, mute, old, clear, days = [], [], [], [], []
    now = ground.read_now()
    for door in site.doors:
        try:
            ends = await _certificate_end(door)
        except _NoAnswer:
            dead.append(door.name)
            if await _answers(door, None, _HTTP):  # it waits for a line, where a handshake is due
                clear.append(door.name)
            continue
        if ends is None:
            mute.append(door.name)
        else:
            days.append((ends - now).days)
        if await _takes(door, old_tls()):
            old.append(door.name)
        if await _answers(door, None, _HTTP):
            clear.append(door.name)
    if dead and not (mute or old or clear):  # nothing is known of them, and nothing is wrong elsewhere
        raise ConnectionError(f"{len(dead)} of {len(site.doors)} doors do not answer, {dead[0]} first")
    facts: Facts = {"doors": len(site.doors), "mute": mute, "old_tls_accepted": old, "clear_answers": clear}
    return facts | ({"certificate_days_least": min(days)} if days else {})


async def read_mutual_tls(_: Ground, site: SiteGround) -> Facts:
    """Knock without a certificate at every door that has to ask for one."""
    mutual = [door for door in _known(site.doors, "door") if door.mutual]
    dead = [door.name for door in mutual if not await _answers_with_certificate(door)]
    if dead:  # silence is no refusal
        raise ConnectionError(f"{len(dead)} doors do not answer, {dead[0]} first")
    opened = [door.name for door in mutual if await _answers(door, stranger(), door.words)]
    facts: Facts = {"mutual_doors": len(mutual), "open_without_certificate": opened}
    return facts | _cache_facts(site.settings)


def _cache_facts(settings: SiteSettings) -> Facts:
    """Say how the warm cache is reached: it is the one store that is a door only where its build has TLS."""
    if settings.valkey_passfile is None:
        return {"cache_reached_by": "there is none", "cache_open_to_others": []}
    socket = settings.valkey_socket
    if socket is None:
        clear = [] if settings.tls_dir else [f"port {settings.valkey_port} in clear"]
        return {"cache_reached_by": "TCP" if clear else "mutual TLS", "cache_open_to_others": clear}
    lax = [str(at) for at in (socket, socket.parent) if at.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    return {"cache_reached_by": "Unix socket (its build has no TLS)", "cache_open_to_others": lax}


async def read_ports(_: Ground, site: SiteGround) -> Facts:
    """Compare what the site's processes listen at with what they should."""
    seen = site.listening()
    return {
        "listening": len(seen),
        "unlisted": sorted(f"{host}:{port} ({name})" for host, port, name in seen
                           if port not in site.allowed_ports),
        "beyond_loopback": sorted(f"{host}:{port} ({name})" for host, port, name in seen
                                  if not host.startswith("127.") and host != "::1"),
    }  # fmt: skip


async def read_monitoring(_: Ground, site: SiteGround) -> Facts:
    """Ask every process of the site for its figures."""
    seen, unseen = 0, []
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for one in _known(site.metrics, "process with figures"):
            try:
                async with session.get(one.url, ssl=one.context) as answer:
                    text = await answer.text()
                told = answer.status == 200 and "# TYPE " in text
            except (aiohttp.ClientError, OSError, TimeoutError):
                told = False
            seen += told
            unseen += [] if told else [one.name]
    return {"seen": seen, "unseen": unseen}


def _known(found: Sequence[T], what: str) -> Sequence[T]:
    """Return what is to be asked; where nothing is known to ask, nothing is known of it."""
    if not found:
        raise ConnectionError(f"no {what} of the site is known here")
    return found


def stranger() -> ssl.SSLContext:
    """Return the context of somebody without a certificate who believes anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def old_tls() -> ssl.SSLContext:
    """Return the context of somebody who speaks TLS 1.0 and 1.1 only, and takes any cipher."""
    context = stranger()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that they are old is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


class _NoAnswer(ConnectionError):
    """Nobody listens at a door, or not in time: nothing is known of it."""


async def _answers_with_certificate(door: Door) -> bool:
    try:
        return await _certificate_end(door) is not None
    except _NoAnswer:
        return False


async def _certificate_end(door: Door) -> dt.datetime | None:
    """Return when the certificate that the door shows ends, None when it does not shake hands; _NoAnswer."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(door.host, door.port, ssl=door.context)
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.transport.abort()
    except (ConnectionRefusedError, TimeoutError) as error:
        raise _NoAnswer(door.name) from error
    except OSError:
        return None
    return x509.load_der_x509_certificate(shown).not_valid_after_utc


async def _takes(door: Door, context: ssl.SSLContext) -> bool:
    """Say whether the door shakes hands with that caller."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(door.host, door.port, ssl=context)
            writer.transport.abort()
    except (OSError, TimeoutError):
        return False
    return True


async def _answers(door: Door, context: ssl.SSLContext | None, words: bytes) -> bool:
    """Say whether the door has an answer for these words; an alert or an end of the connection is none."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(door.host, door.port, ssl=context)
            try:
                writer.write(words)
                await writer.drain()
                answer = await asyncio.wait_for(reader.read(16), REFUSAL_S)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return False
    # In clear a TLS server answers with an alert record (type 21); whatever else is an answer.
    return bool(answer) and (context is not None or answer[0] != 21)
