"""One cell's projector at one site: look at the local copy, decide, change Valkey; again and again.

Everything it knows lies in Valkey; it may be killed between any two lines, and there may be two.
"""

import asyncio
import datetime as dt
import enum
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql
from redis.exceptions import RedisError

from replication.projection import valkey as store
from replication.projection.copy import LocalCopy, connect_copy
from replication.projection.position import (
    Change,
    Look,
    Need,
    Position,
    RingEntry,
    Row,
    decide_need,
    is_floor_proven,
    plan_apply,
    plan_begin,
    plan_roll_back,
)
from replication.settings import PlaceSettings

log = logging.getLogger("biyi.projector")

POLL_SECONDS = 0.1
"""Pause after a look that found nothing. Source: our choice, one failover tick; half of it is what
polling adds to the median lag."""
QUIET_POLL_SECONDS = 0.5
"""The same once nothing was found for QUIET_AFTER_SECONDS. Source: our choice; a site with many cells
at rest should cost little, and the first row after a rest is still there within half a second."""
QUIET_AFTER_SECONDS = 5.0
"""Source: our choice, fifty polls."""
PAGE_ROWS = 500
"""Rows applied at once. Source: our choice; about 20 ms of Python and 5 ms of Valkey."""
_AS_OF_SECONDS = 0.25
"""How often a quiet cell's position is written, for its age. Source: our choice, one beat."""
_LAGS = 1000

Mapping = Callable[[Row], Change | None]


class State(enum.StrEnum):
    """What a projector is doing."""

    STARTING = "starting"
    WARM = "warm"
    READING_ANEW = "reading_anew"
    CATCHING_UP = "catching_up"
    COPY_BEHIND = "copy_behind"
    COPY_SILENT = "copy_silent"
    VALKEY_SILENT = "valkey_silent"


@dataclass(frozen=True, slots=True)
class Feed:
    """What is projected: the outbox table and what its rows mean. `mapping` is pure."""

    schema: str
    table: str
    mapping: Mapping


