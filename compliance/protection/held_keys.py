"""The keys a process holds, ready for use, and how it notices that its site's ring has changed.

A snapshot never changes. A process looks at its ring at most every `LOOK_EVERY_S`, and at once when it
meets a key version it does not know: so a version that is in the ring's file opens everywhere at the
site, and a process seals with a retired primary for no longer than that.
"""

import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import algorithms

from compliance.protection import keys
from compliance.protection.errors import ProtectionError
from compliance.protection.fields import PROTECTED_COLUMNS
from compliance.protection.key_tree import KeyTree
from compliance.protection.ring import LOADED, KeyVersion, Ring, State
from compliance.protection.ring_file import read_head, read_ring

LOOK_EVERY_S = 0.2
"""Longest time without a look at the ring. Source: our choice; a look is one stat(), about 2 us."""
_CACHED_KEYS = 8192
"""Customers' keys kept derived, each version. Source: our choice, 2 MB; deriving one costs 17 HMAC-SM3."""
_log = logging.getLogger(__name__)

Cipher = Callable[[str], algorithms.SM4]


@dataclass(frozen=True, slots=True)
class HeldVersion:
    """One version ready for use: the cipher of a row, and the keys of its blind indexes."""

    version: int
    cipher: Cipher | None = field(repr=False)
    index_keys: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class HeldTable:
    """The versions of one table that open, and the one that seals."""

    primary: HeldVersion
    versions: Mapping[int, HeldVersion]


@dataclass(frozen=True, slots=True)
class HeldKeys:
    """A snapshot of a ring in use. No key appears in `repr`."""

    generation: int
    tables: Mapping[str, HeldTable]
    secrets: Mapping[str, bytes] = field(repr=False)


def hold_ring(ring: Ring) -> HeldKeys:
    """Return the keys of a ring that open or seal; retired ones are left out."""
    tables = {}
    for table, versions in ring.tables.items():
        held = {each.version: _hold(each) for each in versions if each.state in LOADED}
        tables[table] = HeldTable(held[ring.primary(table).version], held)
    return HeldKeys(ring.generation, tables, ring.secrets)


def _hold(found: KeyVersion) -> HeldVersion:
    cipher: Cipher | None = None
    if found.tree is not None:
        cipher = _of_tree(found.tree)
    elif found.table_key is not None:
        only = algorithms.SM4(found.table_key)
        cipher = lambda subject: only  # noqa: E731 - one key for every row of the table
    return HeldVersion(found.version, cipher, found.index_keys)


def _of_tree(tree: KeyTree) -> Cipher:
    @functools.lru_cache(_CACHED_KEYS)
    def cipher(subject: str) -> algorithms.SM4:
        return algorithms.SM4(tree.derive(subject, keys.SM4_KEY_BYTES))

    return cipher


def derive_ring(root: keys.RootKey, site: str) -> Ring:
    """Return the ring that a bare root stands for: everything derived, one key version, the root's own.

    What was sealed before there were rings opens with it; a rotation then gives random keys.
    """
    tables = {}
    for table in sorted({column.table for column in PROTECTED_COLUMNS}):
        columns = [column for column in PROTECTED_COLUMNS if column.table == table]
        index_keys = {c.name: keys.derive_index_key(root, table, c.name) for c in columns if c.indexed}
        table_key = keys.derive_field_key(root, table) if any(c.sealed for c in columns) else None
        tables[table] = (KeyVersion(root.version, State.PRIMARY, table_key, None, index_keys),)
    held = {name: keys.derive_mac_key(root, name) for name in ("slot", "customer-id", "request")}
    held["backup"] = keys.derive_key(root, "backup", keys.MAC_KEY_BYTES)
    held["exchange"] = keys.derive_key(root, "exchange", keys.SM4_KEY_BYTES)
    held["signing"] = keys.derive_key(root, f"signing|{site}", keys.MAC_KEY_BYTES)
    return Ring(site, 0, tables, held)


class FollowedRing:
    """Gives the snapshot of a ring's file, a newer one soon after the file changes.

    A ring that cannot be read any more changes nothing: the process goes on with what it has and says so
    in its log, for refusing all customers would be the greater harm.
    """

    def __init__(self, path: Path, read_elapsed: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._elapsed = read_elapsed
        read_head(path)  # says what is wrong with a path, where a bare stat() would not
        self._stamp = self._look()
        self._held = hold_ring(read_ring(path))
        self._next = read_elapsed() + LOOK_EVERY_S

    def __call__(self) -> HeldKeys:
        """Return the keys as they were at most `LOOK_EVERY_S` ago."""
        now = self._elapsed()
        if now >= self._next:
            self._next = now + LOOK_EVERY_S
            self.refresh()
        return self._held

    def refresh(self) -> HeldKeys:
        """Look at the file now, and read it if it has changed."""
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._held = hold_ring(read_ring(self._path))
                self._stamp = stamp
        except (OSError, ProtectionError) as error:
            _log.error(
                "%s cannot be read again (%s); the keys of before serve on", self._path, type(error).__name__
            )
        return self._held

    def _look(self) -> tuple[int, int, int]:
        # A ring is replaced by rename: the inode alone tells, the other two for a file system that reuses it.
        seen = self._path.stat()
        return seen.st_ino, seen.st_mtime_ns, seen.st_size
