"""How long an agent has been silent, counted only over etcd reads that succeeded. No I/O, no clock."""

from dataclasses import dataclass

from replication.failover.states import Seen
from replication.model import CopyId


def agent_silent_ms(seen: Seen, copy: CopyId) -> int:
    """Return for how long the agent that looks after `copy` has said nothing new; 0 for an own copy.

    Of a place that the settings do not know, its site stands for it.
    """
    own_ms = seen.agent_silent_for_ms.get(copy.place)
    if own_ms is not None:
        return own_ms
    return 0 if copy.site is seen.own.site else seen.silent_for_ms.get(copy.site, 0)


def agent_answered(seen: Seen, copy: CopyId) -> bool | None:
    """Return what the agent that looks after `copy` answered of late; None: not asked, or an own copy."""
    if copy.place in seen.agent_answered:
        return seen.agent_answered[copy.place]
    return None if copy.site is seen.own.site else seen.probe_answered


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
