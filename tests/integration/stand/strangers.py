"""Callers whom a door must not let in, and what a plain caller hears."""

import asyncio
import datetime as dt
import ssl
import warnings
from pathlib import Path

from replication.tls import CURRENT
from runbooks.stand.certificates import ensure_certificates, issue_one, tls_dir
from runbooks.stand.doors import Door
from runbooks.stand.topology import LOOPBACK, Stand

NOT_AN_ANSWER = (b"\x15\x03", b"HTTP/1.0 400 Bad Request")
"""A TLS alert, and what Go says to plain HTTP at a TLS port."""


def trusting(certificate: Path | None = None) -> ssl.SSLContext:
    """A caller who believes everybody, so that only the door's own judgement is seen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context


def of_another_authority(folder: Path, door: Door) -> ssl.SSLContext:
    """The same name, vouched for by somebody else."""
    ensure_certificates(folder, dt.datetime.now(dt.UTC))
    assert door.caller is not None
    place, kind = door.caller
    return trusting(tls_dir(folder, place) / CURRENT / f"{kind}.crt")


def expired(stand: Stand, folder: Path, door: Door) -> ssl.SSLContext:
    """The right name and authority, but out of date since yesterday."""
    assert door.caller is not None
    issue_one(stand.home, folder, door.caller, dt.datetime.now(dt.UTC), dt.timedelta(days=-1))
    return trusting(folder / f"{door.caller[1]}.crt")


def old_protocol(certificate: Path) -> ssl.SSLContext:
    """TLS 1.1 at most."""
    context = trusting(certificate)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the point
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def weak_cipher(certificate: Path) -> ssl.SSLContext:
    """TLS 1.2 without authenticated encryption."""
    context = trusting(certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:AES128-SHA:@SECLEVEL=0")
    return context


async def said_in_clear(door: Door) -> bytes:
    """Speak HTTP without TLS; return what comes back."""
    reader, writer = await asyncio.open_connection(LOOPBACK, door.port)
    try:
        writer.write(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(5):
            return await reader.read(100)
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()
