"""The staff portal's outbox rows as events: looks, pages, logins, approvals, acts on accounts, reviews. Pure.

A look's dwell comes in a row of its own, later: `merge` puts both together for the daily path, the
streaming path takes the look at once and does not wait. Everybody's acts are events, the watchers' too.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ueba.events import Action, Event, Fault, faults_of, find_skew
from ueba.settings import IngestSettings

LOOKED, PAGED = "staff.looked", "staff.paged"
ENDED, BEATEN = "staff.look_ended", "staff.look_beat"
ACTS = frozenset(
    {"staff.login", "staff.session_refused", "staff.approval", "staff.account_changed", "staff.reviewed"}
)
"""Topics whose payload names the act under `action`."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is read of an outbox row; `at` is its transaction's."""

    topic: str
    key: str
    at: dt.datetime
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Keyed tokens: no name of staff and no customer's id goes on."""

    staff: Callable[[str], str]
    customer: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no event: its key, and what is wrong by field; no value is repeated."""

    key: str
    faults: tuple[Fault, ...]


def read_row(row: Row, names: Pseudonyms) -> Event | BadRow | None:
    """Return the event of a row, or what is wrong with it; None for what is no act of its own (dwell), or of
    nobody who is known."""
    try:
        return event_of(row, names)
    except ValidationError as error:
        return BadRow(row.key, faults_of(error))
    except (KeyError, TypeError, ValueError) as error:
        return BadRow(row.key, (Fault("", f"is not as the portal writes it ({type(error).__name__})"),))


def read_timely(
    row: Row, names: Pseudonyms, now: dt.datetime, reach: dt.timedelta, ingest: IngestSettings
) -> Event | BadRow | None:
    """Return what `read_row` does, None for what is older than `reach`; a bad row where the time lies further
    in the future than clocks may differ: it would count on a day that has not come."""
    if row.at < now - reach:
        return None
    found = read_row(row, names)
    if isinstance(found, Event) and (skew := find_skew(found, now, ingest)):
        return BadRow(row.key, skew)
    return found


def event_of(row: Row, names: Pseudonyms) -> Event | None:
    """Return the event of a row as the portal writes it; see `read_row` for one that may be otherwise.

    A look at something that does not exist shows nothing: it is an event with result `not_found`.
    """
    found = row.payload
    if row.topic not in (LOOKED, PAGED, *ACTS) or not found.get("staff"):
        return None
    shared = {
        "event_id": row.key,
        "at": row.at,
        "staff": names.staff(found["staff"]),
        "role": found.get("role") or None,
        "branch": found.get("branch"),
        "terminal": found.get("terminal"),
        "site": found.get("site"),
        "system": "portal",
        "purpose": found.get("purpose"),
        "case_id": found.get("case_id"),
    }
    if row.topic == LOOKED:
        return _look(shared, found, names)
    if row.topic == PAGED:
        # A list shows what one's own customers are called; an export takes rows out of the house.
        exported = int(found["rows"]) if found["action"] == Action.EXPORT else 0
        return Event.model_validate(shared | {"action": found["action"], "rows": exported})
    result = "denied" if found.get("result") == "denied" else "ok"
    return Event.model_validate(shared | {"action": found["action"], "result": result})


def _look(shared: Mapping[str, Any], look: Mapping[str, Any], names: Pseudonyms) -> Event:
    customer = look.get("customer_id")
    kind = look.get("kind") or Action.VIEW
    shown = {
        "action": Action.UNMASK if look["clear"] else kind,
        "customer": names.customer(customer) if customer else None,
        "fields": tuple(look.get("fields") or ()),
        "assigned": look.get("assigned"),
        "result": "ok" if customer else "not_found",
    }
    return Event.model_validate({**shared, **shown})


def merge(rows: Iterable[Row], names: Pseudonyms) -> tuple[list[Event], list[BadRow]]:
    """Return the events of rows in any order, each look with the longest dwell told, and bad rows."""
    kept = list(rows)
    dwell: dict[str, int] = {}
    for row in kept:
        if row.topic in (ENDED, BEATEN):
            dwell[row.key] = max(dwell.get(row.key, 0), int(row.payload.get("dwell_ms") or 0))
    found = [read_row(row, names) for row in kept]
    events = [one for one in found if isinstance(one, Event)]
    return (
        [one.model_copy(update={"dwell_ms": dwell.get(one.event_id)}) for one in events],
        [one for one in found if isinstance(one, BadRow)],
    )
