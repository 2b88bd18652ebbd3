"""The failover journal: one JSON line a decision, written before acting, that replays through `decide`.

A line holds the whole `Seen`, so an incident can be decided again offline (`read_decisions`). Lines
with a `stage` mark what was done and when; drills draw their plots from them.
"""

import dataclasses
import enum
import json
import time
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from replication.failover.states import Decision, Seen, Step
from replication.model import CopyId

T = typing.TypeVar("T")

BYTES_MAX = 64 * 1024 * 1024
"""A journal file is set aside at this size; one older file is kept. Source: our choice, days of decisions."""


class JournalUnreadable(Exception):
    """A whole line of a journal cannot be read; the message names file, line and what is wrong in it."""


class Journal:
    """Append-only journal of one place."""

    def __init__(self, path: Path, cell: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._cell = cell
        self._last: Decision | None = None

    def decision(self, seen: Seen, decision: Decision) -> None:
        """Write a decision unless it says to go on holding for the reason already written."""
        if decision.step is Step.HOLD and self._same_hold(decision):
            return
        self._last = decision
        self._write(
            {"decision": decision.step, "why": decision.why, "epoch": decision.epoch}
            | {"seen": encode(seen), "decided": encode(decision)}
        )

    def stage(self, stage: str, epoch: int, **facts: object) -> None:
        """Write that something was done; `facts` are plain values."""
        self._write({"stage": stage, "epoch": epoch} | facts)

    def _same_hold(self, decision: Decision) -> bool:
        last = self._last
        return last is not None and (last.step, last.why, last.epoch) == (
            decision.step,
            decision.why,
            decision.epoch,
        )

    def _write(self, fields: Mapping[str, object]) -> None:
        head = {
            "at": datetime.now(UTC).isoformat(),  # noqa: TID251  the journal is a shell: it stamps people's time
            "mono_ns": time.monotonic_ns(),
            "place": self._path.stem,
            "cell": self._cell,
        }
        if self._path.exists() and self._path.stat().st_size > BYTES_MAX:
            self._path.replace(self._path.with_suffix(".jsonl.1"))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(head | dict(fields)) + "\n")


def read_decisions(path: Path) -> Iterator[tuple[Seen, Decision]]:
    """Yield what was seen and what was decided, oldest first; a torn last line is passed over.

    What an older program did not know gets its default. JournalUnreadable for a line with a reason, a
    step or a field that this program does not know: another version wrote it.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                entry = json.loads(line)
                found = (
                    (decode(Seen, entry["seen"]), decode(Decision, entry["decided"]))
                    if "seen" in entry
                    else None
                )
            except (ValueError, KeyError, TypeError) as error:
                raise JournalUnreadable(
                    f"{path}: line {number}: {type(error).__name__}: {error}; "
                    "read it with the version of Biyi that wrote it"
                ) from error
            if found is not None:
                yield found


def encode(value: object) -> Any:
    """Turn values of `states` into plain JSON data."""
    match value:
        case CopyId():
            return str(value)
        case enum.Enum():
            return value.value
        case frozenset() | set():
            return sorted(encode(item) for item in value)
        case tuple() | list():
            return [encode(item) for item in value]
        case Mapping():
            return {str(encode(key)): encode(item) for key, item in value.items()}
        case _ if dataclasses.is_dataclass(value):
            return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def decode(kind: type[T], plain: Any) -> T:
    """Turn what `encode` made back into a value of `kind`."""
    return typing.cast(T, _decode(kind, plain))


def _decode(kind: Any, plain: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        inner = next(argument for argument in arguments if argument is not types.NoneType)
        return None if plain is None else _decode(inner, plain)
    if origin is Literal:
        if plain not in arguments:
            raise ValueError(f"{plain!r} is none of {arguments}")
        return plain
    if kind is CopyId:
        return CopyId.parse(plain)
    if origin is frozenset:
        return frozenset(_decode(arguments[0], item) for item in plain)
    if origin is tuple:
        return tuple(_decode(arguments[0], item) for item in plain)
    if origin is not None and issubclass(origin, Mapping):
        return {_decode(arguments[0], key): _decode(arguments[1], item) for key, item in plain.items()}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _decode(hints[name], item) for name, item in plain.items()})  # type: ignore[operator]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(plain)
    return plain
