"""The event store: one folder, Parquet by local day, written by atomic renames; rejects kept aside.

<home>/events/day=YYYY-MM-DD/*.parquet   <home>/registers/{staff,customer,relation}.parquet
<home>/rejects/*.jsonl                   <home>/models/<hash>/   <home>/scores/day=...parquet
"""

import datetime as dt
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.hashes import SM3, Hash

from ueba.errors import UebaError

_UTC_US = pa.timestamp("us", tz="UTC")
EVENTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("at", _UTC_US),
        ("staff", pa.string()),
        ("action", pa.string()),
        ("role", pa.string()),
        ("branch", pa.string()),
        ("terminal", pa.string()),
        ("site", pa.string()),
        ("system", pa.string()),
        ("customer", pa.string()),
        ("n_fields", pa.int32()),
        ("purpose", pa.string()),
        ("assigned", pa.bool_()),
        ("rows", pa.int64()),
        ("dwell_ms", pa.int64()),
        ("result", pa.string()),
        ("case_id", pa.string()),
    ]
)
REGISTERS = {
    "staff": pa.schema(
        [
            ("staff", pa.string()),
            ("role", pa.string()),
            ("branch", pa.string()),
            ("joined_on", pa.date32()),
            ("role_since", pa.date32()),
            ("notice_on", pa.date32()),
            ("left_on", pa.date32()),
            ("dormant_since", pa.date32()),
            ("criticality", pa.string()),
        ]
    ),
    "customer": pa.schema(
        [
            ("customer", pa.string()),
            ("branch", pa.string()),
            ("segment", pa.string()),
            ("state", pa.string()),
            ("listed", pa.bool_()),
        ]
    ),
    "relation": pa.schema([("staff", pa.string()), ("customer", pa.string()), ("relation", pa.string())]),
}


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one organisation's events, registers, models and scores."""

    root: Path

    def day_folder(self, day: dt.date) -> Path:
        """Return where the events of a local day lie."""
        return self.root / "events" / f"day={day.isoformat()}"

    def days(self) -> list[dt.date]:
        """Return the days that have events, in order."""
        found = (self.root / "events").glob("day=*")
        return sorted(dt.date.fromisoformat(one.name.removeprefix("day=")) for one in found)

    def event_files(self, days: Iterable[dt.date]) -> list[Path]:
        """Return the Parquet files of the days, in an order that does not depend on the file system."""
        return [file for day in sorted(days) for file in sorted(self.day_folder(day).glob("*.parquet"))]

    def register(self, name: str) -> Path:
        """Return the file of a register."""
        return self.root / "registers" / f"{name}.parquet"

    def read_register(self, name: str) -> pa.Table:
        """Return a register; empty when none was taken in."""
        file = self.register(name)
        return pq.read_table(file) if file.exists() else REGISTERS[name].empty_table()

    def digest(self, files: Sequence[Path]) -> str:
        """Return the SM3 digest over the contents of files, in their order."""
        return sm3_hex(sm3_hex(file.read_bytes()).encode() for file in files)

    def require_events(self) -> list[dt.date]:
        """Return the days with events; UebaError when there are none."""
        days = self.days()
        if not days:
            raise UebaError(f"{self.root}: no events; needs `biyi ueba ingest` or `biyi ueba generate` first")
        return days


def sm3_hex(parts: bytes | Iterable[bytes]) -> str:
    """Return the SM3 digest over the parts one after the other, as hexadecimal digits."""
    total = Hash(SM3())
    for part in (parts,) if isinstance(parts, bytes) else parts:
        total.update(part)
    return total.finalize().hex()


def write_table(table: pa.Table, file: Path, *, durable: bool = True) -> None:
    """Write one Parquet file so that it is there whole or not at all; `durable`: it can't be made again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    pq.write_table(table, partial, compression="zstd")
    if durable:
        with partial.open("rb") as opened:
            os.fsync(opened.fileno())
    partial.rename(file)
