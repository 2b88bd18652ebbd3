"""Passwords at rest: Argon2id over a keyed SM3 digest. Decision 027 says why both.

Stored is the PHC text of Argon2id, whose input is HMAC-SM3(key, staff | password): without the key, which is
not in the database, no guess can be tested; with it, each guess costs 19 MiB and two passes.
"""

import secrets

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from compliance.access.bearer import Digest

MEMORY_KIB, PASSES, LANES = 19_456, 2, 1
"""Source: OWASP Password Storage Cheat Sheet, first of the equivalent Argon2id settings."""
_SALT_BYTES, _HASH_BYTES = 16, 32
_LETTERS = ("abcdefghjkmnpqrstuvwxyz", "ABCDEFGHJKMNPQRSTUVWXYZ", "23456789")
_GROUP = 5


def hash_password(digest: Digest, staff: str, password: str) -> str:
    """Return what is stored of a password; takes about 0.1 s of a core."""
    kdf = Argon2id(
        salt=secrets.token_bytes(_SALT_BYTES),
        length=_HASH_BYTES,
        iterations=PASSES,
        lanes=LANES,
        memory_cost=MEMORY_KIB,
    )
    return kdf.derive_phc_encoded(_peppered(digest, staff, password))


def check_password(digest: Digest, staff: str, password: str, stored: str) -> bool:
    """Say whether `password` is the one that `stored` was made of; as long as `hash_password`."""
    try:
        Argon2id.verify_phc_encoded(_peppered(digest, staff, password), stored)
    except InvalidKey:
        return False
    return True


def make_password() -> str:
    """Return a random password to be told once and changed at first use: over 80 bits, no look-alikes."""
    groups = ["".join(secrets.choice(_LETTERS[0] + _LETTERS[2]) for _ in range(_GROUP)) for _ in range(3)]
    return "-".join([*groups, secrets.choice(_LETTERS[1]) + secrets.choice(_LETTERS[2])])


def _peppered(digest: Digest, staff: str, password: str) -> bytes:
    # Bound to the account: a hash copied into another account's row opens nothing.
    return digest(f"staff-password|{staff}|{password}".encode())
