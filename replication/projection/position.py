"""How far a cell's outbox is applied, and what to do after the next look at the local copy. Pure.

Order. A row's transaction id (`xid`, xid8) is assigned before its commit, its number (identity) at the
insert, and both may become visible later than greater ones. So rows are taken in *windows* of
transactions: a look knows `xmin`, below which every transaction has ended; the window
`[below, xmin)` can change no more, and its rows are applied by number. Rows of one aggregate are
numbered under its row lock, so their numbers rise in the order of their commits, and a snapshot that
shows the later one shows the earlier one: neither within a window nor across windows is one overtaken.

Lost histories. A local copy can show commits that no later epoch has: an asynchronous copy's, or
those of a primary that crashed before they were on both sites. Rows and numbers and transaction ids
are then used again for something else. A look carries the epoch that stands in the very snapshot it
read; every promotion writes one before anybody else may write. On a newer epoch nothing is taken for
granted: the `ring` of rows applied last is compared with the new history by number, xid and time.

How far back that must go is told by a count, not by a clock or a log position. At the ring's `floor`
(the snapshot of an earlier window) transactions from `floor.xmax` on had not ended; at most
`MAX_RUNNING` of them had their commit in the log already, one a session. If more than that many of
them are in the new history, one of them wrote its commit after the floor's snapshot was taken, so the
new history forked after it, and everything below `floor.upto` is in both. Then the ring's keys are
set anew from the copy and rows from the floor on are applied again. Otherwise all is read anew.
"""

import enum
import json
from collections.abc import Mapping as MappingOf
from dataclasses import asdict, dataclass, replace
from typing import Any

RING_ROWS = 512
"""Rows kept for comparison, at least. Source: our choice; five times MAX_RUNNING, so that a busy cell
can prove its floor although some of the last rows were lost."""
MAX_RUNNING = 100
"""Transactions that can be between commit record and end. Source: max_connections of every copy
(replication/postgres/conf.py; a test compares)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the outbox; `at` is its transaction's start as ISO 8601 text."""

    number: int
    xid: int
    topic: str
    key: str
    payload: MappingOf[str, Any]
    at: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a row does to the cache: `body` becomes the value of `key`, None takes it away."""

    key: str
    body: MappingOf[str, Any] | None


@dataclass(frozen=True, slots=True)
class Look:
    """One statement's snapshot of the local copy: its epoch, its bounds, a page of the window.

    `as_of` is the instant (ISO 8601) up to which the copy is known to hold everything.
    """

    epoch: int
    xmin: int
    xmax: int
    in_recovery: bool
    as_of: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Floor:
    """Everything below `upto` is applied; transactions from `xmax` on had not ended then."""

    upto: int
    xmax: int


@dataclass(frozen=True, slots=True)
class Position:
    """How far a cell is applied: all below `below`, and of the window up to `upto` those up to `after`.

    `applied` counts each row once, so it equals the rows of the copy's history below the position:
    that is how a row applied twice or left out would show. `total` is what a reading anew has to
    apply, 0 when none is under way.
    """

    generation: str
    epoch: int
    below: int
    upto: int
    after: int
    applied: int
    total: int
    floor: Floor | None
    as_of: str
    in_recovery: bool

    @property
    def in_window(self) -> bool:
        """Say whether a window is applied in part."""
        return self.upto > self.below

    def to_json(self) -> str:
        """Return the stored form; equal positions are equal texts."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Position":
        """Read the stored form; ValueError, TypeError or KeyError when it is none of ours."""
        plain = json.loads(text)
        floor = plain.pop("floor")
        return cls(floor=Floor(**floor) if floor else None, **plain)


@dataclass(frozen=True, slots=True)
class Applied:
    """A row as the ring keeps it: enough to know it again, and the cache key it changed ("": none)."""

    number: int
    xid: int
    at: str
    key: str
    cache_key: str


@dataclass(frozen=True, slots=True)
class RingEntry:
    """The rows of one page; `closed` when its window ended with it."""

    upto: int
    xmax: int
    closed: bool
    rows: tuple[Applied, ...]

    def to_json(self) -> str:
        """Return the stored form."""
        plain = asdict(self)
        plain["rows"] = [list(asdict(row).values()) for row in self.rows]
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> "RingEntry":
        """Read the stored form."""
        plain = json.loads(text)
        plain["rows"] = tuple(Applied(*row) for row in plain["rows"])
        return cls(**plain)


