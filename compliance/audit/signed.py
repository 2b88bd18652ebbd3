"""Judging the signed parts of an export: each site's chain of checkpoints, the anchors, the signatures.

Signatures are dear (some 15 ms each in pure Python) and checkpoints are chained by hash with them, so a good
signature vouches for all that came before it in the chain. Of long chains the last and every sixtieth are
checked, and where one is bad all back to the last good one; `every` checks them all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from compliance.audit.checkpoint import Checkpoint, Mark, begin_checkpoints
from compliance.audit.findings import Defect, Finding
from compliance.audit.signing import PublicKeys, check_signature

EVERY_NTH = 60
"""Source: our choice; every half hour of a chain, so that the first forged one is found within 60 checks."""
ALL_UP_TO = 120
"""Chains up to this length have every signature checked. Source: our choice; two seconds."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A checkpoint and where it stands in the file."""

    offset: int
    checkpoint: Checkpoint


Chains = Mapping[str, Sequence[Placed]]


def judge_chain(site: str, placed: Sequence[Placed]) -> list[Finding]:
    """Return what is wrong with the order of a site's checkpoints, the first only, and every `lost`."""
    before, at, heads = begin_checkpoints(site), "", dict[str, int]()
    findings = []
    for one in placed:
        statement, mark = one.checkpoint.statement, one.checkpoint.mark
        nth = before.number + 1
        if mark.number != nth:
            defect = Defect.DELETED if mark.number > nth else Defect.REPEATED
            text = f"checkpoint {mark.number} stands where {nth} belongs"
        elif statement.previous != before.hash:
            defect = Defect.REWRITTEN if before.number else Defect.SPLICED
            text = f"checkpoint {nth} follows another checkpoint {before.number} than stands here"
        elif statement.at < at:
            defect, text = Defect.EDITED, f"checkpoint {nth} is older than the one before it"
        elif back := [c for c, m in statement.cells.items() if m.blocks < heads.get(c, 0)]:
            defect = Defect.LOST
            text = f"checkpoint {nth}: fewer blocks than before in cell {', '.join(back)}"
        else:
            findings += _find_lost(site, one)
            before, at = mark, statement.at
            heads |= {cell: known.blocks for cell, known in statement.cells.items()}
            continue
        findings.append(Finding(one.offset, defect, f"checkpoints of {site}", nth, 0, text))
        break
    return findings


def _find_lost(site: str, one: Placed) -> list[Finding]:
    return [
        Finding(
            one.offset, Defect.LOST, name, 0, mark.number,
            f"{site} signed in checkpoint {one.checkpoint.mark.number} that {name} no longer has what it had "
            f"signed as number {mark.number}: history was lost or taken away",
        )
        for name, mark in one.checkpoint.statement.lost.items()
    ]  # fmt: skip


def judge_anchors(chains: Chains) -> list[Finding]:
    """Return of each site the first checkpoint that the other site's anchors name otherwise, or miss."""
    findings = []
    for site, placed in chains.items():
        marks = {one.checkpoint.mark.number: one for one in placed}
        witnesses = [one for other, found in chains.items() if other != site for one in found]
        for one in sorted(witnesses, key=_anchor_number):
            anchor = one.checkpoint.statement.anchor
            named = marks.get(anchor.number) if anchor else None
            if anchor is None or (named is not None and named.checkpoint.mark == anchor):
                continue
            by = one.checkpoint.statement
            text = (
                f"checkpoint {by.number} of {by.site} is anchored in checkpoint {anchor.number} of {site}, "
            )
            text += "which is another now" if named else "which is not there"
            defect = Defect.REWRITTEN if named else Defect.TRUNCATED
            offset = named.offset if named else one.offset
            findings.append(Finding(offset, defect, f"checkpoints of {site}", anchor.number, 0, text))
            break
    return findings


def _anchor_number(one: Placed) -> int:
    anchor = one.checkpoint.statement.anchor
    return anchor.number if anchor else 0


def judge_signatures(
    site: str,
    placed: Sequence[Placed],
    keys: PublicKeys,
    *,
    every: bool = False,
    on_checked: Callable[[], None] = lambda: None,
) -> list[Finding]:
    """Return the first checkpoint of a site that is not signed by a key of that site, if there is one."""
    last_good = -1
    for nth in _choose(len(placed), every=every):
        on_checked()
        if _is_signed(site, placed[nth], keys):
            last_good = nth
            continue
        between = range(last_good + 1, nth)
        bad = placed[next((n for n in between if not _is_signed(site, placed[n], keys)), nth)]
        number, key = bad.checkpoint.mark.number, bad.checkpoint.statement.key
        text = f"checkpoint {number} is not signed by a known key of {site} (it names {key})"
        return [Finding(bad.offset, Defect.FORGED, f"checkpoints of {site}", number, 0, text)]
    return []


def _choose(count: int, *, every: bool) -> list[int]:
    if every or count <= ALL_UP_TO:
        return list(range(count))
    return sorted({*range(EVERY_NTH - 1, count, EVERY_NTH), count - 1})


def _is_signed(site: str, placed: Placed, keys: PublicKeys) -> bool:
    one = placed.checkpoint
    key = keys.get(one.statement.key)
    return key is not None and key.site == site and check_signature(key, one.line.encode(), one.signature)


def collect_wanted(chains: Chains) -> tuple[dict[str, dict[int, bytes]], list[Finding]]:
    """Return the blocks that checkpoints name, and the first checkpoint at odds with an earlier one."""
    wanted: dict[str, dict[int, bytes]] = {}
    for site, placed in chains.items():
        for one in placed:
            for cell, known in one.checkpoint.statement.cells.items():
                if odd := want(wanted, cell, known.mark):
                    number = one.checkpoint.mark.number
                    text = f"checkpoint {number} of {site}: {odd}"
                    where = f"checkpoints of {site}"
                    return wanted, [Finding(one.offset, Defect.REWRITTEN, where, number, 0, text)]
    return wanted, []


def want(wanted: dict[str, dict[int, bytes]], cell: str, mark: Mark) -> str | None:
    """Note that a block of a cell has to be there; return what is odd when another one is wanted already."""
    if mark.number == 0:
        return None
    digest = bytes.fromhex(mark.hash)
    if wanted.setdefault(cell, {}).setdefault(mark.number, digest) == digest:
        return None
    return f"another block {mark.number} of cell {cell} was signed before: two histories"
