"""The keys derived from one root: HKDF-SM3, one key a purpose. Pure.

A purpose is a text such as `field|core.customers`; two purposes never share a key, so a field key
tells nothing about an index key. The root itself encrypts nothing.
"""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ROOT_BYTES = 32
SM4_KEY_BYTES = 16
MAC_KEY_BYTES = 32
_SALT = b"biyi.protection.v1"


@dataclass(frozen=True, slots=True)
class RootKey:
    """The root of one deployment: 256 bits, and the version that stored headers name (1 to 65535).

    `secret` is left out of `repr` so that no log or traceback can show it.
    """

    version: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != ROOT_BYTES:
            raise ValueError(f"root key: {len(self.secret)} bytes, needs {ROOT_BYTES}")
        if not 1 <= self.version <= 0xFFFF:
            raise ValueError(f"root key: version {self.version}, needs 1 to 65535")


def derive_key(root: RootKey, purpose: str, length_bytes: int) -> bytes:
    """Return the key of `purpose`, `length_bytes` long, the same on every site with this root."""
    derivation = HKDF(
        algorithm=hashes.SM3(),
        length=length_bytes,
        salt=_SALT,
        info=f"{root.version}|{purpose}".encode(),
    )
    return derivation.derive(root.secret)


def derive_field_key(root: RootKey, table: str) -> bytes:
    """Return the SM4 key of all protected columns of `table`."""
    return derive_key(root, f"field|{table}", SM4_KEY_BYTES)


def derive_index_key(root: RootKey, table: str, column: str) -> bytes:
    """Return the HMAC key of one column's blind index."""
    return derive_key(root, f"index|{table}|{column}", MAC_KEY_BYTES)


def derive_mac_key(root: RootKey, purpose: str) -> bytes:
    """Return an HMAC key for another purpose: `slot`, `customer-id`, `request`."""
    return derive_key(root, f"mac|{purpose}", MAC_KEY_BYTES)