Ring = tuple[RingEntry, ...]


def count_rows(ring: Ring) -> int:
    """Return how many rows a ring holds."""
    return sum(len(entry.rows) for entry in ring)


class Need(enum.StrEnum):
    """What a look asks for."""

    BEGIN = "begin"
    """Nothing is known of what the cache holds: read everything, as a new generation."""
    APPLY = "apply"
    RECHECK = "recheck"
    """The copy is in a newer epoch than what was applied last."""
    WAIT = "wait"
    """The copy is in an older epoch, or behind what was applied: it has to catch up first."""


def decide_need(position: Position | None, look: Look) -> Need:
    """Say what has to be done after a look."""
    if position is None:
        return Need.BEGIN
    if look.epoch > position.epoch:
        return Need.RECHECK
    if look.epoch < position.epoch or look.xmin < position.upto:
        return Need.WAIT
    return Need.APPLY


def plan_begin(look: Look, generation: str, total: int) -> Position:
    """Return the position of a reading anew: one window over everything that has ended."""
    return Position(
        generation=generation,
        epoch=look.epoch,
        below=0,
        upto=look.xmin,
        after=0,
        applied=0,
        total=total,
        floor=None,
        as_of="",
        in_recovery=look.in_recovery,
    )


@dataclass(frozen=True, slots=True)
class Step:
    """The next position and ring; `entry` is what to append, `dropped` how many to drop in front."""

    position: Position
    ring: Ring
    entry: RingEntry | None
    dropped: int


def plan_apply(
    position: Position, ring: Ring, look: Look, page: int, cache_keys: MappingOf[int, str]
) -> Step:
    """Return where a page of rows leads to; `cache_keys` says what each row's number changed."""
    upto = position.upto if position.in_window else look.xmin
    closed = len(look.rows) < page
    ahead = replace(
        position,
        below=upto if closed else position.below,
        upto=upto,
        after=0 if closed else look.rows[-1].number,
        applied=position.applied + len(look.rows),
        total=0 if closed else position.total,
        as_of=max(look.as_of, position.as_of) if closed and not position.in_window else position.as_of,
        in_recovery=look.in_recovery,
    )
    if position.floor is None:
        # Rows before the first floor are never compared: what could be said of them is nothing.
        floor = Floor(upto, look.xmax) if closed else None
        return Step(replace(ahead, floor=floor), ring, None, 0)
    rows = tuple(Applied(r.number, r.xid, r.at, r.key, cache_keys.get(r.number, "")) for r in look.rows)
    entry = RingEntry(upto, look.xmax, closed, rows) if rows else None
    longer = (*ring, entry) if entry else ring
    floor, shorter = trim_ring(position.floor, longer)
    return Step(replace(ahead, floor=floor), shorter, entry, len(longer) - len(shorter))


def trim_ring(floor: Floor | None, ring: Ring) -> tuple[Floor | None, Ring]:
    """Drop what is more than enough; the floor rises to the last window dropped whole."""
    keep, last = ring, None
    rows = count_rows(ring)
    while keep and (rows - len(keep[0].rows) >= RING_ROWS or (last is not None and not last.closed)):
        last, keep = keep[0], keep[1:]
        rows -= len(last.rows)
    if last is None:
        return floor, ring
    return (Floor(last.upto, last.xmax) if last.closed else None), keep


def is_floor_proven(floor: Floor | None, ring: Ring, surviving: frozenset[int]) -> bool:
    """Say whether the new history certainly holds everything below the floor.

    `surviving` are the numbers of those ring rows that the new history has, equal in xid and time.
    """
    if floor is None:
        return False
    later = {row.xid for e in ring for row in e.rows if row.xid >= floor.xmax and row.number in surviving}
    return len(later) > MAX_RUNNING


def plan_roll_back(position: Position, ring: Ring, look: Look) -> Position:
    """Return the position at the floor, in the new epoch; only where the floor is proven."""
    if position.floor is None:
        raise ValueError("a position without a floor cannot be rolled back to it")
    return replace(
        position,
        epoch=look.epoch,
        below=position.floor.upto,
        upto=position.floor.upto,
        after=0,
        applied=position.applied - count_rows(ring),
        total=0,
        in_recovery=look.in_recovery,
    )
