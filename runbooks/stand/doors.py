"""Every TLS listener of a stand: who answers there, who may knock, and whether a knock was answered."""

import asyncio
import ssl
from dataclasses import dataclass

from cryptography import x509

from replication.model import DATA_SITES, Site
from replication.tls import OPERATOR, Identity, Tls
from runbooks.stand.certificates import tls_dir
from runbooks.stand.ports import BANKS, OUTSIDE, own_copies
from runbooks.stand.topology import LOOPBACK, Stand

PATIENCE_S = 5.0
"""Patience with a door. Source: our choice; it answers in milliseconds."""
_HTTP = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_PROXY = b"GET / HTTP/1.1\r\n\r\n"
_SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))
"""What PostgreSQL answers with one byte before it knows who asks (PostgreSQL documentation, 54.7)."""


@dataclass(frozen=True, slots=True)
class Door:
    """A TLS listener: its port's name and number, whose certificate it shows, and whom it serves.

    `caller` is `(place, kind)` of somebody it lets in, None: anybody. `words` get an answer out of it.
    `knows_revoked` is false of a server that takes no list of revocations.
    """

    name: str
    port: int
    holder: str
    caller: tuple[str, str] | None
    words: bytes = _HTTP
    knows_revoked: bool = True


@dataclass(frozen=True, slots=True)
class Knock:
    """What came of knocking: `refused` is empty when the door answered; `serial` of what it showed."""

    refused: str
    serial: int | None
    version: str | None


def doors_of(stand: Stand) -> tuple[Door, ...]:
    """Return every TLS listener of the stand; the Unix sockets are not among them."""
    doors = [door for site in Site for door in _doors_at(stand, site)]
    for bank in BANKS:
        name = f"{OUTSIDE}/{bank}"
        doors.append(Door(name, stand.ports[name], bank, (Site.IDC, "payer")))
    return tuple(doors)


def _doors_at(stand: Stand, site: Site) -> list[Door]:
    operator = (Site.IDC, OPERATOR)
    own = {"etcd-client": ("etcd", operator, _HTTP), "etcd-peer": ("etcd", (site, "etcd"), _HTTP)}
    own |= {"border-connect": ("border", (site, "etcd"), _PROXY)}
    if site in DATA_SITES:
        copy = min(own_copies(stand.ports, site))
        peer = next(other for other in DATA_SITES if other is not site)
        own |= {
            kind: (kind, operator, _HTTP) for kind in ("agent", "projector", "payer", "notary", "watcher")
        }
        own |= {"border-tunnel": ("border", (peer, "border"), b"%d\n%b" % (copy, _SSL_REQUEST))}
    doors = [
        Door(f"{site}/{name}", stand.port(site, name), holder, caller, words)
        for name, (holder, caller, words) in own.items()
    ]
    if site in DATA_SITES:
        doors += [Door(f"{site}/{name}", stand.port(site, name), name, None) for name in ("api", "console")]
        if stand.valkey_tls_bin is not None:  # it answers that it wants a password
            doors.append(
                Door(f"{site}/valkey", stand.port(site, "valkey"), "valkey", operator, b"PING\r\n", False)
            )
    for name, port in stand.ports.items():  # what a border relays as it is: the server's own TLS
        if name.startswith(f"{site}/to/") and isinstance(stand.address(name), int):
            kind = name.split("/")[3].removesuffix("-client")
            doors.append(Door(name, port, kind, None if kind == "api" else operator))
    return doors


def context_for(stand: Stand, door: Door) -> Tls:
    """Return the context of somebody whom the door lets in, with the certificates in force now."""
    place, kind = door.caller or (Site.IDC, OPERATOR)
    identity = Identity(tls_dir(stand.home, place), kind)
    return identity.to_partner(door.holder) if door.holder in BANKS else identity.to(door.holder)


async def knock(door: Door, context: Tls) -> Knock:
    """Make a new connection and say the door's words; says who was refused by whom, in OpenSSL's words."""
    serial = version = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, door.port, ssl=context)
            try:
                shown = writer.get_extra_info("ssl_object")
                serial = x509.load_der_x509_certificate(shown.getpeercert(binary_form=True)).serial_number
                version = shown.version()
                writer.write(door.words)
                await writer.drain()
                answer = await reader.read(1)
            finally:
                writer.transport.abort()
    except ssl.SSLError as error:
        return Knock(getattr(error, "verify_message", "") or error.reason or str(error), serial, version)
    except (OSError, TimeoutError) as error:
        return Knock(type(error).__name__, serial, version)
    return Knock("" if answer else "closed without a word", serial, version)
