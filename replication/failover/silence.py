"""How long an agent has been silent, counted only over etcd reads that succeeded. No I/O, no clock."""

from replication.failover.states import Seen
from replication.model import Beat, CopyId


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


class Hearing:
    """For how long each key has shown nothing new, in time that consecutive successful reads cover.

    Time between two reads counts only up to a cap: while etcd itself did not answer, nothing is known
    about the agents, so an etcd hiccup never looks like a death.
    """

    def __init__(self, now_ms: int) -> None:
        self._read_ms = now_ms
        self._covered_ms = 0
        self._last: dict[str, tuple[str, int]] = {}
        """By key: which agent spoke last, and its count."""
        self._heard_ms: dict[str, int] = {}
        """By key: the covered time when that was new."""

    def read(self, now_ms: int, cap_ms: int) -> None:
        """Note a successful read at `now_ms` (monotonic)."""
        self._covered_ms += min(now_ms - self._read_ms, cap_ms)
        self._read_ms = now_ms

    def hear(self, key: str, beat: Beat | None) -> None:
        """Note what the read showed there; a key that vanished with its lease (None) says nothing new."""
        if beat is not None and self._last.get(key) != (said := (beat.agent, beat.count)):
            self._last[key] = said
            self._heard_ms[key] = self._covered_ms

    def silent_for_ms(self, key: str) -> int:
        """Return for how long the key has shown nothing new; all that was covered if it was never heard."""
        return self._covered_ms - self._heard_ms.get(key, 0)
