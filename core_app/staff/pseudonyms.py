"""Keyed tokens of staff and customers, so that behaviour is scored and reviewed without names. Pure.

The same person has the same token at both sites and for ever: the key never rotates. Whoever has no key
cannot tell whose token it is, nor find a token for a name.
"""

from collections.abc import Callable, Iterable

from compliance.access.bearer import Digest

_STAFF_DIGITS, _CUSTOMER_DIGITS = 20, 24
"""Hexadecimal digits. Source: our choice; of a million people two share 80 bits with a chance of 1e-12."""

Namer = Callable[[str], str]


def staff_namer(digest: Digest) -> Namer:
    """Return what makes a member of staff's token; `digest` is keyed (`Vault.request_digest`)."""
    return lambda staff: "e" + digest(f"watch|staff|{staff}".encode()).hex()[:_STAFF_DIGITS]


def customer_namer(digest: Digest) -> Namer:
    """Return what makes a customer's token; another one than the id that the core uses."""
    return lambda customer: "c" + digest(f"watch|customer|{customer}".encode()).hex()[:_CUSTOMER_DIGITS]


def find_named(token: str, names: Iterable[str], namer: Namer) -> str | None:
    """Return whose token it is, None when it is none of theirs: there is no way back but trying them all."""
    return next((name for name in names if namer(name) == token), None)
