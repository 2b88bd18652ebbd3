"""Takes lines into the event store: what is wrong is kept aside with line, field and reason, never dropped.

The same event again (same id, same content) is counted and skipped; the same id with other content is
rejected, whichever day it says. Events may come late and in any order. A register's file replaces the one
before; with a rejected line, which may be anybody's, it takes nobody out.
"""

import csv
import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from ueba.errors import UebaError
from ueba.events import KEYS, MODELS, Event, Fault, Record, find_skew, read_cells, read_line
from ueba.ids import open_ids
from ueba.settings import Settings
from ueba.store import EVENTS, REGISTERS, Home, sm3_hex, write_table

BATCH = 100_000
"""Lines kept in memory at once. Source: our choice, about 100 MB."""


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
    """What became of a file: every line is taken, was seen before, or is rejected. `kept`: entries of a
    register that are not in the file and stay, as a line of it was rejected."""

    lines: int = 0
    taken: int = 0
    seen_before: int = 0
    rejected: int = 0
    days: int = 0
    kept: int = 0


def read_lines(file: Path, record: Record) -> Iterator[tuple[int, Any]]:
    """Yield line numbers with a parsed line or its faults; UebaError when the file as a whole is wrong.

    No value that is taken holds a line break, so a line is read for itself in CSV too: a quote that is left
    open spoils its own line only.
    """
    with file.open("rb") as raw:
        header = _read_header(file, record, raw.readline()) if file.suffix == ".csv" else None
        for number, line in enumerate(raw, 1 if header is None else 2):
            if line.strip():
                yield number, _read(record, line, header)


def _read_header(file: Path, record: Record, line: bytes) -> list[str]:
    known = MODELS[record].model_fields
    try:
        columns = next(csv.reader([line.decode("utf-8-sig")], strict=True), [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise UebaError(f"{file}: line 1 is no header: {error}; needs column names in UTF-8") from error
    wrong = sorted({name for name in columns if name not in known or columns.count(name) > 1})
    if wrong or not columns:
        raise UebaError(
            f"{file}: header has {', '.join(wrong) or 'no column'}; known are {', '.join(known)}, each once"
        )
    return columns


def _read(record: Record, line: bytes, header: list[str] | None) -> Any:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return (Fault("", "is no UTF-8"),)
    if header is None:
        return read_line(record, text)
    try:
        (cells,) = csv.reader([text.rstrip("\r\n")], strict=True)
    except csv.Error as error:
        return (Fault("", f"is no CSV: {error}"),)
    if len(cells) > len(header):
        return (Fault("", "has more cells than the header"),)
    return read_cells(record, dict(zip(header, cells, strict=False)))


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
        touched.update(_store(home, pending, settings, result, rejects))
        pending.clear()

    for number, found in read_lines(file, record):
        result.lines += 1
        if isinstance(found, Event) and (skew := find_skew(found, received_at, settings.ingest)):
            rejects.append(Reject(number, skew, found.event_id))
        elif isinstance(found, tuple):
            rejects.append(Reject(number, found))
        else:
            pending.append((number, found))
        if record == "event" and len(pending) >= BATCH:
            flush()
            told(result.lines)
    if record == "event":
        flush()
    else:
        _replace(home, record, pending, result, rejects)
    result.rejected, result.days = len(rejects), len(touched)
    _keep_rejects(home, file, rejects)
    told(result.lines)
    return result


def _replace(
    home: Home, record: str, pending: list[tuple[int, Any]], result: Taken, rejects: list[Reject]
) -> None:
    """Write a register anew. Nobody is taken out while a line cannot be read: it may be theirs."""
    keys = KEYS[record]
    entries: dict[tuple[str, ...], dict[str, Any]] = {}
    for number, one in pending:
        entry = one.model_dump()
        first = entries.setdefault(tuple(entry[name] for name in keys), entry)
        if first is entry:
            result.taken += 1
        elif first == entry:
            result.seen_before += 1
        else:
            rejects.append(Reject(number, (Fault(keys[0], "has another line before that says otherwise"),)))
    if rejects:
        for entry in home.read_register(record).to_pylist():
            key = tuple(entry[name] for name in keys)
            result.kept += key not in entries
            entries.setdefault(key, entry)
    write_table(pa.Table.from_pylist(list(entries.values()), schema=REGISTERS[record]), home.register(record))


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
    by_day: dict[dt.date, list[dict[str, Any]]] = {}
    with open_ids(home) as ids:
        asked = {event.event_id for _, event in pending}
        known = _known(home, ids.days_of(asked), asked)
        for number, event in pending:
            row = to_row(event)
            before = known.setdefault(event.event_id, row)
            if before is row:
                by_day.setdefault((row["at"] + offset).date(), []).append(row)
            elif before == row:
                result.seen_before += 1
            else:
                fault = Fault("event_id", "was used for another event")
                rejects.append(Reject(number, (fault,), event.event_id))
        for day, rows in sorted(by_day.items()):
            name = sm3_hex(json.dumps(rows, default=str, sort_keys=True).encode())[:24]
            file = home.day_folder(day) / f"part-{name}.parquet"
            write_table(pa.Table.from_pylist(rows, schema=EVENTS), file)
            ids.add(file, day, [row["event_id"] for row in rows])
            result.taken += len(rows)
    return set(by_day)


def _known(home: Home, days: list[dt.date], ids: set[str]) -> dict[str, dict[str, Any]]:
    files = [str(file) for file in home.event_files(days)]
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
