"""Verifying an export: no database, no network, only the file and the auditor's list of public keys.

The file is cut into pieces at block starts; worker processes judge each piece, this one judges how the pieces
and the signed parts fit together. Only the first defect of the blocks is looked for: what follows a break
in a chain proves nothing by itself.
"""

import concurrent.futures
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from compliance.audit.checkpoint import Mark, read_checkpoint
from compliance.audit.digest import compute_sm3, read_hex
from compliance.audit.errors import AuditKeyError, ExportUnreadable
from compliance.audit.export import MAGIC
from compliance.audit.findings import Defect, Finding, find_first
from compliance.audit.parts import Seen, judge_link
from compliance.audit.pieces import Piece, cut, judge_piece, keep_wanted
from compliance.audit.signed import (
    Placed,
    collect_wanted,
    judge_anchors,
    judge_chain,
    judge_signatures,
    want,
)
from compliance.audit.signing import PublicKeys, check_signature, parse_public_keys

Progress = Callable[[int, int], None]
"""Told bytes judged, and how many there are."""


@dataclass(slots=True)
class Report:
    """What a verification came to. `pinned`: the keys were the auditor's own, not those of the file."""

    findings: list[Finding] = field(default_factory=list)
    entries: int = 0
    blocks: int = 0
    checkpoints: dict[str, int] = field(default_factory=dict)
    signatures: int = 0
    unsealed: int = 0
    pinned: bool = True
    keys: dict[str, str] = field(default_factory=dict)
    exported_at: str = ""

    @property
    def first(self) -> Finding | None:
        """Return the first defect, None when everything holds."""
        return find_first(self.findings)


@dataclass(frozen=True, slots=True)
class _Signed:
    """The parts of a file outside its blocks."""

    header: dict[str, Any]
    header_line: bytes
    chains: dict[str, list[Placed]]
    body: int
    trailer: dict[str, Any] | None
    trailer_at: int