@dataclass(slots=True)
class CellProjector:
    """Projects one cell; `clock` gives wall-clock seconds, for lags shown to people only."""

    cell: str
    places: tuple[PlaceSettings, ...]
    passfile: Path
    feed: Feed
    valkey: store.Valkey
    new_generation: Callable[[], str]
    clock: Callable[[], float]
    state: State = State.STARTING
    why: str = ""
    held: store.Held | None = None
    position: Position | None = None
    """What was held at the last look, to be shown."""
    place: str = ""
    lags_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LAGS))
    rolled_back: int = 0
    read_anew: int = 0
    _written_at: float = 0.0
    _found_at: float = 0.0

    async def run(self) -> None:
        """Project until cancelled; whatever fails is tried again."""
        while True:
            for place in self.places:
                try:
                    async with await connect_copy(place, self.passfile) as connection:
                        self.place = place.name
                        await self._follow(LocalCopy(connection, self.outbox))
                except psycopg.Error as error:
                    self._tell(State.COPY_SILENT, f"{place.name}: {_first_line(error)}")
                except (RedisError, OSError) as error:
                    self._tell(State.VALKEY_SILENT, _first_line(error))
                self.held = None
                await asyncio.sleep(POLL_SECONDS)

    @property
    def outbox(self) -> sql.Identifier:
        """Return the outbox as an identifier."""
        return sql.Identifier(self.feed.schema, self.feed.table)

    async def _follow(self, copy: LocalCopy) -> None:
        while True:
            if not await self.step(copy):
                resting = time.monotonic() - self._found_at > QUIET_AFTER_SECONDS
                await asyncio.sleep(QUIET_POLL_SECONDS if resting else POLL_SECONDS)

    async def step(self, copy: LocalCopy) -> bool:
        """Look once and do what it asks for; True when there is certainly more to do."""
        if self.held is None:
            self.held = await store.read_held(self.valkey, self.cell)
        held = self.held
        self.position = held.position
        look = await copy.look(held.position, PAGE_ROWS)
        need = decide_need(held.position, look)
        if need is Need.WAIT or held.position is None:
            if need is Need.WAIT:
                self._tell(State.COPY_BEHIND, f"{self.place} is behind what was applied")
                await self._check_held()
                return False
            return await self._begin(copy, look)
        if need is Need.RECHECK:
            return await self._recheck(copy, held, held.position)
        return await self._apply(held, held.position, look)

    async def _begin(self, copy: LocalCopy, look: Look) -> bool:
        """Begin a new generation: from here on no value of an older one is found by readers."""
        held = self.held or store.Held("", None, ())
        position = plan_begin(look, self.new_generation(), await copy.count(look.xmin))
        self.read_anew += 1
        self._tell(State.READING_ANEW, f"{position.total} rows")
        await self._change(held, position, (), dropped=None)
        return True

    async def _recheck(self, copy: LocalCopy, held: store.Held, position: Position) -> bool:
        """A newer epoch: keep what both histories certainly have, set the rest anew."""
        applied = [row for entry in held.ring for row in entry.rows]
        look, surviving, newest = await copy.compare(applied)
        if look.epoch <= position.epoch:
            return False
        if not is_floor_proven(position.floor, held.ring, surviving):
            log.info("%s: epoch %d: too little is known of the fork: read anew", self.cell, look.epoch)
            return await self._begin(copy, look)
        found = {value.key: value for value in self._values(newest, look.epoch)}
        gone = {row.cache_key for row in applied if row.cache_key} - found.keys()
        values = [*found.values(), *(store.Value(key, 0, "") for key in sorted(gone))]
        self.rolled_back += 1
        log.info(
            "%s: epoch %d: %d of %d rows compared are in it",
            self.cell,
            look.epoch,
            len(surviving),
            len(applied),
        )
        await self._change(held, plan_roll_back(position, held.ring, look), values, dropped=None, forced=True)
        return True

    async def _apply(self, held: store.Held, position: Position, look: Look) -> bool:
        """Apply the page that was found; a quiet cell's position is written now and then."""
        if look.rows:
            self._found_at = time.monotonic()
        changes = {row.number: self.feed.mapping(row) for row in look.rows}
        keys = {number: change.key for number, change in changes.items() if change is not None}
        step = plan_apply(position, held.ring, look, PAGE_ROWS, keys)
        quiet = not look.rows and not position.in_window
        if quiet and time.monotonic() - self._written_at < _AS_OF_SECONDS:
            self._tell(State.WARM, "")
            return False
        dropped = len(held.ring) + (step.entry is not None) - len(step.ring)
        moved = await self._change(
            held, step.position, self._values(look.rows, look.epoch), entry=step.entry, dropped=dropped
        )
        if moved:
            self.held = store.Held(step.position.to_json(), step.position, step.ring)
            self.position = step.position
            self._written_at = time.monotonic()
            self._note_lags(look)
            if position.total and not step.position.in_window:
                dropped = await store.drop_strangers(self.valkey, self.cell, position.generation)
                log.info("%s: read anew; %d values of earlier times taken away", self.cell, dropped)
        if step.position.in_window:
            self._tell(State.READING_ANEW if step.position.total else State.CATCHING_UP, "")
            return True
        self._tell(State.WARM, "")
        return not moved

    async def _change(
        self,
        held: store.Held,
        position: Position,
        values: Iterable[store.Value],
        *,
        entry: RingEntry | None = None,
        dropped: int | None = 0,
        forced: bool = False,
    ) -> bool:
        """Change Valkey; whatever becomes of it, what is held is read again unless it is told."""
        self.held = None
        return await store.change(
            self.valkey, self.cell, held, position, values, entry=entry, dropped=dropped, forced=forced
        )

    async def _check_held(self) -> None:
        """Read again what Valkey holds: while nothing is written nothing else would notice its loss."""
        self.held = await store.read_held(self.valkey, self.cell)

    def _values(self, rows: Iterable[Row], epoch: int) -> list[store.Value]:
        """Return the last value of each key that the rows change, in order."""
        found: dict[str, store.Value] = {}
        for row in rows:
            change = self.feed.mapping(row)
            if change is not None:
                body = (
                    ""
                    if change.body is None
                    else json.dumps(
                        {"value": change.body, "epoch": epoch, "at": row.at}, separators=(",", ":")
                    )
                )
                found[change.key] = store.Value(change.key, row.number, body)
        return list(found.values())

    def _note_lags(self, look: Look) -> None:
        """Note how long after its transaction began each row was in the cache, while it was warm.

        What is applied again, or after the copy or Valkey was away, says nothing of the way here.
        """
        if self.state is not State.WARM:
            return
        now = self.clock()
        self.lags_ms.extend(1000 * (now - _seconds(row.at)) for row in look.rows)

    def _tell(self, state: State, why: str) -> None:
        if state is not self.state:
            log.info("%s: %s %s", self.cell, state, why)
        self.state, self.why = state, why


def _seconds(at: str) -> float:
    return dt.datetime.fromisoformat(at).timestamp()


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
