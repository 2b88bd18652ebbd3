"""Reading a summary: from the site's cache, else from the cell's primary. Never for a decision.

The caller is told where it is from, its version (the number of the outbox row that made it; it rises
with each change of the loan within an epoch) and how old the knowledge is.
"""

import datetime as dt
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from core_app.core import Connection, LendingCore
from core_app.errors import Kind, Refused
from core_app.ids import Letter
from core_app.loans.loan import show_loan_row
from core_app.loans.reading import ALL_LINES, ask_unlocked, fetch_loan
from core_app.read_models.loan_summary import summary_key
from replication.projection.valkey import Found, Valkey, read_value

_log = logging.getLogger(__name__)
_NEWEST = "select outbox_id, at from core.outbox where key = %s order by outbox_id desc limit 1"


@dataclass(frozen=True, slots=True)
class Cache:
    """The site's warm cache as the API uses it; `read_now` is the process's clock."""

    valkey: Valkey
    read_now: Callable[[], dt.datetime]


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
        found = await _read_cache(cache, cell, loan_id)
        if found is not None:
            age_ms = compute_age_ms(found.position.as_of, cache.read_now())
            if age_ms is not None and (max_age_ms is None or age_ms <= max_age_ms):
                body = found.body["value"] | {
                    "source": "cache",
                    "version": found.version,
                    "changed_at": found.body["at"],
                    "age_ms": age_ms,
                }
                return Summary(cell, found.position.epoch, body)
    return await _read_primary(core, cell, loan_id)


def compute_age_ms(as_of: str, now: dt.datetime) -> int | None:
    """Return how long ago the copy was last known to hold everything; None when it never was."""
    if not as_of:
        return None
    return max(0, round(1000 * (now - dt.datetime.fromisoformat(as_of)).total_seconds()))


async def _read_cache(cache: Cache, cell: str, loan_id: str) -> Found | None:
    try:
        return await read_value(cache.valkey, cell, summary_key(loan_id))
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
