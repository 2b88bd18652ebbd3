"""Reading a summary: from the site's cache, else from the cell's primary. Never for a decision.

The caller is told where it is from, its version (the number of the outbox row that made it; it rises
with each change of the loan within an epoch) and how old the knowledge is.
"""

import datetime as dt
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from core_app.core import Connection, LendingCore
from core_app.decisions.evidence import Evidence
from core_app.decisions.windows import count_in_cell
from core_app.errors import Kind, Refused
from core_app.ids import Letter
from core_app.loans.loan import show_loan_row
from core_app.loans.reading import ALL_LINES, ask_unlocked, fetch_loan
from core_app.read_models.loan_summary import summary_key
from core_app.read_models.windows import count_window, window_key
from core_app.round_trip import RoundTrips
from core_app.router import CellUnavailable
from replication.projection.valkey import Found, Valkey, read_held, read_values

_log = logging.getLogger(__name__)
_NEWEST = "select outbox_id, at from core.outbox where key = %s order by outbox_id desc limit 1"


@dataclass(frozen=True, slots=True)
class Cache:
    """The site's warm cache as the API uses it; `read_now` is the process's clock."""

    valkey: Valkey
    read_now: Callable[[], dt.datetime]
    asking: RoundTrips[tuple[str, str], Found | None] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asking", RoundTrips(functools.partial(read_values, self.valkey)))


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary and where it is from; `epoch` is that of the copy or primary it was read in."""

    cell: str
    epoch: int
    body: Mapping[str, Any]


async def show_loan_summary(
    core: LendingCore, cache: Cache | None, loan_id: str, max_age_ms: int | None
) -> Summary:
    """Return a loan's summary; from the primary when the cache has none or only one that is too old."""
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    if cell is None:
        raise Refused(Kind.NOT_FOUND, "There is no such loan.")
    if cache is not None:
        warm = await read_warm_summary(cache, cell, loan_id, max_age_ms)
        if warm is not None:
            return warm
    return await _read_primary(core, cell, loan_id)


async def read_warm_summary(
    cache: Cache, cell: str, loan_id: str, max_age_ms: int | None = None
) -> Summary | None:
    """Return a loan's summary as the cache has it; None when it has none, or only one that is too old."""
    found = await _read_cache(cache, cell, loan_id)
    age_ms = compute_age_ms(found.position.as_of, cache.read_now()) if found is not None else None
    if found is None or age_ms is None or (max_age_ms is not None and age_ms > max_age_ms):
        return None
    body = found.body["value"] | {
        "source": "cache",
        "version": found.version,
        "changed_at": found.body["at"],
        "age_ms": age_ms,
    }
    return Summary(cell, found.position.epoch, body)


def compute_age_ms(as_of: str, now: dt.datetime) -> int | None:
    """Return how long ago the copy was last known to hold everything; None when it never was."""
    if not as_of:
        return None
    return max(0, round(1000 * (now - dt.datetime.fromisoformat(as_of)).total_seconds()))


async def show_windows(
    core: LendingCore, cache: Cache | None, evidence: Sequence[Evidence], minutes: int
) -> dict[str, Any]:
    """Return how many applications came with each piece of evidence lately, by cell; for showing only.

    A cell whose view is not warm here is counted at its primary; one that cannot be reached either is
    null. The decision counts for itself, under lock.
    """
    found = {cell: await _show_cell(core, cache, cell, evidence, minutes) for cell in core.router.cells}
    return {
        "minutes": minutes,
        "counts": {
            str(one.kind): {cell: shown["counts"].get(one.kind) for cell, shown in found.items()}
            for one in evidence
        },
        "source": {cell: shown["source"] for cell, shown in found.items()},
        "age_ms": {cell: shown["age_ms"] for cell, shown in found.items()},
    }


async def _show_cell(
    core: LendingCore, cache: Cache | None, cell: str, evidence: Sequence[Evidence], minutes: int
) -> dict[str, Any]:
    if cache is not None:
        try:
            shown = await _count_cached(cache, cell, evidence, minutes)
        except (RedisError, OSError) as error:
            _log.warning("cache: %s", type(error).__name__)
            shown = None
        if shown is not None:
            return shown
    try:
        counts = await count_in_cell(core, cell, evidence, minutes)
    except CellUnavailable:
        return {"counts": {}, "source": None, "age_ms": None}
    return {"counts": counts, "source": "primary", "age_ms": 0}


async def _count_cached(
    cache: Cache, cell: str, evidence: Sequence[Evidence], minutes: int
) -> dict[str, Any] | None:
    """Return the counts of a warm view, None when it is not warm: an absent value would then say nothing."""
    position = (await read_held(cache.valkey, cell)).position
    age_ms = compute_age_ms(position.as_of, cache.read_now()) if position is not None else None
    if position is None or age_ms is None or (position.in_window and position.total):
        return None
    counts = {}
    for one in evidence:
        found = await cache.asking.ask((cell, window_key(one)))
        value = found.body["value"] if found is not None else None
        counts[one.kind] = count_window(value, cache.read_now().timestamp(), minutes)
    return {"counts": counts, "source": "cache", "age_ms": age_ms}


async def _read_cache(cache: Cache, cell: str, loan_id: str) -> Found | None:
    try:
        return await cache.asking.ask((cell, summary_key(loan_id)))
    except (RedisError, OSError) as error:
        _log.warning("cache: %s", type(error).__name__)
        return None


async def _read_primary(core: LendingCore, cell: str, loan_id: str) -> Summary:
    async def work(connection: Connection, epoch: int) -> dict[str, Any]:
        # The version first: what is read after it is at least as new.
        newest = await connection.execute(_NEWEST, [loan_id])
        asked = await ask_unlocked(core, connection, loan_id)
        version = await newest.fetchone()
        loan = await fetch_loan(core, connection, loan_id, asked, ALL_LINES)
        if version is None or loan is None:
            raise Refused(Kind.NOT_FOUND, "There is no such loan.")
        return show_loan_row(loan) | {
            "source": "primary",
            "version": version[0],
            "changed_at": version[1].astimezone(dt.UTC).isoformat(),
            "age_ms": 0,
        }

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Summary(cell, read.epoch, read.value)
