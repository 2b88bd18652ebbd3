"""A channel's clearing file of one day, and what does not agree with our orders and the ledger. Pure.

The file lists every order the channel booked on its calendar day in Shanghai, payouts and debits apart. UTF-8
text, fields parted by `|`, amounts in fen:

    CLEARING|1|bank_a|debits|2026-02-15
    D1f3-...|110016
    TOTAL|1|110016
    SM3|<of every byte before this line>
"""

import datetime as dt
from collections.abc import Iterable, Mapping
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
    """A channel that gives out its files. Promise: of a day that is over always the same bytes."""

    async def fetch_clearing(self, day: dt.date) -> str:
        """Return the file of a day that is over; OSError when it cannot be had now."""


@dataclass(frozen=True, slots=True)
class OrderSeen:
    """One of our orders: its amount, whether it is paid by this channel, what the ledger has of it.

    `filed_on`: the day of an earlier file of the channel that paid it in which it stood.
    """

    order_id: str
    amount_fen: int
    paid_here: bool
    booked_fen: int
    filed_on: dt.date | None = None


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


def agrees(order: OrderSeen, fen: int) -> bool:
    """Say whether file, order and ledger have the same of an order that this channel paid, once."""
    return order.paid_here and order.filed_on is None and fen == order.amount_fen == order.booked_fen


def find_differences(
    lines: Mapping[str, int], known: Iterable[OrderSeen], expected: Iterable[str]
) -> tuple[str, ...]:
    """Return what does not agree: file against orders against ledger, order by order.

    `known` are our orders that the file names, `expected` those that should stand in it.
    """
    orders = {order.order_id: order for order in known}
    found = []
    for order_id, fen in sorted(lines.items()):
        order, said = orders.get(order_id), f"{order_id}: booked by the channel, {fen} fen"
        if order is None:
            found.append(f"{said}; we have no such order")
        elif not order.paid_here:
            found.append(f"{said}; with us not paid by it")
        elif order.filed_on is not None:
            found.append(f"{said}; booked before, in its file of {order.filed_on}")
        elif order.amount_fen != fen:
            found.append(f"{said}; ordered {order.amount_fen} fen")
        elif order.booked_fen != fen:
            found.append(f"{order_id}: paid, {fen} fen; the ledger has {order.booked_fen} fen")
    found += [
        f"{order_id}: paid with us, not in the file" for order_id in sorted(set(expected) - lines.keys())
    ]
    return tuple(found)
