"""SM3 as the audit trail uses it: leaves, tree nodes, headers. Pure.

Leaves, nodes and headers are hashed under different first bytes, so that none can pass for another
(RFC 6962 section 2.1 does so with two). A tree has up to 16 children a node: for the same entries it costs a
fifth of the calls of a binary one. Its shape follows from the number of leaves, which the header names.
"""

import hashlib
from collections.abc import Iterable
from typing import Protocol

from cryptography.hazmat.primitives import hashes

DIGEST_BYTES = 32
FANOUT = 16
_NODE_BYTES = FANOUT * DIGEST_BYTES


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def copy(self) -> "_Hash": ...
    def digest(self) -> bytes: ...


class _OpenSslOfCryptography:
    """SM3 where the interpreter's own OpenSSL was built without it."""

    def __init__(self, state: hashes.Hash | None = None) -> None:
        self._state = state or hashes.Hash(hashes.SM3())

    def update(self, data: bytes, /) -> None:
        self._state.update(data)

    def copy(self) -> "_OpenSslOfCryptography":
        return _OpenSslOfCryptography(self._state.copy())

    def digest(self) -> bytes:
        return self._state.copy().finalize()


def _begin(first: bytes) -> _Hash:
    made: _Hash
    try:
        made = hashlib.new("sm3")
    except ValueError:
        made = _OpenSslOfCryptography()
    made.update(first)
    return made


# A copy of a begun hash takes half the time of a new one, which looks its algorithm up by name.
_PLAIN, _LEAF, _NODE, _HEADER = _begin(b""), _begin(b"\x00"), _begin(b"\x01"), _begin(b"\x02")


def _finish(begun: _Hash, data: bytes) -> bytes:
    digest = begun.copy()
    digest.update(data)
    return digest.digest()


def compute_sm3(data: bytes) -> bytes:
    """Return SM3 of `data`, 32 bytes."""
    return _finish(_PLAIN, data)


def hash_leaf(line: bytes) -> bytes:
    """Return the leaf of one entry's line."""
    return _finish(_LEAF, line)


def hash_leaves(lines: Iterable[bytes]) -> list[bytes]:
    """Return the leaves of lines, in order."""
    begin, made = _LEAF.copy, []
    for line in lines:
        digest = begin()
        digest.update(line)
        made.append(digest.digest())
    return made


def hash_header(line: bytes) -> bytes:
    """Return the hash of a block's or checkpoint's line."""
    return _finish(_HEADER, line)


def compute_root(leaves: bytes) -> bytes:
    """Return the root over leaves laid end to end; ValueError when there is none or a part of one."""
    if not leaves or len(leaves) % DIGEST_BYTES:
        raise ValueError(f"{len(leaves)} bytes of leaves: needs a multiple of {DIGEST_BYTES}, at least one")
    level = leaves
    while True:
        level = b"".join(
            _finish(_NODE, level[start : start + _NODE_BYTES]) for start in range(0, len(level), _NODE_BYTES)
        )
        if len(level) == DIGEST_BYTES:
            return level


def read_hex(text: bytes) -> bytes:
    """Return the bytes that `text` spells as we spell them; ValueError for capitals and spaces, too."""
    value = bytes.fromhex(text.decode())
    if value.hex().encode() != text:
        raise ValueError("hex, but not in lower case without spaces")
    return value
