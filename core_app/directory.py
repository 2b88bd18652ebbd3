"""Which cell has which slots, as everyone is told: one record in etcd, changed by compare-and-swap. Pure.

Slots move in chunks, the slots that share a business date and a day-end (`core_app.slots`). The record says
where to send; whether a cell may act for a chunk is said by that cell's own row (`core.require_place`), so a
process with an old record is sent on, never wrong.
"""

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from core_app.slots import CHUNK_SLOTS, SLOTS, cell_of_slot, chunk_of_slot, chunks_of_cell

KEY = "/biyi/slots"
"""Where the record lies in etcd; none: as dealt."""
CHUNKS = SLOTS // CHUNK_SLOTS


class BadDirectory(ValueError):
    """The record is none of ours; the message says what was found."""


class Phase(enum.StrEnum):
    """How far a move has come, as everyone is told."""

    COPYING = "copying"
    """Decided on, journalled; the chunk is the source's until the target has committed it as its own."""
    ARRIVED = "arrived"
    """The target has it and routers go there; the source's rows are still to be taken away."""


@dataclass(frozen=True, slots=True)
class Moving:
    """The one move under way: of which chunk, from where to where, under which number, by whom, since when.

    `at` is ISO 8601.
    """

    chunk: int
    source: str
    target: str
    epoch: int
    phase: Phase
    by: str
    at: str


@dataclass(frozen=True, slots=True)
class Directory:
    """`dealt` are the cells that all chunks were dealt to; `moved` where those are that ever moved.

    `epochs` counts each chunk's moves, tried ones too: what was begun under an older number is void.
    """

    dealt: tuple[str, ...]
    moved: Mapping[int, str] = field(default_factory=dict)
    epochs: Mapping[int, int] = field(default_factory=dict)
    moving: Moving | None = None

    def cell_of_slot(self, slot: int) -> str:
        """Return the cell that has a slot."""
        return self.moved.get(chunk_of_slot(slot)) or cell_of_slot(slot, self.dealt)

    def cell_of_chunk(self, chunk: int) -> str:
        """Return the cell that has a chunk."""
        return self.cell_of_slot(chunk * CHUNK_SLOTS)

    def chunks_of_cell(self, cell: str) -> tuple[int, ...]:
        """Return a cell's chunks, rising; ValueError where cells do not hold whole chunks."""
        own = chunks_of_cell(cell, self.dealt) if cell in self.dealt else ()
        came = {chunk for chunk, now in self.moved.items() if now == cell}
        return tuple(sorted(came.union(chunk for chunk in own if chunk not in self.moved)))

    def begin(self, moving: Moving) -> "Directory":
        """Return the record that announces a move, under the chunk's next number."""
        return replace(self, moving=moving, epochs={**self.epochs, moving.chunk: moving.epoch})

    def arrive(self, moving: Moving) -> "Directory":
        """Return the record that sends everyone to the target."""
        there = {**self.moved, moving.chunk: moving.target}
        return replace(self, moved=there, moving=replace(moving, phase=Phase.ARRIVED))

    def end(self) -> "Directory":
        """Return the record without a move under way."""
        return replace(self, moving=None)

    def to_json(self) -> str:
        """Return the stored form."""
        return json.dumps(asdict(self), sort_keys=True)


def deal(cells: Sequence[str]) -> Directory:
    """Return the directory as it is before anything moved."""
    return Directory(tuple(cells))


def read_directory(text: str | None, cells: Sequence[str]) -> Directory:
    """Read the stored form; None is a directory as dealt to `cells`. BadDirectory when it is none of ours."""
    if text is None:
        return deal(cells)
    try:
        plain: dict[str, Any] = json.loads(text)
        moving = plain["moving"]
        return Directory(
            tuple(plain["dealt"]),
            {int(chunk): str(cell) for chunk, cell in plain["moved"].items()},
            {int(chunk): int(epoch) for chunk, epoch in plain["epochs"].items()},
            None if moving is None else Moving(**{**moving, "phase": Phase(moving["phase"])}),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadDirectory(f"{KEY}: {type(error).__name__}: {error}") from error
