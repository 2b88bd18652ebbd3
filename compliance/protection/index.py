"""Blind indexes and keyed digests: HMAC-SM3, never a bare SM3. Pure.

A bare hash of an ID number is undone by trying all of them; a keyed one only with the key.
"""

from cryptography.hazmat.primitives import hashes, hmac

DIGEST_BYTES = 32


def compute_hmac_sm3(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SM3 of `message`, 32 bytes."""
    mac = hmac.HMAC(key, hashes.SM3())
    mac.update(message)
    return mac.finalize()


def compute_blind_index(key: bytes, normalised: str) -> bytes:
    """Return what is stored to find a row by an exact value; `normalised` by the column's own rule."""
    return compute_hmac_sm3(key, normalised.encode())