def verify_export(
    path: Path,
    keys: PublicKeys | None,
    *,
    every_signature: bool = False,
    workers: int | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Report:
    """Judge an export; `keys` None takes those of the file itself (`pinned` is then False).

    ExportUnreadable when the file is none of ours at all; every other defect is a finding.
    """
    report = Report(pinned=keys is not None)
    size = path.stat().st_size
    signed = _read_signed(path, report)
    known = keys if keys is not None else _keys_of(signed.header, path)
    report.keys = {key_id: key.site for key_id, key in known.items()}
    report.exported_at = str(signed.header.get("at", ""))
    if not _judge_trailer(signed, known, report):
        signed = replace(signed, trailer=None)
    for site, placed in signed.chains.items():
        report.checkpoints[site] = len(placed)
        report.findings += judge_chain(site, placed)
        report.findings += judge_signatures(
            site, placed, known, every=every_signature, on_checked=lambda: _count_signature(report)
        )
    report.findings += judge_anchors(signed.chains)
    wanted, odd = collect_wanted(signed.chains)
    report.findings += odd
    if signed.trailer is not None:
        _judge_promises(signed, signed.trailer, wanted, report)
    pieces = cut(path, signed.body, signed.trailer_at, workers or os.cpu_count() or 1)
    told = (signed.trailer or {}).get("cells", {})
    promised = {cell: int(one["blocks"]) for cell, one in told.items()}
    judged = _judge_pieces(path, pieces, wanted, workers)
    ends = _judge_blocks(judged, promised, report, lambda done: on_progress(done, size))
    report.findings = [_name_first_entry(one, signed.chains) for one in report.findings]
    if report.first is None or report.first.offset >= signed.trailer_at:
        _judge_ends(signed, wanted, ends, report)
    on_progress(size, size)
    return report


def _count_signature(report: Report) -> None:
    report.signatures += 1


def _keys_of(header: dict[str, Any], path: Path) -> PublicKeys:
    try:
        return parse_public_keys(header.get("keys"), f"{path}: line 1: keys")
    except AuditKeyError as error:
        raise ExportUnreadable(f"{error}; give the auditor's list of keys instead") from error


def _read_signed(path: Path, report: Report) -> _Signed:
    """Read header, checkpoints and trailer; where blocks begin and end."""
    chains: dict[str, list[Placed]] = {}
    with path.open("rb") as file:
        first = file.readline()
        if not first.startswith(MAGIC):
            raise ExportUnreadable(f"{path}: does not begin as an export of `biyi audit export` does")
        try:
            header = dict(json.loads(first[len(MAGIC) :]))
        except (ValueError, TypeError) as error:
            raise ExportUnreadable(f"{path}: line 1: {error}") from error
        offset = file.tell()
        while (line := file.readline()).startswith(b"C "):
            placed = _read_placed(offset, line, report)
            if placed is not None:
                chains.setdefault(placed.checkpoint.statement.site, []).append(placed)
            offset = file.tell()
        trailer_at, last = _read_last_line(file, offset)
    trailer: dict[str, Any] | None = None
    if last.startswith(b"T ") and last.endswith(b"\n"):
        try:
            trailer = {"line": last[2:-1].split(b" ", 1)[1], "signature": last[2:-1].split(b" ", 1)[0]}
            trailer |= json.loads(trailer["line"])
        except (ValueError, IndexError, TypeError):
            trailer = None
    if trailer is None:
        trailer_at = path.stat().st_size
        text = "the file does not end with what it has to hold: its end is cut off or damaged"
        report.findings.append(Finding(trailer_at, Defect.TRUNCATED, "file", 0, 0, text))
    return _Signed(header, first, chains, offset, trailer, trailer_at)


def _read_placed(offset: int, line: bytes, report: Report) -> Placed | None:
    try:
        signature, text = line[2:].rstrip(b"\n").split(b" ", 1)
        return Placed(offset, read_checkpoint(text.decode(), read_hex(signature)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"a checkpoint's line was edited ({type(error).__name__}: {str(error)[:80]})"
        report.findings.append(Finding(offset, Defect.EDITED, "checkpoints", 0, 0, said))
        return None


def _read_last_line(file: Any, begin: int) -> tuple[int, bytes]:
    """Return the last line of the file, from `begin` on, and where it stands."""
    end, reach = file.seek(0, os.SEEK_END), 1 << 16
    while True:
        start = max(begin, end - reach)
        file.seek(start)
        tail: bytes = file.read()
        cut_at = tail.rstrip(b"\n").rfind(b"\n")
        if cut_at >= 0 or start == begin:
            return start + cut_at + 1, tail[cut_at + 1 :]
        reach *= 4


def _judge_trailer(signed: _Signed, keys: PublicKeys, report: Report) -> bool:
    """Judge the last line; False when nothing that it says may be believed."""
    trailer = signed.trailer
    if trailer is None:
        return False
    key = keys.get(str(trailer.get("key")))
    try:
        signature = read_hex(trailer["signature"])
    except ValueError:
        signature = b""
    report.signatures += 1
    if key is None or not check_signature(key, trailer["line"], signature):
        text = "the end of the file is not signed by a known key"
        report.findings.append(Finding(signed.trailer_at, Defect.FORGED, "file", 0, 0, text))
        return False
    if trailer.get("header") != compute_sm3(signed.header_line).hex():
        report.findings.append(Finding(0, Defect.EDITED, "file", 0, 0, "line 1 was edited"))
    report.unsealed = sum(int(cell.get("unsealed", 0)) for cell in trailer.get("cells", {}).values())
    return True


def _judge_promises(
    signed: _Signed, trailer: dict[str, Any], wanted: dict[str, dict[int, bytes]], report: Report
) -> None:
    """Compare checkpoints with those the trailer names, and with what the sites remember."""
    promises = [("the end of the file names", trailer["checkpoints"])]
    for site, memory in trailer["remembered"].items():
        promises.append((f"{site} remembers", memory["checkpoints"]))
        for cell, (number, digest) in memory["cells"].items():
            if odd := want(wanted, cell, Mark(number, digest)):
                text = f"{site} remembers: {odd}"
                report.findings.append(Finding(signed.trailer_at, Defect.REWRITTEN, cell, 0, number, text))
    for who, marks in promises:
        for site, (number, digest) in marks.items():
            placed = signed.chains.get(site, [])
            found = placed[number - 1].checkpoint.mark.hash if len(placed) >= number else None
            if found != digest:
                defect = Defect.TRUNCATED if found is None else Defect.REWRITTEN
                there = "not there" if found is None else "another"
                text = f"{who} checkpoint {number} of {site}; it is {there}"
                where = f"checkpoints of {site}"
                report.findings.append(
                    Finding(signed.trailer_at, defect, where, min(number, len(placed) + 1), 0, text)
                )


def _continues(
    current: Seen | None, first: Seen, ends: Mapping[str, Seen], promised: Mapping[str, int]
) -> bool:
    """Say whether `first` has to follow `current`: it does unless it may begin the next cell's chain."""
    if current is None:
        return False
    is_next_cell = first.cell not in ends
    return not (is_next_cell and (first.number == 1 or promised.get(current.cell) == current.number))


def _judge_blocks(
    judged: Iterator[Piece], promised: Mapping[str, int], report: Report, on_done: Callable[[int], None]
) -> dict[str, Seen]:
    """Take the judged pieces in order, judge how they follow each other; returns each cell's last block.

    `promised` is how many blocks of each cell the file says it has.
    """
    ends: dict[str, Seen] = {}
    current: Seen | None = None
    for piece in judged:
        report.entries += piece.entries
        report.blocks += piece.blocks
        for first, last in piece.runs:
            if odd := judge_link(current if _continues(current, first, ends, promised) else None, first):
                report.findings.append(odd)
                return ends
            current = last
            ends[last.cell] = last
        if piece.finding is not None:
            report.findings.append(piece.finding)
            return ends
        on_done(piece.end)
    return ends


def _name_first_entry(finding: Finding, chains: dict[str, list[Placed]]) -> Finding:
    """Put in the number of the entry after the last block that a checkpoint agrees with."""
    if finding.defect is not Defect.REWRITTEN or finding.number or not finding.block:
        return finding
    marks = (one.checkpoint.statement.cells.get(finding.where) for found in chains.values() for one in found)
    entries = next((mark.entries for mark in marks if mark and mark.blocks == finding.block - 1), 0)
    return replace(finding, number=entries + 1)


def _judge_pieces(
    path: Path, pieces: list[tuple[int, int]], wanted: dict[str, dict[int, bytes]], workers: int | None
) -> Iterator[Piece]:
    if len(pieces) < 2 or workers == 1:
        keep_wanted(wanted)
        yield from (judge_piece(path, begin, end) for begin, end in pieces)
        return
    with concurrent.futures.ProcessPoolExecutor(workers, initializer=keep_wanted, initargs=(wanted,)) as pool:
        running = [pool.submit(judge_piece, path, begin, end) for begin, end in pieces]
        try:
            for one in running:
                yield one.result()
        finally:
            for one in running:
                one.cancel()


def _judge_ends(
    signed: _Signed, wanted: dict[str, dict[int, bytes]], ends: dict[str, Seen], report: Report
) -> None:
    """Find what is missing at the end of each chain: signed, remembered or named, but not there."""
    names = dict.fromkeys(wanted, "a checkpoint was signed, or a site remembers")
    needed = {cell: max(numbers) for cell, numbers in wanted.items() if numbers}
    for cell, told in (signed.trailer or {}).get("cells", {}).items():
        if told["blocks"] > needed.get(cell, 0):
            needed[cell], names[cell] = told["blocks"], "the end of the file names"
        end = ends.get(cell)
        if end is not None and end.number == told["blocks"] and end.hash.hex() != told["hash"]:
            text = f"block {end.number} is another than the one that the end of the file names"
            report.findings.append(
                Finding(end.offset, Defect.REWRITTEN, cell, end.before + 1, end.number, text)
            )
    for cell, number in needed.items():
        end = ends.get(cell)
        have, after = (end.number, end.after) if end else (0, 0)
        if number > have:
            text = f"{names[cell]} block {number}; the chain ends after block {have}"
            report.findings.append(
                Finding(signed.trailer_at, Defect.TRUNCATED, cell, after + 1, have + 1, text)
            )
