"""Reads what a site's scoring has counted of a drill's staff, and waits until it has everything."""

import asyncio
import datetime as dt
import time
from collections.abc import Collection, Mapping

from replication.projection.valkey import open_valkey
from replication.settings import SiteSettings
from replication.tls import OPERATOR
from runbooks.drills.scene import DrillRefused
from runbooks.drills.scored import Acted, Counted, find_doubled, find_lost
from ueba.settings import day_number
from ueba.watcher import read_pseudonyms

CAUGHT_UP_S = 60.0
"""Patience with a watcher to have everything. Source: our choice, that of rejoining."""
_PAUSE_S = 0.5
_PATIENCE_S = 2.0
_LOCAL = dt.timezone(dt.timedelta(hours=8))


async def wait_for_counts(
    settings: SiteSettings, acted: Mapping[str, Acted], days: Collection[int]
) -> Mapping[str, Counted]:
    """Return what the site's Valkey has of each, once nothing is lost or doubled or patience ends."""
    end = time.monotonic() + CAUGHT_UP_S
    while True:
        try:
            found = await _read_counts(settings, acted, days)
        except OSError:
            found = {}
        whole = not (find_lost(acted, found) or find_doubled(acted, found))
        if whole or time.monotonic() > end:
            return found
        await asyncio.sleep(_PAUSE_S)


async def _read_counts(
    settings: SiteSettings, staff: Collection[str], days: Collection[int]
) -> Mapping[str, Counted]:
    if settings.valkey_passfile is None:
        raise DrillRefused(f"{settings.site} has no Valkey")
    names = read_pseudonyms(settings.key_file)
    found = {}
    async with open_valkey(
        settings.valkey_address(OPERATOR), settings.valkey_passfile, _PATIENCE_S
    ) as valkey:
        for name in staff:
            ids: set[str] = set()
            events = looks = 0
            for day in days:
                who = f"{day}:{names.staff(name)}"
                # One step, as it was written: an event between two reads would look like one counted wrongly.
                async with valkey.pipeline(transaction=True) as pipe:
                    pipe.smembers(f"ueba:seen:{who}")
                    pipe.hmget(f"ueba:day:{who}", "events", "looks")
                    keys, counts = await pipe.execute()
                ids |= {str(key) for key in keys}
                events += int(counts[0] or 0)
                looks += int(counts[1] or 0)
            found[name] = Counted(frozenset(ids), events, looks)
    return found


def read_day() -> dt.date:
    """Return today as scoring counts days."""
    return dt.datetime.now(_LOCAL).date()  # noqa: TID251 - a runbook is a shell


def days_since(first: dt.date) -> frozenset[int]:
    """Return the numbers of the days from `first`, which a drill began on, to today: one or two."""
    return frozenset(map(day_number, (first, read_day())))
