"""Who a process is to others, and whom it believes: mutual TLS from a directory of certificates.

The directory holds `current`, a link to the generation in force (`ca.crt`, `partners.crt` of those outside,
and for each process `<name>.crt`, `<name>.key`), and `crl.pem`, the certificates that count no more. Both
change under a running process: it takes the new ones over for each handshake from then on and says so in
`loaded/<name>`.

A certificate names its holder, not an address: common name `agent.idc`, DNS names `agent.idc.biyi` and
`agent.biyi`. Who calls says which holder it wants; who serves says which holders may. Standard library only:
the stand's borders have to start fast.
"""

import asyncio
import contextlib
import functools
import logging
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

log = logging.getLogger("biyi.tls")

DOMAIN: Final = "biyi"
OPERATOR: Final = "operator"
"""Who calls from the command line."""
PROMETHEUS: Final = "prometheus"
"""Who asks each process for its figures, and nothing else."""
CURRENT, REVOKED, LOADED, PARTNERS = "current", "crl.pem", "loaded", "partners.crt"
Tls = ssl.SSLContext | bool
"""What an HTTP client is given; True, when all is plain, is aiohttp's own default."""
LOOK_SECONDS: Final = 0.5
"""Pause between two looks for renewed certificates. Source: our choice; two `stat` calls."""
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, where that is let in. Source: RFC 9325, 4.2: forward secrecy and AEAD."""


_OLDEST_OF: Final = {"etcd": ssl.TLSVersion.TLSv1_2}
"""Who goes no further: etcd 3.5.1, neither serving nor calling its peers."""


class _ExpectingContext(ssl.SSLContext):
    """A client's context that wants one holder, at whatever address: a relay's address names nobody."""

    expected: str

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Check the certificate against the expected holder instead of the address."""
        return super().wrap_bio(incoming, outgoing, server_side, self.expected, session)


class _TellingObject(ssl.SSLObject):
    """A server's end of a connection, which tells a caller it refuses why, and writes it down.

    asyncio and uvloop close a connection whose handshake failed without sending the alert that OpenSSL has
    ready. They send what is ready when a handshake wants to read on, so that comes first, then the failure.
    """

    outgoing: ssl.MemoryBIO
    _refused: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Take the handshake on; ssl.SSLError when the caller is refused."""
        if self._refused is not None:
            raise self._refused
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            log.warning("a caller was refused: %s", getattr(error, "verify_message", error.reason))
            if not self.outgoing.pending:
                raise
            self._refused = error
            raise ssl.SSLWantReadError from error


class _TellingContext(ssl.SSLContext):
    """A server's context; its connections know what is ready to be sent."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Make the server's end of a connection."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(made, _TellingObject):
            made.outgoing = outgoing
        return made


