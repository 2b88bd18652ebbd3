"""What is done next with a payout order, and what an answer makes of it. Pure.

An order whose fate at a channel is not known is asked for there, and nowhere paid, until that channel says
what became of it. States: ordered -> sent (the channel is written down first) -> paid, or unknown, or back
to ordered (refused there, or certainly not booked), or failed when every channel has refused.
"""

import datetime as dt
import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from core_app.funding.channel import Fate, Said


class State(enum.StrEnum):
    """Where an order stands; PAID and FAILED are final."""

    ORDERED = "ordered"
    SENT = "sent"
    UNKNOWN = "unknown"
    PAID = "paid"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Order:
    """An order as stored. `channel` None in UNKNOWN: it may have been sent to any of them."""

    order_id: str
    loan_id: str
    amount_fen: int
    payee_kind: str
    payee: str
    channel_kinds: tuple[str, ...]
    state: State
    channel: str | None
    refused_by: tuple[str, ...]
    valid_until: dt.datetime | None
    epoch: int
    give_up_at: dt.datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pay:
    """Write the order down as sent to `channel`, then send it."""

    channel: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these channels what became of it."""

    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done now; look again soon."""

    why: str


@dataclass(frozen=True, slots=True)
class Look:
    """What an order is looked at with: the channels that may pay it, best first, those whose breaker is
    closed, the cell's epoch and the instant."""

    ranked: tuple[str, ...]
    closed: frozenset[str]
    epoch: int
    now: dt.datetime


@dataclass(frozen=True, slots=True)
class Doubt:
    """A lost history may have sent it: write it down as unknown everywhere, ask when that has run out."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Every channel has refused it, or none took it in time: void the draw."""

    why: str


Action = Pay | Ask | Wait | Doubt | GiveUp


def decide_next(order: Order, look: Look) -> Action:
    """Return what is to be done with an order that is due; ValueError when it is final.

    An order of an older epoch is asked for everywhere first: a forced promotion may have lost the row that
    said where it was sent. ORDERED in this epoch, it is certainly booked nowhere, so it may be given up.
    """
    match order.state:
        case State.ORDERED:
            return Doubt() if order.epoch < look.epoch else _decide_ordered(order, look)
        case State.SENT | State.UNKNOWN:
            asked = (order.channel,) if order.channel is not None else look.ranked
            mute = [name for name in asked if name not in look.closed]
            return Wait(f"{', '.join(mute)}: no answer at present") if mute or not asked else Ask(asked)
        case _:
            raise ValueError(f"payout {order.order_id} is {order.state}: nothing is left to do")


def _decide_ordered(order: Order, look: Look) -> Pay | Wait | GiveUp:
    if look.now >= order.give_up_at:
        return GiveUp("no channel took it in time")
    left = [name for name in look.ranked if name not in order.refused_by]
    if not left:
        refused = f"refused by {', '.join(order.refused_by)}"
        return GiveUp(refused) if look.ranked else Wait("no channel of its kinds is configured here")
    usable = [name for name in left if name in look.closed]
    return Pay(usable[0]) if usable else Wait(f"{', '.join(left)}: no answer at present")


def after_pay(order: Order, channel: str, said: Said) -> Order:
    """Return the order after `pay` at `channel`."""
    sent = replace(order, state=State.SENT, channel=channel, note=said.note)
    match said.fate:
        case Fate.PAID:
            return replace(sent, state=State.PAID)
        case Fate.REFUSED:
            return _refused(sent, (channel,))
        case Fate.NOT_TAKEN:
            return replace(sent, state=State.ORDERED, channel=None)
        case _:
            return replace(sent, state=State.UNKNOWN)


def after_ask(order: Order, said: Mapping[str, Said], epoch: int) -> Order:
    """Return the order after every channel in `said` was asked for it, in `epoch`.

    Paid as soon as one says so; back to ordered only when each says what cannot change any more.
    """
    paid = [name for name, one in said.items() if one.fate is Fate.PAID]
    if paid:
        return replace(order, state=State.PAID, channel=paid[0], note=said[paid[0]].note)
    open_ones = [name for name, one in said.items() if not _is_definite(order, one)]
    if open_ones or not said:
        note = "; ".join(f"{name}: {said[name].fate}" for name in open_ones)
        return replace(order, state=State.UNKNOWN, note=note)
    refused = tuple(name for name, one in said.items() if one.fate is Fate.REFUSED)
    return _refused(replace(order, epoch=epoch, note="not booked there"), refused)


def _is_definite(order: Order, said: Said) -> bool:
    if said.fate is Fate.REFUSED:
        return True
    over = said.as_of is not None and order.valid_until is not None and said.as_of > order.valid_until
    return said.fate is Fate.NOT_FOUND and over


def _refused(order: Order, channels: tuple[str, ...]) -> Order:
    refused_by = (*order.refused_by, *(name for name in channels if name not in order.refused_by))
    return replace(order, state=State.ORDERED, channel=None, refused_by=refused_by)
