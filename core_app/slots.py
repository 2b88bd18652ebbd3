"""Slots and cells: where a customer lives. Pure.

A customer's slot is a keyed hash, so the spread is even and tells nothing; slots are dealt to cells
evenly in order. A customer never straddles cells.
"""

from collections.abc import Iterable, Sequence

from compliance.protection.index import compute_hmac_sm3

SLOTS = 1024
CHUNK_SLOTS = 4
"""Slots whose customers share a business date and a lock. Source: our choice; of 20 million loans a
chunk has 80,000, which day-end looks at in one transaction."""


def compute_slot(slot_key: bytes, customer_id: str) -> int:
    """Return the slot of a customer, 0 to 1023."""
    return int.from_bytes(compute_hmac_sm3(slot_key, customer_id.encode())[:8], "big") % SLOTS


def cell_of_slot(slot: int, cells: Sequence[str]) -> str:
    """Return the cell that holds `slot`.

    >>> cell_of_slot(511, ("a", "b")), cell_of_slot(512, ("a", "b"))
    ('a', 'b')
    """
    return cells[slot * len(cells) // SLOTS]


def chunk_of_slot(slot: int) -> int:
    """Return the chunk of slots that `slot` is in.

    >>> chunk_of_slot(1023)
    255
    """
    return slot // CHUNK_SLOTS


def chunks_of_cell(cell: str, cells: Sequence[str]) -> range:
    """Return the chunks of a cell's slots; ValueError when cells do not hold whole chunks.

    >>> chunks_of_cell("b", ("a", "b"))
    range(128, 256)
    """
    chunks = SLOTS // CHUNK_SLOTS
    if chunks % len(cells):
        raise ValueError(f"{len(cells)} cells over {chunks} chunks: needs a number of cells that divides it")
    share = chunks // len(cells)
    place = cells.index(cell)
    return range(place * share, (place + 1) * share)


class Home(str):
    """The name of the cell that has certain chunks of slots, with the chunks that it was asked for.

    A transaction sent there is sent to wherever its chunks are when it begins (`core_app.router`), which may
    be another cell by then.
    """

    chunks: tuple[int, ...]

    def __new__(cls, cell: str, chunks: Iterable[int]) -> "Home":
        """Return the home of `chunks` in `cell`."""
        made = super().__new__(cls, cell)
        made.chunks = tuple(sorted(set(chunks)))
        return made


def join_homes(cells: Sequence[str]) -> str:
    """Return the one home of several things of one cell; its plain name when one of them has no home."""
    homes = [cell for cell in cells if isinstance(cell, Home)]
    if len(homes) < len(cells):
        return str(cells[0])
    return Home(str(cells[0]), (chunk for home in homes for chunk in home.chunks))


def name_chunk(chunk: int) -> str:
    """Return a chunk's slots, as operators name them.

    >>> name_chunk(128)
    '512-515'
    """
    return f"{chunk * CHUNK_SLOTS}-{chunk * CHUNK_SLOTS + CHUNK_SLOTS - 1}"
