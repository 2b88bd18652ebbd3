"""What a drill did and what came back, one JSON object a line, written as it happens.

Every operation leaves two lines: `invoke` before its first byte is sent and `op` when its outcome
is known, so that a drill that dies in the middle still knows which keys may have taken effect.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from runbooks.drills.records import (
    GrantNote,
    Header,
    History,
    Invoke,
    Mark,
    Op,
    Resolution,
    compose_history,
)

TYPES: Mapping[str, type[Any]] = {
    "header": Header, "invoke": Invoke, "op": Op, "resolution": Resolution, "grant": GrantNote, "mark": Mark,
}  # fmt: skip
"""Names of a drill's records in its file."""


class HistoryWriter:
    """Append-only file of records; each line is flushed, so a killed drill leaves what it knew."""

    def __init__(self, path: Path, types: Mapping[str, type[Any]] = TYPES) -> None:
        self._names = {kind: name for name, kind in types.items()}
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def write(self, record: Any) -> None:
        """Append one record (a dataclass of the writer's types) and hand it to the operating system."""
        plain = {"type": self._names[type(record)], **dataclasses.asdict(record)}
        self._file.write(json.dumps(plain, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Return once what was written is on disk: whoever finds the file after a crash reads it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; writing afterwards is a programming error."""
        self._file.close()


def read_records(path: Path, types: Mapping[str, type[Any]] = TYPES) -> list[Any]:
    """Read a history file; a torn last line (the writer was killed) is left out, any other is an error."""
    lines = path.read_text(encoding="utf-8").splitlines()
    readers = {name: TypeAdapter(kind) for name, kind in types.items()}
    records: list[Any] = []
    for number, line in enumerate(lines, start=1):
        try:
            plain = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise ValueError(f"{path}:{number}: not JSON") from None
        records.append(readers[plain.pop("type")].validate_python(plain))
    return records


def read_history(path: Path) -> History:
    """Read a whole history from its file."""
    return compose_history(read_records(path))
