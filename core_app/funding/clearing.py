"""A channel's clearing file of one day. Pure.

The file lists every order the channel booked on its calendar day in Shanghai, payouts and debits apart. UTF-8
text, fields parted by `|`, amounts in fen:

    CLEARING|1|bank_a|debits|2026-02-15
    D1f3-...|110016
    TOTAL|1|110016
    SM3|<of every byte before this line>
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from core_app.documents import compute_sm3
from core_app.errors import DocumentInvalid

Kind = Literal["payments", "debits"]
_HEAD = ("CLEARING", "1")


class ClearingInvalid(DocumentInvalid):
    """A clearing file cannot be relied on; the message names the line, what was found, what is needed."""


@dataclass(frozen=True, slots=True)
class Clearing:
    """What a channel booked on a day: amount in fen by the order's number."""

    channel: str
    kind: Kind
    day: dt.date
    lines: Mapping[str, int]


class ClearingSource(Protocol):
    """A channel that gives out its files.

    Promise: of a day that is over always the same bytes, unless it says that it has corrected them.
    """

    async def fetch_clearing(self, day: dt.date) -> str:
        """Return the file of a day that is over; OSError when it cannot be had now."""


def write_clearing(clearing: Clearing) -> str:
    """Return the file's text; the same clearing always gives the same bytes."""
    head = "|".join((*_HEAD, clearing.channel, clearing.kind, clearing.day.isoformat()))
    body = "".join(f"{order}|{fen}\n" for order, fen in sorted(clearing.lines.items()))
    text = f"{head}\n{body}TOTAL|{len(clearing.lines)}|{sum(clearing.lines.values())}\n"
    return f"{text}SM3|{compute_sm3(text.encode()).hex()}\n"


def read_clearing(text: str) -> Clearing:
    """Return the clearing of a file; ClearingInvalid unless digest, total and order of lines are right."""
    rows = text.splitlines()
    before, _, claimed = text.rpartition("SM3|")
    found = compute_sm3(before.encode()).hex()
    if claimed.strip() != found:
        raise ClearingInvalid(
            f"line {len(rows)}: SM3 {claimed.strip()[:64]}, the bytes before it have {found}"
        )
    try:
        kind, version, channel, of, day = rows[0].split("|")
        pairs = [(order, int(fen)) for order, fen in (row.split("|") for row in rows[1:-2])]
        clearing = Clearing(channel, _read_kind(of), dt.date.fromisoformat(day), dict(pairs))
    except (ValueError, IndexError) as error:
        raise ClearingInvalid(f"not a clearing file: {error}") from error
    if (kind, version) != _HEAD or any(fen <= 0 for _, fen in pairs) or write_clearing(clearing) != text:
        raise ClearingInvalid("head, total, amounts or order of lines are not those of a clearing file")
    return clearing


def _read_kind(text: str) -> Kind:
    if text == "payments":
        return "payments"
    if text == "debits":
        return "debits"
    raise ValueError(f"kind {text}, needs payments or debits")
