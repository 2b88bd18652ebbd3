"""The key ring of one site: every data key by table and version, and what each version may do. Pure.

A version arrives decrypt-only, becomes primary when both sites have it, is old (decrypt-only again) once
a newer one is primary, and is retired when no row needs it. Both sites hold the same keys, each sealed
under its own key-encryption key (`ring_file.py`); no site can put a version to use that the other lacks.
"""

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compliance.protection.errors import RingRefused
from compliance.protection.fields import PROTECTED_COLUMNS
from compliance.protection.key_tree import KeyTree, plant
from compliance.protection.keys import MAC_KEY_BYTES, SM4_KEY_BYTES

SECRETS = ("slot", "customer-id", "request", "backup", "exchange", "signing")
"""Keys that are not of a table: routing and digests (they never rotate: stored ids rest on them), backups,
the key under which new versions travel between the sites, and the SM2 key that signs receipts."""
HIGHEST_VERSION = 0xFFFF


class State(enum.StrEnum):
    """What a key version may do at a site."""

    ARRIVED = "arrived"
    """It opens values; nothing is sealed with it yet."""
    PRIMARY = "primary"
    """It seals and opens."""
    OLD = "old"
    """It opens values until the last row is re-wrapped."""
    RETIRED = "retired"
    """No row needs it; kept sealed, and not loaded, for backups that are older than its retirement."""
    DESTROYED = "destroyed"
    """Its bytes are gone; the number is never used again."""


LOADED = frozenset({State.ARRIVED, State.PRIMARY, State.OLD})


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a table's keys: what seals fields (of the table, or a tree), and blind indexes."""

    version: int
    state: State
    table_key: bytes | None = field(default=None, repr=False)
    tree: KeyTree | None = field(default=None, repr=False)
    index_keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Ring:
    """One site's keys in clear, for as long as a process or a command needs them."""

    site: str
    generation: int
    tables: Mapping[str, tuple[KeyVersion, ...]]
    secrets: Mapping[str, bytes] = field(repr=False)
    holders: Mapping[str, bytes] = field(default_factory=dict)
    """Public SM2 keys of those who approve root operations, by name."""

    def version(self, table: str, version: int) -> KeyVersion | None:
        """Return a version of a table's keys."""
        return next((found for found in self.tables.get(table, ()) if found.version == version), None)

    def primary(self, table: str) -> KeyVersion:
        """Return the version that seals; RingRefused when the ring does not know the table."""
        for found in self.tables.get(table, ()):
            if found.state is State.PRIMARY:
                return found
        raise RingRefused(f"ring of {self.site}: no primary key version of {table}")

    def states(self) -> dict[str, dict[int, State]]:
        """Return what may be shown to anybody: versions and states, no key."""
        return {
            table: {found.version: found.state for found in versions}
            for table, versions in self.tables.items()
        }


def add_version(ring: Ring, table: str, arriving: KeyVersion) -> Ring:
    """Return the ring with a version more, decrypt-only; the same ring when it has it already."""
    known = ring.tables.get(table)
    if known is None:
        raise RingRefused(f"ring of {ring.site}: no table {table}; there are: {', '.join(ring.tables)}")
    if (here := ring.version(table, arriving.version)) is not None:
        if replace(here, state=State.ARRIVED) != replace(arriving, state=State.ARRIVED):
            raise RingRefused(f"ring of {ring.site}: another key is version {arriving.version} of {table}")
        return ring
    newest = max(found.version for found in known)
    if arriving.version <= newest or arriving.version > HIGHEST_VERSION:
        raise RingRefused(f"ring of {ring.site}: version {arriving.version} of {table}, needs {newest + 1}")
    return _with(ring, table, (*known, replace(arriving, state=State.ARRIVED)))


def promote(ring: Ring, table: str, version: int) -> Ring:
    """Return the ring in which `version` seals and the one before only opens."""
    found = _find(ring, table, version)
    if found.state is State.PRIMARY:
        return ring
    if found.state is not State.ARRIVED:
        raise RingRefused(f"ring of {ring.site}: version {version} of {table} is {found.state}")
    return _with(ring, table, (_promoted(each, version) for each in ring.tables[table]))


def _promoted(each: KeyVersion, version: int) -> KeyVersion:
    if each.version == version:
        return replace(each, state=State.PRIMARY)
    return replace(each, state=State.OLD) if each.state is State.PRIMARY else each


def retire(ring: Ring, table: str, version: int) -> Ring:
    """Return the ring that no longer opens anything with `version`, which must be an old one."""
    return _move(ring, table, version, {State.OLD: State.RETIRED})


def reopen(ring: Ring, table: str, version: int) -> Ring:
    """Return the ring that opens with a retired version again: a backup of its time was restored."""
    return _move(ring, table, version, {State.RETIRED: State.OLD})


