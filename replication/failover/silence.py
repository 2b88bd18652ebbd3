"""How long a site has been silent, counted only over etcd reads that succeeded. No I/O, no clock."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Silence:
    """Time for which consecutive successful reads showed the same beat.

    Time between two reads counts only up to `cap_ms`: while etcd itself did not answer, nothing is
    known about the site, so an etcd hiccup never looks like a death.
    """

    beat: str | None
    silent_for_ms: int
    last_read_ms: int

    def after_read(self, beat: str | None, now_ms: int, cap_ms: int) -> "Silence":
        """Return the state after one more successful read at `now_ms` (monotonic).

        A key that vanished with its lease (None) is the old beat still: nothing new was heard.
        """
        if beat is not None and beat != self.beat:
            return Silence(beat, 0, now_ms)
        step_ms = min(now_ms - self.last_read_ms, cap_ms)
        return Silence(self.beat, self.silent_for_ms + step_ms, now_ms)
