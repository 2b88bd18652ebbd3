"""Brings what staff did on the portal, their register, and what reviewers decided, into an event store.

Events are read as biyi_ueba from whichever copy answers, accounts and reviews through the portal. Everything
goes the way of files (`ingest.py`), so what is wrong is kept aside, and a repeat doubles nothing.
"""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
from psycopg import sql

from compliance.access.desk import Connection, fetch_all
from core_app.staff.portal import Portal
from core_app.staff.reviews import Act
from replication.postgres.copy import UEBA
from replication.projection.copy import LocalCopy, connect_copy
from replication.settings import SiteSettings
from ueba.errors import UebaError
from ueba.follow import EVENTS
from ueba.ingest import Taken, ingest_file
from ueba.journal import append_act, read_acts
from ueba.portal import Pseudonyms, Row, merge
from ueba.settings import Settings
from ueba.store import Home

_READ = sql.SQL(
    "select topic, key, at, payload from {view} where outbox_id >= %(first)s and at >= %(since)s"
    " order by outbox_id"
).format(view=EVENTS)
_MARGIN = dt.timedelta(hours=1)
_UNUSED = dt.timedelta(days=180)
"""An account unused for this long must be silent. Source: research/ueba.md §2.3, L8."""
_ACCOUNTS = "select staff, branch, roles, disabled, at, used_at from access.accounts"
_ACTS = """
select a.kind, a.done_by, c.subject, c.day, a.disposition, a.family, a.until_day, c.fresh, c.slow
from watch.acts a join watch.cases c using (case_id) order by a.at, a.case_id, a.number
"""


async def read_portal_rows(site: SiteSettings, since: dt.datetime) -> list[Row]:
    """Return the staff events of every cell from `since` on; UebaError when a cell's copies do not answer."""
    found: list[Row] = []
    for cell in site.cells:
        found += await _read_cell(site, cell.name, since)
    return found


async def _read_cell(site: SiteSettings, cell: str, since: dt.datetime) -> list[Row]:
    places = sorted(
        (p for p in site.places if p.cell == cell), key=lambda p: (p.site is not site.site, p.ordinal)
    )
    why = "no copy"
    for place in places:
        try:
            connecting = connect_copy(place, site.passfile, application="biyi-collect", user=UEBA)
            async with await connecting as connection:
                first = await LocalCopy(connection, EVENTS).first_since(since - _MARGIN)
                rows = await connection.execute(_READ, {"first": first, "since": since})
                return [Row(*row) for row in await rows.fetchall()]
        except psycopg.Error as error:
            why = f"{place.name}: {str(error).splitlines()[0]}"
    raise UebaError(f"cell {cell}: none of its copies could be read ({why}); see `biyi stand status`")


async def read_staff(portal: Portal, names: Pseudonyms, today: dt.date) -> list[dict[str, Any]]:
    """Return the personnel register as the accounts tell it, by token."""
    rows = await portal.desk.directory.write(lambda c: fetch_all(c, _ACCOUNTS, {}))
    return [
        {
            "staff": names.staff(row["staff"]),
            "role": "+".join(sorted(row["roles"])) or "none",
            "branch": row["branch"],
            "joined_on": row["at"].date().isoformat(),
            "left_on": today.isoformat() if row["disabled"] else None,
            "dormant_since": row["used_at"].date().isoformat()
            if today - row["used_at"].date() > _UNUSED
            else None,
        }
        for row in rows
    ]


async def read_portal_acts(portal: Portal) -> list[Act]:
    """Return what reviewers did on the portal, in order."""

    async def work(connection: Connection) -> list[dict[str, Any]]:
        return await fetch_all(connection, _ACTS, {})

    return [
        Act(
            kind=row["kind"], by=row["done_by"], staff=row["subject"], on=row["day"],
            disposition=row["disposition"], family=row["family"], until=row["until_day"],
            fresh=row["fresh"], slow=row["slow"],
        )
        for row in await portal.desk.directory.write(work)
    ]  # fmt: skip


def take_events(
    home: Home, rows: Sequence[Row], names: Pseudonyms, now: dt.datetime, settings: Settings
) -> Taken:
    """Take portal rows in as events. One that is in stays as it was: its dwell may have come later."""
    events, bad = merge(rows, names)
    offset = dt.timedelta(minutes=settings.utc_offset_minutes)
    known = {
        event_id
        for day in {(one.at.astimezone(dt.UTC) + offset).date() for one in events}
        for event_id in _known_ids(home, day)
    }
    new = [one.model_dump_json() for one in events if one.event_id not in known]
    taken = _take(home, "event", new, now, settings)
    taken.lines += len(events) - len(new) + len(bad)
    taken.seen_before += len(events) - len(new)
    taken.rejected += len(bad)
    if bad:
        folder = home.root / "rejects"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"key": one.key, "faults": [asdict(each) for each in one.faults]}) for one in bad]
        (folder / f"portal-{now:%Y%m%dT%H%M%SZ}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return taken


def _known_ids(home: Home, day: dt.date) -> list[str]:
    files = [str(file) for file in home.event_files([day])]
    found: list[str] = (
        pq.ParquetDataset(files).read(columns=["event_id"])["event_id"].to_pylist() if files else []
    )
    return found


def take_staff(home: Home, entries: Sequence[dict[str, Any]], now: dt.datetime, settings: Settings) -> Taken:
    """Take the personnel register in."""
    return _take(home, "staff", [json.dumps(one) for one in entries], now, settings)


def take_acts(home: Home, acts: Sequence[Act]) -> int:
    """Add the portal's acts that the home does not have yet; returns how many."""
    file = home.root / "reviews.jsonl"
    known = read_acts(file)[0]
    new = [act for act in acts if act not in known]
    for act in new:
        append_act(file, act)
    return len(new)


def _take(home: Home, record: Any, lines: Sequence[str], now: dt.datetime, settings: Settings) -> Taken:
    home.root.mkdir(parents=True, exist_ok=True)
    file: Path = home.root / f"collected-{record}.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    try:
        return ingest_file(home, file, record, now, settings)
    finally:
        file.unlink()


def plain(taken: Taken) -> dict[str, int]:
    """Return the counts as JSON has them."""
    return asdict(taken)
