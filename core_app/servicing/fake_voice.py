"""A voice robot for the stand and for tests: it lies outside our machines. Its book is a file."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from core_app.notices.fake_book import read_lines, write_line
from core_app.servicing.voice import Call, Called

_MOBILE = re.compile(r"1[3-9][0-9]{9}")


@dataclass(slots=True)
class FakeVoiceRobot:
    """Calls into a file, one line a call, on disk before it answers; breaks down on demand.

    The file holds numbers of calls, words and outcomes, no phone. Who is in `silent` does not answer; `lose`:
    it calls and does not tell; `down`: neither.
    """

    book: Path
    silent: frozenset[str] = field(default=frozenset(), repr=False)
    down: bool = False
    lose: bool = False

    async def call(self, call: Call) -> Called:
        """Call, unless its number stands in the book."""
        if self.down:
            return Called.UNKNOWN
        known = self.placed().get(call.number)
        if known is not None:
            return Called(known["fate"])
        fate = Called.NO_ANSWER if call.phone in self.silent else Called.ANSWERED
        if not _MOBILE.fullmatch(call.phone):
            fate = Called.REFUSED
        line = {"number": call.number, "words": call.words, "fate": str(fate)}
        write_line(self.book, line)
        return Called.UNKNOWN if self.lose else fate

    def placed(self) -> dict[str, dict[str, str]]:
        """Return what stands in the book, by number; AssertionError when a number stands there twice."""
        return read_lines(self.book)
