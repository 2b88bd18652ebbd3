"""Checkpoints: what a site's notary signs about every cell's chain and the other site's checkpoints. Pure.

Each site has one chain of them. A checkpoint names the head of each cell that answered (the leaves of its
Merkle root), the newest checkpoint of the other site (the anchor), and its own predecessor with signature.
So neither site alone can rewrite what both have signed. `lost` names heads signed earlier that their cell
no longer has: never empty but when history was taken away (a forced promotion, a tampered database).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compliance.audit.digest import compute_root, compute_sm3, hash_header, hash_leaf

VERSION = 1
FIRST = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a chain: a number, and the hash (hex) of what has it."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class CellMark:
    """A cell's chain as a notary saw it: its id, epoch, blocks, entries, and the last block's hash (hex)."""

    chain: str
    epoch: int
    blocks: int
    entries: int
    hash: str

    @property
    def mark(self) -> Mark:
        """Return the place in the cell's chain."""
        return Mark(self.blocks, self.hash)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a checkpoint says, before it is signed. `at` is ISO 8601 UTC, `key` the signing key's id."""

    site: str
    number: int
    at: str
    key: str
    previous: str
    cells: Mapping[str, CellMark]
    anchor: Mark | None = None
    lost: Mapping[str, Mark] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """Return the Merkle root over the cells in order of their names; of none, SM3 of nothing."""
        leaves = b"".join(hash_leaf(_to_json([name, _plain(at)])) for name, at in sorted(self.cells.items()))
        return (compute_root(leaves) if leaves else compute_sm3(b"")).hex()

    def to_line(self) -> str:
        """Return the text that is signed."""
        return _to_json(
            {
                "v": VERSION, "site": self.site, "number": self.number, "at": self.at, "key": self.key,
                "previous": self.previous, "root": self.root,
                "cells": {name: _plain(mark) for name, mark in sorted(self.cells.items())},
                "anchor": [self.anchor.number, self.anchor.hash] if self.anchor else None,
                "lost": {name: [mark.number, mark.hash] for name, mark in sorted(self.lost.items())},
            }
        ).decode()  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement; `line` is its text as signed, `signature` r and s, 64 bytes."""

    statement: Statement
    line: str
    signature: bytes

    @property
    def mark(self) -> Mark:
        """Return what the next checkpoint and the peer's anchors name this one by."""
        digest = hash_header(self.line.encode() + self.signature)
        return Mark(self.statement.number, digest.hex())


def begin_checkpoints(site: str) -> Mark:
    """Return what the first checkpoint of a site follows."""
    return Mark(FIRST - 1, compute_sm3(f"biyi.checkpoints.v{VERSION}|{site}".encode()).hex())


def read_checkpoint(line: str, signature: bytes) -> Checkpoint:
    """Read a stored checkpoint; ValueError, KeyError or TypeError when it is none of ours.

    Its root must be that of its cells, and its text the one we would write.
    """
    plain = json.loads(line)
    statement = Statement(
        site=plain["site"],
        number=int(plain["number"]),
        at=plain["at"],
        key=plain["key"],
        previous=plain["previous"],
        cells={name: CellMark(*mark) for name, mark in plain["cells"].items()},
        anchor=Mark(*plain["anchor"]) if plain["anchor"] else None,
        lost={name: Mark(*mark) for name, mark in plain["lost"].items()},
    )
    if statement.to_line() != line:
        raise ValueError("its text is not what its values are written as, or its root is another")
    return Checkpoint(statement, line, signature)


def _plain(mark: CellMark) -> list[str | int]:
    return [mark.chain, mark.epoch, mark.blocks, mark.entries, mark.hash]


def _to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
