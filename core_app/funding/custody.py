"""Where an order stands with a channel that paid it or claims it: file, order and ledger compared. Pure.

An order is moved into custody of the channel once all three agree, and never twice; until then its row
(`core.custody`) says what is missing. What is found is looked at anew whenever a file comes and at each
day-end, so a late or corrected file, an order that is paid or booked later, needs nobody to remember it.
"""

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Standing(enum.StrEnum):
    """What was found of an order and a channel; all but WITHDRAWN and AGREES are open."""

    NO_FILE = "no_file"
    NO_ORDER = "no_order"
    NOT_PAID = "not_paid"
    AMOUNT = "amount"
    LEDGER = "ledger"
    TWICE = "twice"
    WITHDRAWN = "withdrawn"
    AGREES = "agrees"


@dataclass(frozen=True, slots=True)
class Line:
    """What a channel's newest file of a day says of an order, in fen."""

    day: dt.date
    fen: int


@dataclass(frozen=True, slots=True)
class Seen:
    """An order beside a channel: `lines` are those of its newest files, by day; amounts in fen.

    `ordered_fen` is None where there is no such order, or none that was sent yet. `reported`: its money was
    moved into custody of some channel.
    """

    order_id: str
    channel: str
    ordered_fen: int | None
    paid_here: bool
    booked_fen: int
    lines: tuple[Line, ...]
    reported: bool


@dataclass(frozen=True, slots=True)
class Found:
    """An order's standing, its figures in words, and whether it is to be moved into custody now."""

    order_id: str
    channel: str
    standing: Standing
    note: str
    move: bool


def judge(seen: Seen) -> Found:
    """Return where an order stands with a channel."""
    standing, note = _judge(seen)
    move = standing is Standing.AGREES and not seen.reported
    return Found(seen.order_id, seen.channel, standing, note, move)


def _judge(seen: Seen) -> tuple[Standing, str]:
    if not seen.lines:
        if seen.paid_here:
            return Standing.NO_FILE, "paid with us, not in the file"
        return Standing.WITHDRAWN, "claimed by no file any more"
    fen = seen.lines[-1].fen
    said = f"booked by the channel, {fen} fen"
    if seen.ordered_fen is None:
        return Standing.NO_ORDER, f"{said}; we have no such order"
    if not seen.paid_here:
        return Standing.NOT_PAID, f"{said}; with us not paid by it"
    if len(seen.lines) > 1:
        return Standing.TWICE, f"{said}; booked before, in its file of {seen.lines[0].day}"
    if fen != seen.ordered_fen:
        return Standing.AMOUNT, f"{said}; ordered {seen.ordered_fen} fen"
    if seen.booked_fen != fen:
        return Standing.LEDGER, f"paid, {fen} fen; the ledger has {seen.booked_fen} fen"
    return Standing.AGREES, ""


def list_differences(found: Sequence[Found]) -> list[str]:
    """Return what a file's answer says of the orders that do not agree, by order."""
    settled = (Standing.AGREES, Standing.WITHDRAWN)
    return [f"{one.order_id}: {one.note}" for one in sorted(found, key=_order) if one.standing not in settled]


def _order(found: Found) -> str:
    return found.order_id
