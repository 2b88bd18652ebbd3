"""The vault: what a process opens once at start and seals, opens and indexes fields with.

Opening runs the self-tests first. Everything inside is read-only after construction, so one vault
may serve all tasks of a process.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compliance.protection import keys
from compliance.protection.errors import SealBroken
from compliance.protection.fields import (
    NONCE_BYTES,
    PROTECTED_COLUMNS,
    Column,
    Seal,
    open_value,
    seal_value,
    stored_key_version,
)
from compliance.protection.index import compute_blind_index, compute_hmac_sm3
from compliance.protection.key_file import read_key_file
from compliance.protection.selftest import run_self_tests

TENANT = "biyi"


@dataclass(frozen=True, slots=True)
class Vault:
    """Keys of one root, derived; none of them appears in `repr`. Make it with `open_vault`."""

    key_version: int
    field_keys: Mapping[str, bytes] = field(repr=False)
    index_keys: Mapping[Column, bytes] = field(repr=False)
    slot_key: bytes = field(repr=False)
    customer_id_key: bytes = field(repr=False)
    request_key: bytes = field(repr=False)
    new_nonce: Callable[[], bytes] = field(repr=False)

    def encrypt(self, column: Column, row_key: str, plaintext: str) -> bytes:
        """Return the stored form of `plaintext`, bound to its row and column."""
        seal = Seal(TENANT, column, row_key)
        key = self.field_keys[column.table]
        return seal_value(key, self.key_version, seal, self.new_nonce(), plaintext)

    def decrypt(self, column: Column, row_key: str, stored: bytes) -> str:
        """Return the clear value; SealBroken when it was changed, moved or sealed by another key."""
        version = stored_key_version(stored)
        if version != self.key_version:
            raise SealBroken(f"{column.table}.{column.name}: key version {version} is not held here")
        return open_value(self.field_keys[column.table], Seal(TENANT, column, row_key), stored)

    def blind_index(self, column: Column, normalised: str) -> bytes:
        """Return the 32 bytes to find a row by; KeyError when the column is not an indexed one."""
        return compute_blind_index(self.index_keys[column], normalised)

    def request_digest(self, request: bytes) -> bytes:
        """Return the keyed SM3 digest of a request.

        Keyed, because a bare hash of a body with an ID number could be undone by guessing.
        """
        return compute_hmac_sm3(self.request_key, request)


def make_vault(root: keys.RootKey, new_nonce: Callable[[], bytes]) -> Vault:
    """Derive every key of the register from `root`; `new_nonce` gives 12 fresh random bytes a call."""
    return Vault(
        key_version=root.version,
        field_keys={c.table: keys.derive_field_key(root, c.table) for c in PROTECTED_COLUMNS},
        index_keys={c: keys.derive_index_key(root, c.table, c.name) for c in PROTECTED_COLUMNS if c.indexed},
        slot_key=keys.derive_mac_key(root, "slot"),
        customer_id_key=keys.derive_mac_key(root, "customer-id"),
        request_key=keys.derive_mac_key(root, "request"),
        new_nonce=new_nonce,
    )


def open_vault(key_file: Path) -> Vault:
    """Test the engines, read the key file, derive; SelfTestFailed or KeyFileError refuse the start."""
    run_self_tests()
    return make_vault(read_key_file(key_file), lambda: secrets.token_bytes(NONCE_BYTES))
