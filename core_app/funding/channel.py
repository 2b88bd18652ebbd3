"""The port to whoever moves the money: bring an order, ask what became of it. Values and a Protocol. Pure.

Money goes out to a borrower or merchant (a payout), or comes in from the account that a borrower's agreement
names (a debit: `payee_kind` is `agreement`, `payee` its number, PAID says that it was collected). One channel
object serves one of the two; the promises are the same.

What every channel has to promise, so that no order is ever paid twice (its contract test asks for each):
- an order's number is booked at most once, however often `pay` brings it; what was booked is answered;
- an order that arrives after its `valid_until`, by the channel's own clock, is not booked, then or later;
- what the channel refused it never books under that number; what it answered survives its own crash.
So "not found", said after `valid_until` by the same clock, is the end of that attempt.
"""

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Protocol


class Fate(enum.StrEnum):
    """What an answer, or its absence, says about an order at this channel."""

    PAID = "paid"
    REFUSED = "refused"
    """Not paid, and never will be under this number."""
    NOT_TAKEN = "not_taken"
    """This attempt had no effect and will have none: nothing was sent, or it came after `valid_until`."""
    NOT_FOUND = "not_found"
    """The channel does not know the number now; `as_of` says when by its clock."""
    UNKNOWN = "unknown"
    """No answer: it may be paid, now or until `valid_until`."""


@dataclass(frozen=True, slots=True)
class Payment:
    """What a channel is asked to pay. `valid_until` is aware; `payee` is our id, never personal data."""

    order_id: str
    amount_fen: int
    payee_kind: str
    payee: str
    valid_until: dt.datetime


@dataclass(frozen=True, slots=True)
class Said:
    """What a channel said; `as_of` is its own clock, None when nothing was said."""

    fate: Fate
    note: str = ""
    as_of: dt.datetime | None = None


class PaymentChannel(Protocol):
    """One bank or payment company. Never raises for what goes wrong outside: that is a `Fate`."""

    @property
    def name(self) -> str:
        """Return the channel's name, as stored with orders."""

    async def pay(self, payment: Payment) -> Said:
        """Ask for the payment: PAID, REFUSED, NOT_TAKEN or UNKNOWN."""

    async def query(self, order_id: str) -> Said:
        """Ask what became of an order: PAID, REFUSED, NOT_FOUND or UNKNOWN."""
