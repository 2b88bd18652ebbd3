"""Follows one cell's staff events at one site: look at the local copy, score, move the position on.

Where it stands lies in the site's Valkey beside the counts. Rows are delivered at least once and counted
once (`stream.py`): whoever dies when, whatever is read again. A newer epoch may lack rows that this copy had
shown. They are looked for (`replication.projection.position`); where one was counted, or nothing can be
proven, every count is dropped and the days that matter are delivered anew from all cells.
"""

import asyncio
import datetime as dt
import enum
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
from psycopg import sql
from redis.asyncio import Redis
from redis.exceptions import RedisError

from replication.postgres.copy import UEBA
from replication.projection import valkey as store
from replication.projection.copy import LocalCopy, connect_copy
from replication.projection.position import (
    Look,
    Need,
    Position,
    Row,
    decide_need,
    is_floor_proven,
    plan_apply,
    plan_begin,
    plan_roll_back,
)
from replication.settings import PlaceSettings
from ueba import portal
from ueba.events import Event
from ueba.portal import BadRow, Pseudonyms, read_timely
from ueba.settings import IngestSettings
from ueba.stream import StreamScorer

log = logging.getLogger("biyi.watcher")

EVENTS = sql.Identifier("core", "staff_events")
"""The view that holds what staff did and nothing else of the outbox."""
REACH = dt.timedelta(days=2)
"""How old an event may be and still count. Source: our choice, below the three days that counts are kept."""
_MARGIN = dt.timedelta(hours=1)
"""Rows that ran at once are numbered out of order by less than this. Source: our choice; a transaction may
be open for three seconds."""
PAGE_ROWS = 500
"""Rows scored at once. Source: our choice; about 50 ms of Python and 20 ms of Valkey."""
POLL_SECONDS = 0.1
"""Pause after a look that found nothing. Source: our choice, a tenth of the promised second."""
_STEP_SECONDS = 0.5
"""How often the position is moved on while staff do nothing, so that a window of others' rows stays short
and a Valkey that lost everything is noticed. Source: our choice."""
_LAGS = 2000
_FLUSHED = ("ueba:day:*", "ueba:seen:*", "ueba:provisional:*")
_SCAN_KEYS = 500


class State(enum.StrEnum):
    """What a follower is doing."""

    STARTING = "starting"
    FOLLOWING = "following"
    READING_ANEW = "reading_anew"
    COPY_BEHIND = "copy_behind"
    COPY_SILENT = "copy_silent"
    VALKEY_SILENT = "valkey_silent"


@dataclass(frozen=True, slots=True)
class Desk:
    """What the followers of one site share. `turn`: one changes Valkey at a time; `clock` gives UTC."""

    valkey: "Redis"
    scorer: StreamScorer
    names: Pseudonyms
    cells: tuple[str, ...]
    new_generation: Callable[[], str]
    clock: Callable[[], dt.datetime]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    ingest: IngestSettings = field(default_factory=IngestSettings)

    async def drop_all(self) -> None:
        """Forget every position, then every count: each follower begins anew. Hold the turn."""
        for cell in self.cells:
            await self.valkey.delete(store.position_key(_kept(cell)), store.ring_key(_kept(cell)))
        for pattern in _FLUSHED:
            names = [name async for name in self.valkey.scan_iter(pattern, count=_SCAN_KEYS)]
            for start in range(0, len(names), _SCAN_KEYS):
                await self.valkey.unlink(*names[start : start + _SCAN_KEYS])


def _kept(cell: str) -> str:
    """Return under which name the position of a cell is kept; no cell's own name has a dash."""
    return f"ueba-{cell}"


