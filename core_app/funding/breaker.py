"""When a channel is left alone, and when it is tried again: closed, open, half-open. Pure.

Not a library's: those (pybreaker, purgatory, aiobreaker) wrap a call, and half-open they let a real call
through to see what happens. Here the choice of a channel is written down before anything is called, and a
payout is nobody's test: half-open sends a question (`query`), never an order.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """Failures in a row that open it, and the pause between two questions while it is open."""

    failures: int
    probe_every_s: float


@dataclass(frozen=True, slots=True)
class Breaker:
    """One channel as one process sees it; `probe_at_s` is monotonic, None while it is closed."""

    failures: int = 0
    probe_at_s: float | None = None

    @property
    def is_closed(self) -> bool:
        """Whether orders may go to the channel."""
        return self.probe_at_s is None

    def wants_probe(self, now_s: float) -> bool:
        """Whether the channel is to be asked something now."""
        return self.probe_at_s is not None and now_s >= self.probe_at_s

    def failed(self, rule: BreakerRule, now_s: float) -> "Breaker":
        """Return the breaker after a call or question without an answer."""
        failures = self.failures + 1
        opens = failures >= rule.failures or not self.is_closed
        return Breaker(failures, now_s + rule.probe_every_s if opens else None)

    def answered(self) -> "Breaker":
        """Return the breaker after any answer: it is closed."""
        return Breaker()
