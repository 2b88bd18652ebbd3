"""Exports made in memory: two cells, two sites, checkpoints that anchor each other."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from compliance.audit.chain import Block, Entry, Sealing, begin_chain, plan_block
from compliance.audit.checkpoint import CellMark, Checkpoint, Mark, Statement, begin_checkpoints
from compliance.audit.digest import compute_sm3
from compliance.audit.export import MAGIC
from compliance.audit.signing import PublicKeys, Sm2Signer, make_signer, render_public_keys
from compliance.protection.sm2 import private_key_of

CHAINS = {"a": "chain-of-a", "b": "chain-of-b"}
SIGNERS = {
    "idc": make_signer("idc", private_key_of(b"idc")),
    "cloud": make_signer("cloud", private_key_of(b"cloud")),
}
KEYS: PublicKeys = {signer.key_id: signer.public for signer in SIGNERS.values()}
AT = "2026-11-22T08:00:0{}.000000+00:00"


Chain = list[tuple[Block, list[Entry]]]


def seal(cell: str, sizes: tuple[int, ...], text: Callable[[int], str] = str) -> Chain:
    """Return a chain of blocks of these sizes; transaction n writes entry n, gaps between blocks."""
    head, made, number = begin_chain(cell, CHAINS[cell]), [], 0
    for size in sizes:
        entries = []
        for _ in range(size):
            number += 1
            body = json.dumps({"what": "repayment.posted", "cell": cell, "said": text(number)})
            entries.append(Entry(100 + 2 * number, number, body))
        sealing = Sealing(cell, CHAINS[cell], 1, "idc", AT.format(0))
        block = plan_block(sealing, head, entries[-1].xid + 1, tuple(entries))
        made.append((block, entries))
        head = block.head
    return made


def sign_all(cells: dict[str, list[Block]], rounds: int = 2) -> dict[str, list[Checkpoint]]:
    """Return checkpoints of both sites by turns, over ever more blocks, each anchored in the other's last."""
    made: dict[str, list[Checkpoint]] = {"idc": [], "cloud": []}
    for nth in range(1, rounds + 1):
        for site, other in (("idc", "cloud"), ("cloud", "idc")):
            heads = {}
            for cell, blocks in cells.items():
                end = blocks[len(blocks) * nth // rounds - 1]
                heads[cell] = CellMark(
                    end.chain, end.epoch, end.number, end.before + end.count, end.hash.hex()
                )
            before = made[site][-1].mark if made[site] else begin_checkpoints(site)
            statement = Statement(
                site, nth, AT.format(nth), SIGNERS[site].key_id, before.hash, heads,
                made[other][-1].mark if made[other] else None,
            )  # fmt: skip
            made[site].append(sign(statement, SIGNERS[site]))
    return made


def sign(statement: Statement, signer: Sm2Signer) -> Checkpoint:
    line = statement.to_line()
    return Checkpoint(statement, line, signer.sign(line.encode()))


def block_lines(block: Block, entries: list[Entry]) -> list[bytes]:
    head = f"B {block.hash.hex()} {block.digests.hex()} {block.line}\n".encode()
    return [head, *(b"E " + entry.line + b"\n" for entry in entries)]


def checkpoint_line(one: Checkpoint) -> bytes:
    return f"C {one.signature.hex()} {one.line}\n".encode()


@dataclass
class Made:
    """The lines of an export before they are written; `end` are the values of its last line."""

    chains: dict[str, Chain]
    checkpoints: dict[str, list[Checkpoint]]
    remembered: dict[str, Any] = field(default_factory=dict)

    def header(self) -> bytes:
        plain = {"at": AT.format(9), "site": "idc", "keys": render_public_keys(KEYS)}
        return MAGIC + json.dumps(plain).encode() + b"\n"

    def signed_lines(self) -> list[bytes]:
        return [checkpoint_line(one) for found in self.checkpoints.values() for one in found]

    def body(self) -> list[bytes]:
        return [line for chain in self.chains.values() for pair in chain for line in block_lines(*pair)]

    def trailer(self) -> bytes:
        """What an honest exporter, who has the key, says of what the databases hold."""
        cells = {}
        for cell, chain in self.chains.items():
            end = chain[-1][0].head if chain else begin_chain(cell, CHAINS[cell])
            cells[cell] = {"chain": CHAINS[cell], "blocks": end.number, "entries": end.entries, "unsealed": 0}
            cells[cell]["hash"] = end.hash.hex()
        marks = {site: found[-1].mark for site, found in self.checkpoints.items() if found}
        plain = json.dumps({
            "at": AT.format(9), "key": SIGNERS["idc"].key_id, "header": compute_sm3(self.header()).hex(),
            "cells": cells, "remembered": self.remembered,
            "checkpoints": {site: [mark.number, mark.hash] for site, mark in marks.items()},
        })  # fmt: skip
        return f"T {SIGNERS['idc'].sign(plain.encode()).hex()} {plain}\n".encode()

    def lines(self) -> list[bytes]:
        return [self.header(), *self.signed_lines(), *self.body(), self.trailer()]

    def remember(self, site: str) -> None:
        """Let a site remember what it signed last."""
        last = self.checkpoints[site][-1]
        cells = {cell: _pair(mark.mark) for cell, mark in last.statement.cells.items()}
        self.remembered[site] = {"cells": cells, "checkpoints": {site: _pair(last.mark)}}


def _pair(mark: Mark) -> list[int | str]:
    return [mark.number, mark.hash]


def make_export() -> Made:
    """Return a fresh copy of one export; signing takes its time, so it is done once."""
    return copy.deepcopy(_made((3, 1, 40, 2, 5, 4), ""))


def make_long_export() -> Made:
    """Return an export of some seven megabytes."""
    return _made((1000,) * 6, "x" * 400)


@lru_cache(2)
def _made(sizes: tuple[int, ...], padding: str) -> Made:
    chains = {cell: seal(cell, sizes, lambda n: f"{n}{padding}") for cell in CHAINS}
    checkpoints = sign_all({cell: [block for block, _ in chain] for cell, chain in chains.items()})
    return Made(chains, checkpoints)


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(lines))
    return path
