"""What has to hold for a chunk to move; `read_ground` asks both cells.

What is refused here is refused before anything changed, in words that say what stands in the way.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from core_app.directory import CHUNKS, Directory, Moving
from core_app.errors import CoreError
from core_app.moving.statements import Connection, DayOf, read_ground_rows
from core_app.slots import CHUNK_SLOTS


class MoveRefused(CoreError):
    """The chunk cannot move now, and nothing was changed; the message says why."""


def read_chunks(slots: Sequence[int]) -> tuple[int, ...]:
    """Return the chunks that slots make up; MoveRefused when they do not make up whole ones.

    >>> read_chunks([7, 4, 5, 6])
    (1,)
    """
    wanted = set(slots)
    chunks = sorted({slot // CHUNK_SLOTS for slot in wanted})
    for chunk in chunks:
        whole = range(chunk * CHUNK_SLOTS, (chunk + 1) * CHUNK_SLOTS)
        if missing := [slot for slot in whole if slot not in wanted]:
            raise MoveRefused(
                f"slots {whole[0]}-{whole[-1]} share a business date and day-end's entries, so they move"
                f" together: name {', '.join(map(str, missing))} too"
            )
    return tuple(chunks)


def check_move(directory: Directory, cells: Sequence[str], chunk: int, target: str) -> None:
    """Raise MoveRefused unless the directory lets the chunk go to `target`."""
    if target not in cells:
        raise MoveRefused(f"no cell {target!r}; there are: {', '.join(cells)}")
    if not 0 <= chunk < CHUNKS:
        raise MoveRefused(f"chunk {chunk}: there are 0 to {CHUNKS - 1}")
    if chunk == 0:
        raise MoveRefused("slots 0-3 also number what is of no customer (posts of public opinion): they stay")
    if CHUNKS % len(directory.dealt):
        raise MoveRefused(f"{len(directory.dealt)} cells do not hold whole chunks: none can move")
    if directory.moving is not None:
        moving = directory.moving
        raise MoveRefused(
            f"chunk {moving.chunk} is on its way from {moving.source} to {moving.target} since {moving.at}:"
            " finish it (the same move again) or undo it (`biyi slot abort`) first"
        )


def check_day(moving: Moving, source: DayOf, target: DayOf) -> None:
    """Raise MoveRefused unless both cells are on one day of which no evening has been looked at."""
    if source.date != target.date:
        raise MoveRefused(
            f"cell {moving.source} is on {_word(source.date)} and {moving.target} on {_word(target.date)}:"
            " let day-end bring both to one day first"
        )
    for cell, day in ((moving.source, source), (moving.target, target)):
        if day.begun:
            raise MoveRefused(
                f"the day-end of {_word(day.date)} has begun in cell {cell}: move when it is over"
            )


def _word(date: dt.date | None) -> str:
    return "the calendar's day" if date is None else date.isoformat()


@dataclass(frozen=True, slots=True)
class Ground:
    """What both cells are asked first: products, key versions closed to rows, the chunk's joint loans."""

    products: frozenset[tuple[str, int, str]]
    closed: frozenset[tuple[str, int]]
    joint: int


async def read_ground(source: Connection, target: Connection, moving: Moving) -> tuple[Ground, Ground]:
    """Ask both cells and judge what they say; MoveRefused when something stands in the way."""
    ours, theirs = [Ground(*await read_ground_rows(one, moving.chunk)) for one in (source, target)]
    if missing := sorted(ours.products - theirs.products):
        product, version, _ = missing[0]
        raise MoveRefused(
            f"cell {moving.target} has no version {version} of {product}: publish it there first"
        )
    if ours.closed != theirs.closed:
        raise MoveRefused("a key rotation is under way: move when `biyi keys status` says it is over")
    if ours.joint:
        raise MoveRefused(
            f"{ours.joint} loans of the chunk have other funders: quotas and settlements are dealt and kept"
            " cell by cell, so they cannot move"
        )
    return ours, theirs
