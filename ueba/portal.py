"""The staff portal's outbox rows as events: which look, export or approval is which event. Pure.

A look's dwell comes in a row of its own, later: `merge` puts both together for the daily path, the
streaming path takes the look at once and does not wait.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ueba.events import Action, Event

LOOKED, ENDED = "staff.looked", "staff.look_ended"


@dataclass(frozen=True, slots=True)
class Row:
    """What is read of an outbox row; `at` is its transaction's."""

    topic: str
    key: str
    at: dt.datetime
    payload: Mapping[str, Any]


def event_of(row: Row, pseudonym: Callable[[str], str]) -> Event | None:
    """Return the event of a look; None for any other row. `pseudonym` makes a keyed token of a customer id.

    A look at something that does not exist shows nothing: it is an event with result `not_found`.
    """
    if row.topic != LOOKED:
        return None
    look = row.payload
    customer = look.get("customer_id")
    return Event(
        event_id=row.key,
        at=row.at,
        staff=look["staff"],
        action=Action.UNMASK if look["clear"] else Action.VIEW,
        terminal=look.get("terminal"),
        site=look.get("site"),
        system="portal",
        customer=pseudonym(customer) if customer else None,
        fields=tuple(look.get("fields") or ()),
        purpose=look.get("purpose"),
        assigned=look.get("assigned"),
        result="ok" if customer else "not_found",
        case_id=look.get("case_id"),
    )


def merge(rows: Iterable[Row], pseudonym: Callable[[str], str]) -> list[Event]:
    """Return the events of rows in any order, each look with its dwell when its end is among them."""
    kept = list(rows)
    dwell = {row.key: int(row.payload["dwell_ms"]) for row in kept if row.topic == ENDED}
    found = (event_of(row, pseudonym) for row in kept)
    return [
        event.model_copy(update={"dwell_ms": dwell.get(event.event_id)})
        for event in found
        if event is not None
    ]
