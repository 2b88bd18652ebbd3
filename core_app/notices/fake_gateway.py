"""A message gateway for the stand and for tests: it lies outside our machines. Its book is a file."""

import re
from dataclasses import dataclass
from pathlib import Path

from core_app.notices.fake_book import read_lines, write_line
from core_app.notices.gateway import Delivery, Message

MEDIA = frozenset({"app", "sms", "letter"})
_MOBILE = re.compile(r"1[3-9][0-9]{9}")


@dataclass(slots=True)
class FakeMessageGateway:
    """Delivers into a file, one line a message, on disk before it answers; breaks down on demand.

    The file holds numbers, media and texts, no address. `lose`: it delivers and does not answer; `down`:
    neither.
    """

    book: Path
    down: bool = False
    lose: bool = False

    async def send(self, message: Message) -> Delivery:
        """Deliver, unless its number stands in the book."""
        if self.down:
            return Delivery.UNKNOWN
        known = self.delivered().get(message.number)
        if known is not None:
            return Delivery(known["fate"])
        right = message.medium in MEDIA and (message.medium != "sms" or _MOBILE.fullmatch(message.address))
        fate = Delivery.DELIVERED if right else Delivery.REFUSED
        line = {"number": message.number, "medium": message.medium, "text": message.text, "fate": str(fate)}
        write_line(self.book, line)
        return Delivery.UNKNOWN if self.lose else fate

    def delivered(self) -> dict[str, dict[str, str]]:
        """Return what stands in the book, by number; AssertionError when a number stands there twice."""
        return read_lines(self.book)
