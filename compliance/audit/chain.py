"""Blocks: what a cell wrote, window of transactions after window, each naming the one before. Pure.

A cell's audit entries are written by its business transactions, many at a time, without a lock between
them. A block takes all entries of the transactions in `[below, upto)`. It is made from one snapshot in which
every transaction under `upto` has ended, so that set can change no more; the next block begins at `upto`.
Nothing between is missing by construction, gaps of rolled-back transactions need no explanation, and no
business commit ever waits for the chain.
"""

import json
from dataclasses import dataclass
from typing import Any

from compliance.audit.digest import DIGEST_BYTES, compute_root, compute_sm3, hash_header, hash_leaves

VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One audit entry as it is stored: its transaction, its number, its text (one line of JSON)."""

    xid: int
    entry_id: int
    text: str

    @property
    def line(self) -> bytes:
        """Return the bytes that are hashed and exported."""
        return f"{self.xid} {self.entry_id} {self.text}".encode()


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a cell's chain: `number` blocks with `entries` entries, all transactions under `upto`."""

    number: int
    entries: int
    upto: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """One sealed window. `line` is what is hashed; `digests` are the entries' leaves end to end.

    `before` counts the entries of earlier blocks, so entry i (from 1) is number `before` + i of its cell.
    """

    cell: str
    chain: str
    number: int
    epoch: int
    below: int
    upto: int
    before: int
    count: int
    root: bytes
    previous: bytes
    site: str
    at: str
    digests: bytes
    line: str

    @property
    def hash(self) -> bytes:
        """Return what the next block, and a checkpoint, name this one by."""
        return hash_header(self.line.encode())

    @property
    def head(self) -> Head:
        """Return the end of the chain after this block."""
        return Head(self.number, self.before + self.count, self.upto, self.hash)


@dataclass(frozen=True, slots=True)
class Sealing:
    """Where and when a block is sealed: cell, chain id, epoch, the sealing site, ISO 8601 UTC."""

    cell: str
    chain: str
    epoch: int
    site: str
    at: str


def begin_chain(cell: str, chain: str) -> Head:
    """Return the head of an empty chain: bound to the cell and to this one database of it."""
    return Head(0, 0, 0, compute_sm3(f"biyi.audit.v{VERSION}|{cell}|{chain}".encode()))


def plan_block(sealing: Sealing, head: Head, upto: int, entries: tuple[Entry, ...]) -> Block:
    """Return the block that follows `head` and takes `entries`, all there are of transactions under `upto`.

    ValueError when there is none, or one lies outside the window or out of order.
    """
    places = [(entry.xid, entry.entry_id) for entry in entries]
    if not entries or places != sorted(set(places)) or not head.upto <= places[0][0] <= places[-1][0] < upto:
        raise ValueError(f"entries of block {head.number + 1}: not in order within [{head.upto}, {upto})")
    digests = b"".join(hash_leaves(entry.line for entry in entries))
    root = compute_root(digests)
    plain = {
        "v": VERSION, "cell": sealing.cell, "chain": sealing.chain, "number": head.number + 1,
        "epoch": sealing.epoch, "below": head.upto, "upto": upto, "before": head.entries,
        "count": len(entries), "root": root.hex(), "previous": head.hash.hex(), "site": sealing.site,
        "at": sealing.at,
    }  # fmt: skip
    return _make(plain, json.dumps(plain), digests)


def read_block(line: str, digests: bytes) -> Block:
    """Read a stored block; ValueError, KeyError or TypeError when it is none of ours."""
    plain = json.loads(line)
    if plain["v"] != VERSION or len(digests) % DIGEST_BYTES:
        raise ValueError("another version, or digests cut short")
    return _make(plain, line, digests)


def _make(plain: dict[str, Any], line: str, digests: bytes) -> Block:
    return Block(
        cell=plain["cell"],
        chain=plain["chain"],
        number=int(plain["number"]),
        epoch=int(plain["epoch"]),
        below=int(plain["below"]),
        upto=int(plain["upto"]),
        before=int(plain["before"]),
        count=int(plain["count"]),
        root=bytes.fromhex(plain["root"]),
        previous=bytes.fromhex(plain["previous"]),
        site=plain["site"],
        at=plain["at"],
        digests=digests,
        line=line,
    )
