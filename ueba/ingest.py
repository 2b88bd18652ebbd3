"""Takes lines into the event store: what is wrong is kept aside with line, field and reason, never dropped.

The same event again (same id, same content) is counted and skipped; the same id with other content is
rejected. Events may come late and in any order.
"""

import csv
import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from ueba.errors import UebaError
from ueba.events import MODELS, Event, Fault, Record, find_skew, read_cells, read_line
from ueba.settings import Settings
from ueba.store import EVENTS, REGISTERS, Home, sm3_hex, write_table

BATCH = 100_000
"""Lines kept in memory at once. Source: our choice, about 100 MB."""
_REGISTER_OF: Mapping[str, str] = {"staff": "staff", "customer": "customer", "relation": "relation"}


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that was not taken; the event's id where the line was an event by its form."""

    line: int
    faults: tuple[Fault, ...]
    event_id: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it; the line itself stays where it came from."""
        return {
            "line": self.line,
            "event_id": self.event_id,
            "faults": [asdict(one) for one in self.faults],
        }


@dataclass(slots=True)
class Taken:
    """What became of a file: every line is in exactly one of the counts."""

    lines: int = 0
    taken: int = 0
    seen_before: int = 0
    rejected: int = 0
    days: int = 0


def read_lines(file: Path, record: Record) -> Iterator[tuple[int, Any]]:
    """Yield line numbers with a parsed line or its faults; UebaError when the file as a whole is wrong."""
    if file.suffix == ".csv":
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            unknown = set(reader.fieldnames or ()) - set(MODELS[record].model_fields)
            if unknown or not reader.fieldnames:
                raise UebaError(
                    f"{file}: header has {', '.join(sorted(unknown)) or 'no column'}; known are "
                    f"{', '.join(MODELS[record].model_fields)}"
                )
            for cells in reader:
                yield reader.line_num, read_cells(record, cells)
        return
    with file.open("rb") as raw:
        for number, line in enumerate(raw, 1):
            if line.strip():
                yield number, _decode(record, line)


def _decode(record: Record, line: bytes) -> Any:
    try:
        return read_line(record, line.decode("utf-8"))
    except UnicodeDecodeError:
        return (Fault("", "is no UTF-8"),)


def ingest_file(
    home: Home,
    file: Path,
    record: Record,
    received_at: dt.datetime,
    settings: Settings,
    *,
    told: Callable[[int], None] = lambda _: None,
) -> Taken:
    """Take a file in; rejects go to `rejects/<name>-<digest>.jsonl`. Safe to repeat."""
    result, rejects = Taken(), list[Reject]()
    pending: list[tuple[int, Any]] = []
    touched: set[dt.date] = set()

    def flush() -> None:
        if record == "event":
            touched.update(_store(home, pending, settings, result, rejects))
        pending.clear()

    entries: dict[Any, Any] = {}
    for number, found in read_lines(file, record):
        result.lines += 1
        if isinstance(found, Event) and (skew := find_skew(found, received_at, settings.ingest)):
            rejects.append(Reject(number, skew, found.event_id))
        elif isinstance(found, tuple):
            rejects.append(Reject(number, found))
        elif record == "event":
            pending.append((number, found))
        else:
            entries[_key(record, found)] = found.model_dump()
            result.taken += 1
        if len(pending) >= BATCH:
            flush()
            told(result.lines)
    flush()
    if record != "event":
        table = pa.Table.from_pylist(list(entries.values()), schema=REGISTERS[_REGISTER_OF[record]])
        write_table(table, home.register(record))
    result.rejected, result.days = len(rejects), len(touched)
    _keep_rejects(home, file, rejects)
    told(result.lines)
    return result


def _key(record: Record, entry: Any) -> Any:
    if record == "relation":
        return entry.staff, entry.customer
    return entry.staff if record == "staff" else entry.customer


def to_row(event: Event) -> dict[str, Any]:
    """Return an event as the store has it."""
    values = event.model_dump()
    values["n_fields"] = len(values.pop("fields"))
    return values | {"at": event.at.astimezone(dt.UTC)}


def _store(
    home: Home,
    pending: list[tuple[int, Event]],
    settings: Settings,
    result: Taken,
    rejects: list[Reject],
) -> set[dt.date]:
    """Write what is new by local day; return the days that changed."""
    offset = dt.timedelta(minutes=settings.utc_offset_minutes)
    by_day: dict[dt.date, list[tuple[int, dict[str, Any]]]] = {}
    for number, event in pending:
        by_day.setdefault((event.at.astimezone(dt.UTC) + offset).date(), []).append((number, to_row(event)))
    changed = set()
    for day, rows in sorted(by_day.items()):
        known = _known(home, day, {row["event_id"] for _, row in rows})
        new: list[dict[str, Any]] = []
        for number, row in rows:
            before = known.get(row["event_id"])
            if before is None:
                known[row["event_id"]] = row
                new.append(row)
            elif before == row:
                result.seen_before += 1
            else:
                fault = Fault("event_id", "was used for another event")
                rejects.append(Reject(number, (fault,), row["event_id"]))
        if new:
            table = pa.Table.from_pylist(new, schema=EVENTS)
            name = sm3_hex(json.dumps(new, default=str, sort_keys=True).encode())[:24]
            write_table(table, home.day_folder(day) / f"part-{name}.parquet")
            result.taken += len(new)
            changed.add(day)
    return changed


def _known(home: Home, day: dt.date, ids: set[str]) -> dict[str, dict[str, Any]]:
    files = [str(file) for file in home.event_files([day])]
    if not files:
        return {}
    found = ds.dataset(files, schema=EVENTS).to_table(filter=ds.field("event_id").isin(list(ids)))
    return {row["event_id"]: row for row in found.to_pylist()}


def _keep_rejects(home: Home, file: Path, rejects: list[Reject]) -> None:
    if not rejects:
        return
    body = "".join(json.dumps(one.plain(), ensure_ascii=False) + "\n" for one in rejects)
    folder = home.root / "rejects"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{file.stem}-{sm3_hex(body.encode())[:12]}.jsonl").write_text(body, encoding="utf-8")
