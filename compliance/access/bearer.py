"""Signed tokens of channels and customers: who calls, until when. Pure: the digest's key stays outside.

`b1.<claims>.<mac>`: claims are JSON in base64url, the mac is a keyed SM3 digest of them. Checked without
asking anybody, so it costs no round trip on the path of money. It cannot be taken back before it expires:
lives are short, and a customer's shorter than a channel's.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass

from compliance.access.roles import Party

PREFIX = "b1."
_DOMAIN = b"bearer|"
Digest = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Claims:
    """Who calls: a channel's name or a customer's id; `until_s` in seconds since 1970, UTC."""

    party: Party
    subject: str
    until_s: int


def make_bearer(digest: Digest, claims: Claims) -> str:
    """Return the token that says `claims`; `digest` is a keyed one that nobody else can compute."""
    plain = json.dumps([str(claims.party), claims.subject, claims.until_s], separators=(",", ":")).encode()
    return PREFIX + _encode(plain) + "." + _encode(digest(_DOMAIN + plain))


def read_bearer(digest: Digest, token: str, now_s: float) -> Claims | None:
    """Return what a token says; None when it is none of ours, was changed, or is over."""
    try:
        prefix, plain_text, mac_text = token.split(".")
        plain, mac = _decode(plain_text), _decode(mac_text)
    except (ValueError, binascii.Error):
        return None
    # Compared before it is parsed: what is not ours is never looked into.
    if prefix + "." != PREFIX or not hmac.compare_digest(mac, digest(_DOMAIN + plain)):
        return None
    party, subject, until_s = json.loads(plain)
    return Claims(Party(party), subject, until_s) if now_s < until_s else None


def _encode(plain: bytes) -> str:
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
