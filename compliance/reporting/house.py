"""What making a filing reads from and writes to."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.reporting.catalogue import Tables
from compliance.reporting.snapshot import Connect

Tell = Callable[[str, int, int], None]
Persons = Callable[[str, Sequence[str]], Awaitable[Mapping[str, Mapping[str, str]]]]
"""Gives name and id_number of a cell's customers, opened for the bureau's records only."""


@dataclass(frozen=True, slots=True)
class House:
    """What a run reads from and writes to."""

    cells: tuple[str, ...]
    connect: Connect
    persons: Persons
    tables: Tables
    out: Path
    tell: Tell = lambda *_: None


def open_private(path: Path) -> Any:
    """Open a file anew that only its owner may read: it may hold persons."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    return path.open("wb")


def write_private(path: Path, text: str) -> None:
    """Write such a file at once."""
    with open_private(path) as stream:
        stream.write(text.encode())
