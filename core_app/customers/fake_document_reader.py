"""A reader of ID cards for the stand and for tests: it lies outside our machines."""

import asyncio
from dataclasses import dataclass, field

from core_app.customers.document_reader import DocumentUnreadable, IdCard, ReaderUnavailable


@dataclass(slots=True)
class FakeDocumentReader:
    """Knows the pictures in `cards`, by their number; can be slow or down."""

    cards: dict[str, IdCard] = field(default_factory=dict, repr=False)
    delay_ms: int = 0
    down: bool = False

    async def read_id_card(self, image: str) -> IdCard:
        """Answer after `delay_ms`; DocumentUnreadable for a number that is not there."""
        await asyncio.sleep(self.delay_ms / 1000)
        if self.down:
            raise ReaderUnavailable("down")
        if image not in self.cards:
            raise DocumentUnreadable("no such picture")
        return self.cards[image]
