"""A bureau for the stand and for tests: it lies outside our machines, so there is no real one to run."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core_app.decisions.bureau import BureauQuestion, BureauUnavailable

GOOD: Mapping[str, Any] = {"score": 720, "open_accounts": 2, "overdue_12m": 0, "inquiries_90d": 1}


@dataclass(slots=True)
class FakeBureau:
    """Answers `usual` about everybody but those in `reports` (by ID number); can be slow, down or wrong."""

    usual: Mapping[str, Any] = field(default_factory=lambda: dict(GOOD))
    reports: dict[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    delay_ms: int = 0
    down: bool = False
    inquiries: int = 0

    async def inquire(self, question: BureauQuestion) -> Mapping[str, Any]:
        """Answer after `delay_ms`; BureauUnavailable while `down` or without an authorisation."""
        self.inquiries += 1
        await asyncio.sleep(self.delay_ms / 1000)
        if self.down or not question.authorisation:
            raise BureauUnavailable("down" if self.down else "no authorisation")
        return self.reports.get(question.id_number, self.usual)
