"""Device evidence of an application: device, WiFi, IP, home address. Pure.

They are personal data. Nothing here or in the database keeps them in clear: what is stored is a keyed
index (HMAC-SM3, one key a kind), enough to count and to find who shares one, and no way back.
"""

import enum
import ipaddress
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from compliance.protection.fields import (
    EVIDENCE_ADDRESS,
    EVIDENCE_DEVICE,
    EVIDENCE_IP,
    EVIDENCE_WIFI,
    Column,
)
from core_app.errors import refuse_field

_DEVICE = re.compile(r"[A-Z0-9:._-]{8,100}")
_BSSID = re.compile(r"[0-9A-F]{12}")


class EvidenceKind(enum.StrEnum):
    """What may be shared between applications."""

    DEVICE = "device"
    WIFI = "wifi"
    IP = "ip"
    ADDRESS = "address"


COLUMN_OF_KIND: Mapping[EvidenceKind, Column] = {
    EvidenceKind.DEVICE: EVIDENCE_DEVICE,
    EvidenceKind.WIFI: EVIDENCE_WIFI,
    EvidenceKind.IP: EVIDENCE_IP,
    EvidenceKind.ADDRESS: EVIDENCE_ADDRESS,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence as it is stored: its kind and the keyed index of its value."""

    kind: EvidenceKind
    index: bytes


def normalise_evidence(kind: EvidenceKind, text: str) -> str | None:
    """Return the one spelling of a value that is indexed, or None when it is no value of its kind."""
    plain = unicodedata.normalize("NFKC", text).strip().upper()
    match kind:
        case EvidenceKind.DEVICE:
            return plain if _DEVICE.fullmatch(plain) else None
        case EvidenceKind.WIFI:
            bssid = re.sub(r"[:.-]", "", plain)
            return bssid if _BSSID.fullmatch(bssid) else None
        case EvidenceKind.IP:
            return _normalise_ip(plain)
        case EvidenceKind.ADDRESS:
            address = "".join(plain.split())
            return address if len(address) >= 6 else None


def _normalise_ip(text: str) -> str | None:
    """Return an IPv4 address, or the /64 of an IPv6 one: a household has a /64, not an address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if address.version == 6:
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


_NEEDED = {
    EvidenceKind.DEVICE: "8 to 100 letters, digits or any of : . _ -",
    EvidenceKind.WIFI: "the 12 hexadecimal digits of a BSSID",
    EvidenceKind.IP: "an IPv4 or IPv6 address",
    EvidenceKind.ADDRESS: "an address of at least 6 characters",
}


def index_evidence(
    blind_index: Callable[[Column, str], bytes], given: Mapping[str, str]
) -> tuple[Evidence, ...]:
    """Return what is stored of the evidence given; Refused names a bad field without quoting it."""
    found = []
    for kind in EvidenceKind:
        if kind in given:
            plain = normalise_evidence(kind, given[kind])
            if plain is None:
                raise refuse_field(f"body.evidence.{kind}", f"a text that is no {kind}", _NEEDED[kind])
            found.append(Evidence(kind, blind_index(COLUMN_OF_KIND[kind], plain)))
    return tuple(found)
