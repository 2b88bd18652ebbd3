"""One key a customer out of one stored secret, and the way to destroy a single one of them. Pure.

A tree of keys (Goldreich, Goldwasser, Micali 1986): a node's sixteen children are HMAC-SM3 of it, a
customer's key hangs below the node that the customer's path leads to. Whoever holds the top holds every
key. To *puncture* the tree for one customer, the top is replaced by the siblings along the path (a
puncturable PRF: Boneh and Waters 2013): every other key can still be derived, this one by nobody again.
Nothing is kept for a customer who was not shredded, and registering one writes no key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes

from compliance.protection.errors import SubjectShredded
from compliance.protection.index import compute_hmac_sm3

PATH_DIGITS = 16
"""Hexadecimal digits of a path. Source: our choice; 64 bits, so that of 20 million customers two share
a path (and would be shredded together) with a chance of 1e-5."""
NODE_BYTES = 32
_DIGITS = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class KeyTree:
    """What is left of a tree: keys by the path they stand at; "" is the top. None is above another."""

    nodes: Mapping[str, bytes] = field(repr=False)

    def derive(self, subject: str, length_bytes: int) -> bytes:
        """Return the key of `subject`, at most 32 bytes; SubjectShredded when it was punctured."""
        path = _path_of(subject)
        start = self._start_of(path)
        if start is None:
            raise SubjectShredded("the key of this customer was destroyed: the value can never be opened")
        node = self.nodes[path[:start]]
        for digit in path[start:]:
            node = _child(node, digit)
        return compute_hmac_sm3(node, f"subject|{subject}".encode())[:length_bytes]

    def puncture(self, subject: str) -> "KeyTree":
        """Return the tree without the key of `subject`; the same tree when it has it no more."""
        path = _path_of(subject)
        start = self._start_of(path)
        if start is None:
            return self
        left = dict(self.nodes)
        node = left.pop(path[:start])
        for depth in range(start, PATH_DIGITS):
            here = path[:depth]
            left |= {here + digit: _child(node, digit) for digit in _DIGITS if digit != path[depth]}
            node = _child(node, path[depth])
        return KeyTree(left)

    def holds(self, subject: str) -> bool:
        """Say whether the key of `subject` can be derived."""
        return self._start_of(_path_of(subject)) is not None

    def _start_of(self, path: str) -> int | None:
        return next((depth for depth in range(PATH_DIGITS + 1) if path[:depth] in self.nodes), None)


def plant(secret: bytes) -> KeyTree:
    """Return a whole tree grown from 32 random bytes."""
    if len(secret) != NODE_BYTES:
        raise ValueError(f"top of a key tree: {len(secret)} bytes, needs {NODE_BYTES}")
    return KeyTree({"": secret})


def _path_of(subject: str) -> str:
    # No secret: it only spreads subjects evenly.
    digest = hashes.Hash(hashes.SM3())
    digest.update(subject.encode())
    return digest.finalize().hex()[:PATH_DIGITS]


def _child(node: bytes, digit: str) -> bytes:
    return compute_hmac_sm3(node, f"node|{digit}".encode())