@dataclass(slots=True)
class CellFollower:
    """Follows one cell; everything it must know lies in Valkey, it may be killed between any two lines."""

    cell: str
    places: tuple[PlaceSettings, ...]
    passfile: Path
    desk: Desk
    state: State = State.STARTING
    why: str = ""
    place: str = ""
    held: store.Held | None = None
    scored: int = 0
    seen_before: int = 0
    rejected: int = 0
    read_anew: int = 0
    dropped: int = 0
    lags_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LAGS))
    moved_s: float = 0.0

    async def run(self) -> None:
        """Follow until cancelled; whatever fails is tried again."""
        while True:
            for place in self.places:
                try:
                    connecting = connect_copy(place, self.passfile, application="biyi-watcher", user=UEBA)
                    async with await connecting as connection:
                        self.place = place.name
                        await self._follow(LocalCopy(connection, EVENTS))
                except psycopg.Error as error:
                    self._tell(State.COPY_SILENT, f"{place.name}: {_first_line(error)}")
                except (RedisError, OSError) as error:
                    self._tell(State.VALKEY_SILENT, _first_line(error))
                self.held = None
                await asyncio.sleep(POLL_SECONDS)

    async def _follow(self, copy: LocalCopy) -> None:
        while True:
            if not await self.step(copy):
                await asyncio.sleep(POLL_SECONDS)

    async def step(self, copy: LocalCopy) -> bool:
        """Look once and do what it asks for; True when there is certainly more to do."""
        if self.held is None:
            self.held = await store.read_held(self.desk.valkey, _kept(self.cell))
        held = self.held
        look = await copy.look(held.position, PAGE_ROWS)
        need = decide_need(held.position, look)
        if need is Need.WAIT:
            self._tell(State.COPY_BEHIND, f"{self.place} is behind what was scored")
            self.held = None
            return False
        if need is Need.BEGIN or held.position is None:
            return await self._begin(copy, held, look)
        if need is Need.RECHECK:
            return await self._recheck(copy, held, held.position)
        return await self._apply(held, held.position, look)

    async def _begin(self, copy: LocalCopy, held: store.Held, look: Look) -> bool:
        first = await copy.first_since(self.desk.clock() - REACH - _MARGIN)
        position = plan_begin(look, self.desk.new_generation(), 0)
        self.read_anew += 1
        self._tell(State.READING_ANEW, f"from row {first}")
        async with self.desk.turn:
            await self._move(held, replace(position, after=first - 1), dropped=None)
        return True

    async def _recheck(self, copy: LocalCopy, held: store.Held, position: Position) -> bool:
        """A newer epoch: go back to what both histories certainly have, or begin everything anew."""
        applied = [row for entry in held.ring for row in entry.rows]
        look, surviving, _ = await copy.compare(applied)
        if look.epoch <= position.epoch:
            return False
        gone = [row for row in applied if row.cache_key and row.number not in surviving]
        async with self.desk.turn:
            if gone or not is_floor_proven(position.floor, held.ring, surviving):
                log.info("%s: epoch %d: %d rows counted are gone", self.cell, look.epoch, len(gone))
                self.dropped += 1
                self.held = None
                await self.desk.drop_all()
                return True
            await self._move(held, plan_roll_back(position, held.ring, look), dropped=None)
        return True

    async def _apply(self, held: store.Held, position: Position, look: Look) -> bool:
        events = {row.number: event for row in look.rows if (event := self._event(row)) is not None}
        counted = {number: event.staff for number, event in events.items()}
        step = plan_apply(position, held.ring, look, PAGE_ROWS, counted)
        quiet = not look.rows and not position.in_window
        now_s = asyncio.get_running_loop().time()
        if quiet and now_s - self.moved_s < _STEP_SECONDS:
            self._tell(State.FOLLOWING, "")
            return False
        dropped = len(held.ring) + (step.entry is not None) - len(step.ring)
        async with self.desk.turn:
            # Another cell may have dropped everything meanwhile: this look is then of no use.
            if await self.desk.valkey.get(store.position_key(_kept(self.cell))) != held.text:
                self.held = None
                return True
            await self._score(tuple(events.values()))
            moved = await store.change(
                self.desk.valkey, _kept(self.cell), held, step.position, entry=step.entry, dropped=dropped
            )
        self.moved_s = now_s
        self.held = store.Held(step.position.to_json(), step.position, step.ring) if moved else None
        if not step.position.in_window:
            self._tell(State.FOLLOWING, "")
        return step.position.in_window or not (moved or quiet)

    async def _score(self, events: tuple[Event, ...]) -> None:
        outcomes = await self.desk.scorer.apply(events)
        now = self.desk.clock()
        for outcome, event in zip(outcomes, events, strict=True):
            if outcome.provisional is None:
                self.seen_before += 1
                continue
            self.scored += 1
            if self.state is State.FOLLOWING:
                self.lags_ms.append(1000 * (now - event.at).total_seconds())

    def _event(self, row: Row) -> Event | None:
        told = portal.Row(row.topic, row.key, dt.datetime.fromisoformat(row.at), row.payload)
        found = read_timely(told, self.desk.names, self.desk.clock(), REACH, self.desk.ingest)
        if isinstance(found, BadRow):
            # Counted and named; the daily path keeps it aside. It must not hold up those behind it.
            self.rejected += 1
            log.warning("%s: row %s is no event: %s", self.cell, found.key, found.faults)
            return None
        return found

    async def _move(self, held: store.Held, position: Position, *, dropped: int | None) -> None:
        self.held = None
        await store.change(self.desk.valkey, _kept(self.cell), held, position, dropped=dropped)

    def _tell(self, state: State, why: str) -> None:
        if state is not self.state:
            log.info("%s: %s %s", self.cell, state, why)
        self.state, self.why = state, why


def show(follower: CellFollower) -> Mapping[str, object]:
    """Return what is known of one cell's following, for people."""
    lags = sorted(follower.lags_ms)
    position = follower.held.position if follower.held else None
    return {
        "state": str(follower.state),
        "why": follower.why,
        "copy": follower.place,
        "epoch": position.epoch if position else None,
        "scored": follower.scored,
        "seen_before": follower.seen_before,
        "rejected": follower.rejected,
        "read_anew": follower.read_anew,
        "dropped": follower.dropped,
        "lag_p50_ms": round(lags[len(lags) // 2], 1) if lags else None,
        "lag_p99_ms": round(lags[min(len(lags) - 1, int(0.99 * len(lags)))], 1) if lags else None,
    }


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
