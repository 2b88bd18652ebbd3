"""Slots and cells: where a customer lives. Pure.

A customer's slot is a keyed hash, so the spread is even and tells nothing; slots are dealt to cells
evenly in order. A customer never straddles cells.
"""

from collections.abc import Sequence

from compliance.protection.index import compute_hmac_sm3

SLOTS = 1024


def compute_slot(slot_key: bytes, customer_id: str) -> int:
    """Return the slot of a customer, 0 to 1023."""
    return int.from_bytes(compute_hmac_sm3(slot_key, customer_id.encode())[:8], "big") % SLOTS


def cell_of_slot(slot: int, cells: Sequence[str]) -> str:
    """Return the cell that holds `slot`.

    >>> cell_of_slot(511, ("a", "b")), cell_of_slot(512, ("a", "b"))
    ('a', 'b')
    """
    return cells[slot * len(cells) // SLOTS]
