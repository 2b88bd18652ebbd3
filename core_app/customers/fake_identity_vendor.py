"""Identity vendors for the stand and for tests: they lie outside our machines."""

import asyncio
import uuid
from dataclasses import dataclass, field

from core_app.customers.identity_vendor import Check, IdentityQuestion, VendorUnavailable, Verdict


@dataclass(slots=True)
class FakeIdentityVendor:
    """Passes everybody but the ID numbers in `failing`; can be slow or down."""

    name: str
    checks: frozenset[Check] = frozenset(Check)
    failing: set[str] = field(default_factory=set, repr=False)
    delay_ms: int = 0
    down: bool = False
    asked: int = 0

    async def check(self, question: IdentityQuestion) -> Verdict:
        """Answer after `delay_ms`; VendorUnavailable while `down` or for a check that it does not make."""
        self.asked += 1
        await asyncio.sleep(self.delay_ms / 1000)
        if self.down or question.check not in self.checks:
            raise VendorUnavailable("down" if self.down else f"does not make {question.check}")
        return Verdict(question.id_number not in self.failing, f"{self.name}-{uuid.uuid4().hex}")