def destroy(ring: Ring, table: str, version: int) -> Ring:
    """Return the ring without the bytes of a retired version: no backup of its time opens any more."""
    ring = _move(ring, table, version, {State.RETIRED: State.DESTROYED})
    gone = KeyVersion(version, State.DESTROYED)
    return _with(ring, table, (gone if each.version == version else each for each in ring.tables[table]))


def shred(ring: Ring, table: str, subject: str) -> Ring:
    """Return the ring in which no version of `table` can derive the key of `subject` any more.

    RingRefused while a version still has one key for the whole table: it would open the subject's values.
    """
    for each in ring.tables.get(table, ()):
        if each.table_key is not None:
            raise RingRefused(
                f"ring of {ring.site}: version {each.version} of {table} is {each.state} and has one key for "
                f"all rows; rotate, then destroy version {each.version}, so that single keys can be destroyed"
            )
    punctured = (
        each if each.tree is None else replace(each, tree=each.tree.puncture(subject))
        for each in ring.tables[table]
    )
    return _with(ring, table, punctured)


def holds_subject(ring: Ring, table: str, subject: str) -> bool:
    """Say whether any version of `table` still derives the key of `subject`."""
    versions = ring.tables.get(table, ())
    return any(
        each.table_key is not None or (each.tree is not None and each.tree.holds(subject))
        for each in versions
    )


def set_holders(ring: Ring, holders: Mapping[str, bytes]) -> Ring:
    """Return the ring with other holders: those who may approve root operations from now on."""
    return replace(ring, holders=dict(holders))


def plant_rings(sites: Iterable[str], draw: Callable[[int], bytes]) -> dict[str, Ring]:
    """Return a fresh ring for each site: the same data keys, version 1, and a signing key of its own."""
    tables: dict[str, tuple[KeyVersion, ...]] = {}
    for table in sorted({column.table for column in PROTECTED_COLUMNS}):
        columns = [column for column in PROTECTED_COLUMNS if column.table == table]
        indexed = [column.name for column in columns if column.indexed]
        first = grow_version(1, indexed, draw, sealing=any(column.sealed for column in columns))
        tables[table] = (replace(first, state=State.PRIMARY),)
    shared = {name: draw(MAC_KEY_BYTES) for name in SECRETS if name not in ("exchange", "signing")}
    shared["exchange"] = draw(SM4_KEY_BYTES)
    return {site: Ring(site, 1, tables, shared | {"signing": draw(MAC_KEY_BYTES)}) for site in sites}


def grow_version(
    version: int, columns: Iterable[str], draw: Callable[[int], bytes], *, sealing: bool = True
) -> KeyVersion:
    """Return a fresh version, decrypt-only, out of random bytes; `draw(n)` gives n of them."""
    return KeyVersion(
        version,
        State.ARRIVED,
        tree=plant(draw(MAC_KEY_BYTES)) if sealing else None,
        index_keys={column: draw(MAC_KEY_BYTES) for column in columns},
    )


def plain_version(found: KeyVersion) -> dict[str, Any]:
    """Return a version as JSON can hold it, keys included."""
    tree = None if found.tree is None else {path: node.hex() for path, node in found.tree.nodes.items()}
    return {
        "version": found.version,
        "state": str(found.state),
        "table_key": found.table_key.hex() if found.table_key else None,
        "tree": tree,
        "index_keys": {column: key.hex() for column, key in found.index_keys.items()},
    }


def read_version(plain: Mapping[str, Any]) -> KeyVersion:
    """Return the version that `plain_version` wrote; ValueError or KeyError when it is none."""
    key, tree = plain["table_key"], plain["tree"]
    if key is not None and len(bytes.fromhex(key)) != SM4_KEY_BYTES:
        raise ValueError("a table key is not 16 bytes")
    return KeyVersion(
        int(plain["version"]),
        State(plain["state"]),
        bytes.fromhex(key) if key is not None else None,
        KeyTree({path: bytes.fromhex(node) for path, node in tree.items()}) if tree is not None else None,
        {column: bytes.fromhex(text) for column, text in plain["index_keys"].items()},
    )


def _find(ring: Ring, table: str, version: int) -> KeyVersion:
    found = ring.version(table, version)
    if found is None:
        raise RingRefused(f"ring of {ring.site}: no version {version} of {table}")
    return found


def _move(ring: Ring, table: str, version: int, allowed: Mapping[State, State]) -> Ring:
    found = _find(ring, table, version)
    if found.state in allowed.values():
        return ring
    if found.state not in allowed:
        needed = ", ".join(allowed)
        raise RingRefused(
            f"ring of {ring.site}: version {version} of {table} is {found.state}, needs {needed}"
        )
    moved = replace(found, state=allowed[found.state])
    return _with(ring, table, (moved if each.version == version else each for each in ring.tables[table]))


def _with(ring: Ring, table: str, versions: Iterable[KeyVersion]) -> Ring:
    return replace(ring, tables={**ring.tables, table: tuple(versions)})
