"""Documents kept as evidence: one canonical text, and the SM3 of exactly its bytes. Pure.

The hash is unkeyed on purpose: the borrower and a court can compute it from what they were given.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes


@dataclass(frozen=True, slots=True)
class Canonical:
    """A document's canonical JSON and the SM3 of its UTF-8 bytes (32 bytes)."""

    text: str
    sm3: bytes


def make_canonical(document: Mapping[str, Any]) -> Canonical:
    """Return the canonical form: sorted names, no spaces, Chinese as it is."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Canonical(text, compute_sm3(text.encode()))


def compute_sm3(message: bytes) -> bytes:
    """Return the SM3 of `message`, 32 bytes."""
    digest = hashes.Hash(hashes.SM3())
    digest.update(message)
    return digest.finalize()
