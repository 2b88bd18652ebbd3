"""Protected columns and how a value is sealed into one. Pure: the nonce is an argument.

Stored form: 1 byte format (1) | 2 bytes key version | 12 bytes nonce | SM4-GCM ciphertext | 16 bytes
tag. The tag also covers tenant|table|column|row key|version, so a sealed value that is moved to
another row or column does not open. One data key seals at most 2**32 fields (random 96-bit nonces).
"""

import enum
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from compliance.protection.errors import SealBroken

FORMAT = 1
_FORMAT = bytes([FORMAT])
NONCE_BYTES = 12
TAG_BYTES = 16
_HEADER_BYTES = 3
_SEPARATORS = 4
_SHORTEST = _HEADER_BYTES + NONCE_BYTES + TAG_BYTES


class DataClass(enum.StrEnum):
    """Classes of JR/T 0171-2020: C3 authenticates, C2 identifies, C1 is internal."""

    C1 = "C1"
    C2 = "C2"
    C3 = "C3"


class Shape(enum.StrEnum):
    """What a value looks like; masking is chosen by it."""

    NAME = "name"
    ID_NUMBER = "id_number"
    PHONE = "phone"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Column:
    """One protected column: where it lies, its class, its shape, and whether it can be looked up."""

    table: str
    name: str
    data_class: DataClass
    shape: Shape
    indexed: bool = False
    sealed: bool = True
    """False: only the blind index is stored; the value is counted and compared, never read."""


CUSTOMER_NAME = Column("core.customers", "name", DataClass.C2, Shape.NAME)
CUSTOMER_ID_NUMBER = Column("core.customers", "id_number", DataClass.C2, Shape.ID_NUMBER, indexed=True)
CUSTOMER_PHONE = Column("core.customers", "phone", DataClass.C2, Shape.PHONE, indexed=True)

EVIDENCE_DEVICE = Column("core.evidence", "device", DataClass.C2, Shape.OTHER, indexed=True, sealed=False)
EVIDENCE_WIFI = Column("core.evidence", "wifi", DataClass.C2, Shape.OTHER, indexed=True, sealed=False)
EVIDENCE_IP = Column("core.evidence", "ip", DataClass.C2, Shape.OTHER, indexed=True, sealed=False)
EVIDENCE_ADDRESS = Column("core.evidence", "address", DataClass.C2, Shape.OTHER, indexed=True, sealed=False)

# The seed of an administrator's one-time codes; the row key is the account's name.
STAFF_TOTP_SECRET = Column("access.accounts", "totp_secret", DataClass.C3, Shape.OTHER)

PROTECTED_COLUMNS: tuple[Column, ...] = (
    CUSTOMER_NAME,
    CUSTOMER_ID_NUMBER,
    CUSTOMER_PHONE,
    EVIDENCE_DEVICE,
    EVIDENCE_WIFI,
    EVIDENCE_IP,
    EVIDENCE_ADDRESS,
    STAFF_TOTP_SECRET,
)
"""The one register: a personal datum that is not listed here may not be stored."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The place that a sealed value belongs to; every part is bound into the tag."""

    tenant: str
    column: Column
    row_key: str

    def bound_data(self, key_version: int) -> bytes:
        """Return the bytes the tag covers; ValueError when a part holds the separator."""
        column = self.column
        text = f"{self.tenant}|{column.table}|{column.name}|{self.row_key}|{key_version}"
        if text.count("|") != _SEPARATORS or "||" in text or text[0] == "|":
            raise ValueError("a seal's parts must be non-empty and free of '|'")
        return text.encode()


def seal_value(cipher: algorithms.SM4, key_version: int, seal: Seal, nonce: bytes, plaintext: str) -> bytes:
    """Return the stored form of `plaintext`; `nonce` must be fresh random bytes for every call."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"nonce: {len(nonce)} bytes, needs {NONCE_BYTES}")
    encryptor = Cipher(cipher, modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(seal.bound_data(key_version))
    ciphertext = encryptor.update(plaintext.encode()) + encryptor.finalize()
    return _FORMAT + key_version.to_bytes(2, "big") + nonce + ciphertext + encryptor.tag


def stored_key_version(stored: bytes) -> int:
    """Return the key version a stored field names; SealBroken when it is no stored field."""
    if len(stored) < _SHORTEST or stored[0] != FORMAT:
        raise SealBroken(f"stored field of {len(stored)} bytes: not of format {FORMAT}")
    return int.from_bytes(stored[1:_HEADER_BYTES], "big")


def open_value(cipher: algorithms.SM4, seal: Seal, stored: bytes) -> str:
    """Return the clear value in one shot, after the tag was checked; SealBroken otherwise."""
    key_version = stored_key_version(stored)
    nonce = stored[_HEADER_BYTES : _HEADER_BYTES + NONCE_BYTES]
    ciphertext, tag = stored[_HEADER_BYTES + NONCE_BYTES : -TAG_BYTES], stored[-TAG_BYTES:]
    decryptor = Cipher(cipher, modes.GCM(nonce, tag)).decryptor()
    decryptor.authenticate_additional_data(seal.bound_data(key_version))
    try:
        # The engine hands out bytes before it has checked the tag: they leave here only after.
        plaintext = decryptor.update(ciphertext) + decryptor.finalize()
    except InvalidTag:
        raise SealBroken(
            f"{seal.column.table}.{seal.column.name} of {seal.row_key}: tag does not match"
        ) from None
    return plaintext.decode()