class Identity:
    """One process's certificate, and the contexts made from it. `directory` None: everything is plain.

    Plain is for servers that stand alone in a test or on a bench; the stand names a directory everywhere.
    """

    def __init__(self, directory: Path | None, name: str) -> None:
        self.directory = directory
        self.name = name
        self._contexts: list[ssl.SSLContext] = []
        self._partners: list[ssl.SSLContext] = []
        self._calling: dict[str, ssl.SSLContext] = {}
        self._seen = self._look()

    def to(self, holder: str) -> Tls:
        """Return the context for calling `holder` (`agent`, `border.cloud`)."""
        if self.directory is None:
            return True
        if holder not in self._calling:
            context = _ExpectingContext(ssl.PROTOCOL_TLS_CLIENT)
            context.expected = f"{holder}.{DOMAIN}"
            self._calling[holder] = self._own(context, _OLDEST_OF.get(holder, ssl.TLSVersion.TLSv1_3))
        return self._calling[holder]

    def to_partner(self, holder: str) -> Tls:
        """Return the context for calling `holder`, who is none of ours: another authority vouches for it.

        Its revocations are that authority's to publish; none are known here.
        """
        if self.directory is None:
            return True
        context = _ExpectingContext(ssl.PROTOCOL_TLS_CLIENT)
        context.expected = f"{holder}.{DOMAIN}"
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations((self.directory / CURRENT).resolve() / PARTNERS)
        self._fill_own(context)
        self._partners.append(context)
        return context

    def serving(self, oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext | None:
        """Return the context for serving other processes of ours, each with a certificate; None: plain.

        `oldest` is for where etcd calls.
        """
        if self.directory is None:
            return None
        context = _TellingContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = _TellingObject
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0  # a resumed session would skip the look at who calls
        context.options |= ssl.OP_NO_TICKET
        return self._own(context, oldest)

    def serving_the_public(self) -> ssl.SSLContext | None:
        """Return the context for serving customers, who have no certificate; None: plain.

        One of ours may show its own, and is told apart by it; a certificate of anybody else is refused.
        """
        if self.directory is None:
            return None
        context = _TellingContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = _TellingObject
        context.verify_mode = ssl.CERT_OPTIONAL
        return self._own(context, ssl.TLSVersion.TLSv1_2)

    def serving_browsers(self) -> ssl.SSLContext | None:
        """Return the context for serving people's browsers; None: plain.

        No certificate is asked for: a browser would show its user a choice of those on his smart cards.
        """
        if self.directory is None:
            return None
        context = _TellingContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = _TellingObject
        return self._own(context, ssl.TLSVersion.TLSv1_2)

    def refresh(self) -> bool:
        """Take over renewed certificates and revocations, if there are any; say whether there were."""
        found = self._look()
        if found == self._seen:
            return False
        for context in self._contexts:
            self._fill(context)
        for context in self._partners:
            self._fill_own(context)
        self._seen = found
        return True

    def acknowledge(self) -> None:
        """Say in `loaded/<name>` what this process presents and refuses from now on."""
        if self.directory is not None:
            folder = self.directory / LOADED
            folder.mkdir(mode=0o700, exist_ok=True)
            aside = folder / f".{self.name}.tmp"
            aside.write_text(stamp_of(self.directory))
            aside.replace(folder / self.name)

    def _own(
        self, context: ssl.SSLContext, oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> ssl.SSLContext:
        context.minimum_version = oldest
        context.set_ciphers(CIPHERS)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_X509_STRICT
        return self._load(context)

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        self._fill(context)
        self._contexts.append(context)
        return context

    def _fill(self, context: ssl.SSLContext) -> None:
        """Load what is in force; of several revocation lists OpenSSL takes the youngest."""
        assert self.directory is not None  # noqa: S101 - plain identities own no context
        generation = (self.directory / CURRENT).resolve()  # one generation, even if it changes meanwhile
        context.load_verify_locations(generation / "ca.crt")
        context.load_verify_locations(self.directory / REVOKED)
        self._fill_own(context)

    def _fill_own(self, context: ssl.SSLContext) -> None:
        assert self.directory is not None  # noqa: S101
        generation = (self.directory / CURRENT).resolve()
        context.load_cert_chain(generation / f"{self.name}.crt", generation / f"{self.name}.key")

    def _look(self) -> str:
        return stamp_of(self.directory) if self.directory is not None else ""


def stamp_of(directory: Path) -> str:
    """Return what is in force in `directory`: its generation and when its revocations changed."""
    return f"{os.readlink(directory / CURRENT)} {(directory / REVOKED).stat().st_mtime_ns}"


@contextlib.asynccontextmanager
async def open_identity(directory: Path | None, name: str) -> AsyncIterator[Identity]:
    """Yield the identity `name` and keep it fresh while the block runs."""
    identity = Identity(directory, name)
    fresh = asyncio.create_task(_keep_fresh(identity)) if directory is not None else None
    try:
        yield identity
    finally:
        if fresh is not None:
            fresh.cancel()
            await asyncio.gather(fresh, return_exceptions=True)


async def _keep_fresh(identity: Identity) -> None:
    identity.acknowledge()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            if identity.refresh():
                identity.acknowledge()
                log.warning("%s: renewed certificates or revocations taken over", identity.name)
        except (OSError, ssl.SSLError) as error:
            log.error("%s: renewed certificates cannot be used, the old ones stay: %s", identity.name, error)


def public_tls(directory: Path | None) -> Tls:
    """Return a customer's context: the authority, and the address in the certificate; no own certificate."""
    if directory is None:
        return True
    return ssl.create_default_context(cafile=directory / CURRENT / "ca.crt")


@functools.cache
def _operator(directory: Path | None) -> Identity:
    return Identity(directory, OPERATOR)


def calling(directory: Path | None, holder: str) -> Tls:
    """Return the operator's context for calling `holder`, with the certificates in force now."""
    _operator(directory).refresh()
    return _operator(directory).to(holder)


def holder_of(certificate: Mapping[str, Any] | None) -> str:
    """Return the common name of a verified certificate as `ssl` shows it, "" when there is none.

    >>> holder_of({"subject": ((("commonName", "agent.idc"),),)})
    'agent.idc'
    """
    names = [value for part in (certificate or {}).get("subject", ()) for key, value in part]
    return names[0] if len(names) == 1 else ""


def kind_of(holder: str) -> str:
    """Return what kind of process a holder is: `agent` of `agent.idc`."""
    return holder.partition(".")[0]
