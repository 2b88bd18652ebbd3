"""The port to whoever reads pictures of ID cards (OCR). Values and a Protocol.

What every reader has to promise (its contract test asks for each): it is asked by the number of a picture
that the channel brought to it, never by the picture; the same number gives the same fields; a number it
does not know, or a picture it cannot read, is DocumentUnreadable; what it cannot say now is
ReaderUnavailable. What is read is checked as if it had been typed, and is never answered: who holds a
picture's number learns no name by it.
"""

from dataclasses import dataclass, field
from typing import Protocol


class DocumentUnreadable(Exception):
    """No such picture, or nothing that can be read on it."""


class ReaderUnavailable(Exception):
    """The reader could not be reached or said that it cannot answer now."""


@dataclass(frozen=True, slots=True)
class IdCard:
    """What stands on an ID card, in clear, for as long as one request."""

    name: str = field(repr=False)
    id_number: str = field(repr=False)


class DocumentReader(Protocol):
    """One vendor of OCR."""

    async def read_id_card(self, image: str) -> IdCard:
        """Read the picture of that number."""
