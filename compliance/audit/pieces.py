"""Pieces of an export's blocks: where to cut, and the judging of one, alone in a worker process."""

from dataclasses import dataclass, field
from pathlib import Path

from compliance.audit.digest import read_hex
from compliance.audit.findings import Defect, Finding
from compliance.audit.parts import Seen, Stored, Wanted, judge_block, judge_link, judge_wanted

_LEAST_BYTES, _MOST_BYTES = 4 << 20, 64 << 20
"""Sizes of a piece. Source: our choice; at least a tenth of a second's work, at most some seconds'."""
_PIECES_A_WORKER = 4
_wanted: dict[str, Wanted] = {}
"""Of a worker process: what `keep_wanted` was given, under one name."""


@dataclass(slots=True)
class Piece:
    """What one piece came to: runs of blocks (first and last of each), the first defect."""

    end: int
    entries: int = 0
    blocks: int = 0
    runs: list[tuple[Seen, Seen]] = field(default_factory=list)
    finding: Finding | None = None


def keep_wanted(wanted: Wanted) -> None:
    """Give this process the blocks that were signed."""
    _wanted["wanted"] = wanted


def cut(path: Path, begin: int, end: int, workers: int) -> list[tuple[int, int]]:
    """Return pieces from `begin` to `end`, each beginning where a block does."""
    size = min(max((end - begin) // (workers * _PIECES_A_WORKER), _LEAST_BYTES), _MOST_BYTES)
    starts = [begin]
    with path.open("rb") as file:
        while starts[-1] + size < end:
            file.seek(starts[-1] + size)
            file.readline()
            offset = file.tell()
            while (line := file.readline()) and not line.startswith(b"B "):
                offset = file.tell()
            if not line or offset >= end:
                break
            starts.append(offset)
    return [(start, after) for start, after in zip(starts, [*starts[1:], end], strict=True) if start < after]


def judge_piece(path: Path, begin: int, end: int) -> Piece:
    """Judge the blocks from `begin` to `end`; stops at the first defect."""
    piece = Piece(end)
    with path.open("rb", buffering=1 << 20) as file:
        file.seek(begin)
        offset, pending = begin, None
        entries: list[bytes] = []
        while offset < end:
            line = file.readline()
            if line.startswith(b"E ") and pending is not None and line.endswith(b"\n"):
                entries.append(line[2:-1])
            elif line.startswith(b"B ") and line.endswith(b"\n"):
                if pending is not None and not _take(piece, pending, entries):
                    return piece
                pending, entries = (offset, line), []
            else:
                if pending is not None and not _take(piece, pending, entries):
                    return piece
                piece.finding = _stray(piece, offset, line)
                return piece
            offset += len(line)
    if pending is not None:
        _take(piece, pending, entries)
    return piece


def _stray(piece: Piece, offset: int, line: bytes) -> Finding:
    last = piece.runs[-1][1] if piece.runs else None
    where, number, block = (last.cell, last.after + 1, last.number + 1) if last else ("file", 0, 0)
    text = f"a line that is no block and no entry of one: {line[:20]!r}"
    return Finding(offset, Defect.UNREADABLE, where, number, block, text)


def _take(piece: Piece, pending: tuple[int, bytes], entries: list[bytes]) -> bool:
    """Judge one block with its entries; False when the piece ends with a defect."""
    offset, line = pending
    try:
        digest, digests, text = line[2:-1].split(b" ", 2)
        stored = Stored(offset, read_hex(digest), read_hex(digests), text.decode(), entries)
    except ValueError:
        piece.finding = _stray(piece, offset, line)
        return False
    seen, finding = judge_block(stored)
    if seen is not None:
        follows = bool(piece.runs) and piece.runs[-1][1].cell == seen.cell
        if follows:
            # A broken link may show that the block before is the bad one: it comes first in the file.
            finding = judge_link(piece.runs[-1][1], seen) or finding
        finding = finding or judge_wanted(_wanted.get("wanted", {}), seen)
        if finding is None:
            piece.runs[-1:] = [(piece.runs[-1][0], seen)] if follows else [*piece.runs[-1:], (seen, seen)]
            piece.blocks += 1
            piece.entries += len(entries)
        elif not follows:
            piece.runs.append((seen, seen))  # so that how it follows what stands before is judged, too
    piece.finding = finding
    return finding is None
