"""What a verification can find, as values. Pure."""

import enum
from dataclasses import dataclass


class Defect(enum.StrEnum):
    """How what is in an export differs from what was sealed and signed."""

    DELETED = "deleted"
    EDITED = "edited"
    INSERTED = "inserted"
    REPEATED = "repeated"
    REORDERED = "reordered"
    SPLICED = "spliced"
    TRUNCATED = "truncated"
    REWRITTEN = "rewritten"
    """Consistent in itself, but not what a notary signed."""
    FORGED = "forged"
    LOST = "lost"
    """A notary itself signed that history was taken away."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect: `offset` is a byte of the file, `where` a cell or `checkpoints of <site>`.

    `number` is the first bad entry of the cell, or checkpoint of the site, from 1; `block` the block it
    belongs to, 0 for a checkpoint.
    """

    offset: int
    defect: Defect
    where: str
    number: int
    block: int
    text: str


def find_first(findings: "list[Finding]") -> Finding | None:
    """Return the finding that comes first in the file, None when there is none."""
    return min(findings, key=lambda finding: finding.offset, default=None)
