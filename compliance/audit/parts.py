"""Judging blocks as an export has them: their entries, and that each follows the one before. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compliance.audit.chain import Block, begin_chain, read_block
from compliance.audit.digest import DIGEST_BYTES, compute_root, hash_header, hash_leaves
from compliance.audit.findings import Defect, Finding

Wanted = Mapping[str, Mapping[int, bytes]]
"""By cell and block number: the hash that a notary signed or remembers."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A block's place in its chain, without its entries; `offset` is where it stands in the file."""

    offset: int
    cell: str
    chain: str
    number: int
    below: int
    upto: int
    before: int
    after: int
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A block as it stands in a file: its hash, its digests, its line, and the lines of its entries."""

    offset: int
    hash: bytes
    digests: bytes
    line: str
    entries: Sequence[bytes]


def judge_block(stored: Stored) -> tuple[Seen | None, Finding | None]:
    """Return the block's place, and the first thing that is wrong within it."""
    try:
        block = read_block(stored.line, stored.digests)
    except (ValueError, KeyError, TypeError) as error:
        text = f"a block's line cannot be read ({type(error).__name__})"
        return None, Finding(stored.offset, Defect.UNREADABLE, "", 0, 0, text)
    seen = Seen(
        stored.offset, block.cell, block.chain, block.number, block.below, block.upto, block.before,
        block.before + block.count, block.previous, stored.hash,
    )  # fmt: skip
    return seen, _judge_header(stored, block) or _judge_entries(stored, block)


def _judge_header(stored: Stored, block: Block) -> Finding | None:
    if hash_header(stored.line.encode()) != stored.hash:
        what = "its line was edited: it does not hash to what stands beside it"
    elif len(stored.digests) != DIGEST_BYTES * block.count or compute_root(stored.digests) != block.root:
        what = "its list of digests was edited: it does not make the block's root"
    elif block.upto <= block.below or block.count < 1:
        what = "its window or its count is none"
    else:
        return None
    return _finding(stored, block, Defect.EDITED, 1, f"block {block.number}: {what}")


def _judge_entries(stored: Stored, block: Block) -> Finding | None:
    actual = hash_leaves(stored.entries)
    if b"".join(actual) == stored.digests:
        return None
    wanted = [stored.digests[at : at + DIGEST_BYTES] for at in range(0, len(stored.digests), DIGEST_BYTES)]
    shorter = min(len(actual), len(wanted))
    first = next((at for at in range(shorter) if actual[at] != wanted[at]), shorter)
    if len(actual) < len(wanted):
        defect = Defect.DELETED
    elif len(actual) > len(wanted):
        defect = Defect.REPEATED if actual[first] in wanted else Defect.INSERTED
    else:
        defect = Defect.REORDERED if Counter(actual) == Counter(wanted) else Defect.EDITED
    found = f"{len(actual)} entries" if len(actual) != len(wanted) else f"{defect} from there on"
    text = f"block {block.number} has {block.count} entries; from its entry {first + 1} on: {found}"
    return _finding(stored, block, defect, first + 1, text)


def _finding(stored: Stored, block: Block, defect: Defect, nth: int, text: str) -> Finding:
    return Finding(stored.offset, defect, block.cell, block.before + nth, block.number, text)


def judge_link(before: Seen | None, seen: Seen) -> Finding | None:
    """Return what is wrong with `seen` after `before`; None before: it has to begin its cell's chain."""
    if before is None:
        begin = begin_chain(seen.cell, seen.chain)
        before = Seen(seen.offset, seen.cell, seen.chain, 0, 0, 0, 0, 0, b"", begin.hash)
    if (seen.cell, seen.chain) != (before.cell, before.chain):
        text = f"a block of cell {seen.cell} ({seen.chain}) stands in the chain of {before.cell}"
        return Finding(seen.offset, Defect.SPLICED, before.cell, before.after + 1, before.number + 1, text)
    nth = before.number + 1
    if seen.number > nth:
        text = f"blocks {nth} to {seen.number - 1} are missing: entries {before.after + 1} to {seen.before}"
        return Finding(seen.offset, Defect.DELETED, seen.cell, before.after + 1, nth, text)
    if seen.number < nth:
        text = f"block {seen.number} stands where block {nth} belongs"
        return Finding(seen.offset, Defect.REPEATED, seen.cell, before.after + 1, nth, text)
    if seen.previous != before.hash:
        if before.number == 0:
            text = "the first block does not begin this chain: it is another's"
            return Finding(seen.offset, Defect.SPLICED, seen.cell, 1, 1, text)
        text = f"block {seen.number} follows another block {before.number} than the one that stands here"
        return Finding(before.offset, Defect.REWRITTEN, seen.cell, before.before + 1, before.number, text)
    if seen.below != before.upto or seen.before != before.after:
        text = f"block {seen.number} begins elsewhere than block {before.number} ends"
        return Finding(seen.offset, Defect.EDITED, seen.cell, before.after + 1, seen.number, text)
    return None


def judge_wanted(wanted: Wanted, seen: Seen) -> Finding | None:
    """Return what is wrong when notaries signed another block in this place.

    Everything after the last block they agree with may be rewritten: that is where the finding points. Its
    `number` is 0: how many entries there were up to that block stands in the checkpoint.
    """
    signed = wanted.get(seen.cell, {}).get(seen.number)
    if signed is None or signed == seen.hash:
        return None
    agreed = max((number for number in wanted[seen.cell] if number < seen.number), default=0)
    text = (
        f"block {seen.number} (to entry {seen.after}) is not the one that was signed: what came after block "
        f"{agreed}, the last that a checkpoint agrees with, was rewritten"
    )
    return Finding(seen.offset, Defect.REWRITTEN, seen.cell, 0, agreed + 1, text)
