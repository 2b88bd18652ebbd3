"""Keeps each day's figures beside its events, and makes them anew when late events have come for the day."""

import datetime as dt
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ueba.features import tables
from ueba.features.engine import open_duckdb, read_frame, run
from ueba.features.tables import DayTables
from ueba.settings import Settings, day_number
from ueba.store import Home, sm3_hex, write_table

CHUNK_DAYS = 30
"""Days aggregated at once. Source: our choice: thirty days of ten thousand staff are 12 million events, two
gigabytes in the engine, and making an expression costs a second."""


NAMES = ("staff_days", "tallies", "bare_looks", "money_acts")


def compute_tables(frame: Any) -> DayTables:
    """Run all expressions on a frame; the same on every engine."""
    tallies = []
    for name in tables.TALLIES:
        found = run(tables.make_tally(frame, name), ("staff", "day", "word"))
        tallies.append(found.append_column("dimension", pa.array([name] * len(found), pa.string())))
    return DayTables(
        run(tables.make_staff_days(frame), ("staff", "day")),
        pa.concat_tables(tallies),
        run(tables.make_bare_looks(frame), ("staff", "day", "customer")),
        run(tables.make_money_acts(frame), ("staff", "day", "customer")),
    )


def find_stale(home: Home, days: Sequence[dt.date], settings: Settings) -> dict[dt.date, str]:
    """Return the days whose figures are missing or were made from something else, with their digests.

    They are made from the day's events, the registers, the local time and the code of the expressions.
    """
    registers = [file for name in ("staff", "customer", "relation") if (file := home.register(name)).exists()]
    code = sm3_hex([Path(tables.__file__).read_bytes()])
    shared = f"{home.digest(registers)} {settings.utc_offset_minutes} {code}"
    stale = {}
    for day in days:
        digest = sm3_hex(f"{shared} {home.digest(home.event_files([day]))}".encode())
        mark = _folder(home, day) / "source"
        if not mark.exists() or mark.read_text() != digest:
            stale[day] = digest
    return stale


def make_days(
    home: Home, days: Sequence[dt.date], settings: Settings, told: Callable[[int], None] = lambda _: None
) -> None:
    """Make what is stale of the days; `told` hears how many days were done at each step."""
    stale = find_stale(home, days, settings)
    told(len(days) - len(stale))
    pending = sorted(stale)
    for start in range(0, len(pending), CHUNK_DAYS):
        chunk = pending[start : start + CHUNK_DAYS]
        spill = home.root / "features" / "spill"
        with open_duckdb(spill) as backend:
            frame = read_frame(backend, home, chunk, settings.utc_offset_minutes)
            found = compute_tables(backend.create_table("frame", frame, temp=True))
        for day in chunk:
            _write_day(home, day, found, stale[day])
        told(len(chunk))


def _write_day(home: Home, day: dt.date, found: DayTables, digest: str) -> None:
    folder = _folder(home, day)
    shutil.rmtree(folder, ignore_errors=True)
    for name in NAMES:
        table = getattr(found, name)
        write_table(
            table.filter(pc.equal(table["day"], day_number(day))), folder / f"{name}.parquet", durable=False
        )
    (folder / "source").write_text(digest)


def read_days(home: Home, days: Sequence[dt.date]) -> DayTables:
    """Return the figures of days that `make_days` made."""
    return DayTables(*(_concat(home, days, name) for name in NAMES))


def _concat(home: Home, days: Sequence[dt.date], name: str) -> pa.Table:
    files = [str(_folder(home, day) / f"{name}.parquet") for day in sorted(days)]
    return ds.dataset(files, schema=pq.read_schema(files[0])).to_table(use_threads=False)


def _folder(home: Home, day: dt.date) -> Path:
    return home.root / "features" / f"day={day.isoformat()}"
