"""The vault: what a process opens once at start and seals, opens and indexes fields with.

Opening runs the self-tests first. A vault follows its site's key ring, so that rotation needs no restart;
one vault may serve all tasks of a process.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from compliance.protection import keys
from compliance.protection.errors import SealBroken
from compliance.protection.fields import NONCE_BYTES, Column, Seal, open_value, seal_value, stored_key_version
from compliance.protection.held_keys import (
    FollowedRing,
    HeldKeys,
    HeldTable,
    HeldVersion,
    derive_ring,
    hold_ring,
)
from compliance.protection.index import compute_blind_index, compute_hmac_sm3
from compliance.protection.key_file import read_key_file
from compliance.protection.ring_file import is_ring, read_ring
from compliance.protection.selftest import run_self_tests

TENANT = "biyi"


class KeySource(Protocol):
    """Where a vault gets its keys from: a fixed snapshot, or a ring that is followed."""

    def __call__(self) -> HeldKeys:
        """Return the keys to use now."""

    def refresh(self) -> HeldKeys:
        """Return the newest keys there are."""


class FixedKeys:
    """Keys that stay as they are."""

    def __init__(self, held: HeldKeys) -> None:
        self._held = held

    def __call__(self) -> HeldKeys:
        """Return them."""
        return self._held

    def refresh(self) -> HeldKeys:
        """Return them: there are no newer ones."""
        return self._held


class Vault:
    """Seals, opens and indexes fields. No key appears in its `repr`. Make it with `open_vault`."""

    def __init__(
        self, source: KeySource, new_nonce: Callable[[], bytes], seals: Counter[tuple[str, int]] | None = None
    ) -> None:
        self._source = source
        self._new_nonce = new_nonce
        self._seals: Counter[tuple[str, int]] = Counter() if seals is None else seals

    def __repr__(self) -> str:
        return f"Vault(generation={self._source().generation}, versions={self.versions()})"

    def encrypt(self, column: Column, row_key: str, plaintext: str) -> bytes:
        """Return the stored form of `plaintext`, bound to its row and column, under the primary version."""
        held = self._table(column).primary
        if held.cipher is None:
            raise KeyError(f"{column.table}.{column.name}: only its index is stored")
        self._seals[column.table, held.version] += 1
        seal = Seal(TENANT, column, row_key)
        return seal_value(held.cipher(row_key), held.version, seal, self._new_nonce(), plaintext)

    def decrypt(self, column: Column, row_key: str, stored: bytes) -> str:
        """Return the clear value.

        SealBroken when it was changed, moved, or sealed by a key not held here; SubjectShredded when its
        customer's key was destroyed on purpose.
        """
        held = self._version(column, stored_key_version(stored))
        if held.cipher is None:
            raise SealBroken(f"{column.table}.{column.name}: only its index is stored, nothing opens")
        return open_value(held.cipher(row_key), Seal(TENANT, column, row_key), stored)

    def blind_index(self, column: Column, normalised: str) -> bytes:
        """Return the 32 bytes to store beside a value; KeyError when the column is not an indexed one."""
        return compute_blind_index(self._table(column).primary.index_keys[column.name], normalised)

    def search_indexes(self, column: Column, normalised: str) -> list[bytes]:
        """Return what to find rows by, one for each version in use: `where column_index = any(%s)`."""
        held = self._table(column).versions.values()
        return [compute_blind_index(each.index_keys[column.name], normalised) for each in held]

    def request_digest(self, request: bytes) -> bytes:
        """Return the keyed SM3 digest of a request.

        Keyed, because a bare hash of a body with an ID number could be undone by guessing.
        """
        return compute_hmac_sm3(self._source().secrets["request"], request)

    def now(self) -> "Vault":
        """Return a vault whose keys stay as they are now: for one row, all of whose fields go together."""
        return Vault(FixedKeys(self._source()), self._new_nonce, self._seals)

    def versions(self) -> dict[str, int]:
        """Return the version that seals, by table."""
        return {table: held.primary.version for table, held in self._source().tables.items()}

    def seals(self) -> Mapping[tuple[str, int], int]:
        """Return how often this process has sealed with each version of each table, rolled back or not."""
        return dict(self._seals)

    @property
    def slot_key(self) -> bytes:
        """Return the key by which customers are spread over slots; it never rotates."""
        return self._source().secrets["slot"]

    @property
    def customer_id_key(self) -> bytes:
        """Return the key by which a customer's id follows from the person; it never rotates."""
        return self._source().secrets["customer-id"]

    def _table(self, column: Column) -> HeldTable:
        return self._source().tables[column.table]

    def _version(self, column: Column, version: int) -> HeldVersion:
        for read in (self._source, self._source.refresh):
            held = read().tables[column.table].versions.get(version)
            if held is not None:
                return held
        raise SealBroken(f"{column.table}.{column.name}: key version {version} is not held here")


def make_vault(root: keys.RootKey, new_nonce: Callable[[], bytes]) -> Vault:
    """Derive every key of the register from `root`; `new_nonce` gives 12 fresh random bytes a call."""
    return Vault(FixedKeys(hold_ring(derive_ring(root, "one"))), new_nonce)


def open_vault(key_file: Path) -> Vault:
    """Test the engines, read the keys, and follow them when they are a ring.

    SelfTestFailed, KeyFileError (RingFileError) or RootUnavailable refuse the start.
    """
    run_self_tests()
    if is_ring(key_file):
        return Vault(FollowedRing(key_file), _fresh_nonce)
    return make_vault(read_key_file(key_file), _fresh_nonce)


def open_secret(key_file: Path, name: str) -> bytes:
    """Return a key of the ring that is not of a table, for instance `backup`; errors as `open_vault`."""
    run_self_tests()
    ring = read_ring(key_file) if is_ring(key_file) else derive_ring(read_key_file(key_file), "one")
    return ring.secrets[name]


def _fresh_nonce() -> bytes:
    return secrets.token_bytes(NONCE_BYTES)
