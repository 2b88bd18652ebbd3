"""Outside sources for the stand and for tests: they lie outside our machines."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core_app.decisions.outside_source import SourceQuestion, SourceUnavailable


@dataclass(slots=True)
class FakeOutsideSource:
    """Answers `usual` about everybody but those in `known` (by ID number); can be slow, down or wrong."""

    id: str
    usual: Mapping[str, Any] = field(default_factory=dict)
    known: dict[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    delay_ms: int = 0
    down: bool = False
    asked: int = 0

    async def fetch(self, question: SourceQuestion) -> Mapping[str, Any]:
        """Answer after `delay_ms`; SourceUnavailable while `down` or without a consent."""
        self.asked += 1
        await asyncio.sleep(self.delay_ms / 1000)
        if self.down or not question.consent:
            raise SourceUnavailable("down" if self.down else "no consent")
        return self.known.get(question.id_number, self.usual)
