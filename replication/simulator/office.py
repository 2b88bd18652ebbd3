"""The rule that a dead primary does not stay in office, checked now and then against what the model knows.

A primary counts as dead when its own agent has ended or stands still, whatever others at its site do. It
bites only while nothing else is wrong that may hold up its sync copy.
"""

from replication.model import CopyId, Grant, Mode
from replication.simulator.agents import SimAgent
from replication.simulator.copies import SimCopy
from replication.simulator.etcd import MEMBERS, SimEtcd
from replication.simulator.invariants import Rules, Violation

OFFICE_MS = 1200
"""So long may it take: a promise to wait, the silence, a probe and a few lost requests; under the watchdog's
patience, whose end of the server would take a wrong sign of life away."""
QUIET_NOISE = 0.011


class Office:
    """Watches one schedule."""

    def __init__(self, etcd: SimEtcd, rules: Rules, agents: dict[str, SimAgent]) -> None:
        self._etcd = etcd
        self._rules = rules
        self._agents = agents
        self._grant: Grant | None = None
        self._since_ms = 0

    def check(self, now_ms: int) -> None:
        """Look; `Violation` when a dead primary has been in office too long."""
        grant = self._rules.grant
        if grant is None or grant != self._grant or not self._is_due(grant):
            self._grant, self._since_ms = grant, now_ms
        elif now_ms - self._since_ms > OFFICE_MS:
            raise Violation("office", f"{grant.primary} is dead for {now_ms - self._since_ms} ms: {grant}")

    def _is_due(self, grant: Grant) -> bool:
        """Say whether the primary is dead and a sync copy has all it needs to take over."""
        etcd, noise = self._etcd, self._etcd.noise
        if grant.mode is not Mode.SYNC or self._agents[grant.primary.place].works:
            return False
        quiet = max(noise.lost_answer, noise.late, noise.lost_request) < QUIET_NOISE
        whole = len(etcd.up) == len(MEMBERS) and not etcd.links.touched
        return quiet and whole and any(self._may_take(member) for member in grant.sync_set)

    def _may_take(self, member: CopyId) -> bool:
        copy, agent = self._rules.copy_of(member), self._agents[member.place]
        return copy is not None and agent.works and not agent.old and _is_fit(copy)


def _is_fit(copy: SimCopy) -> bool:
    stalls = copy.shelf.stalled_ms or copy.disk_full or copy.disk_hangs_since_ms is not None
    return copy.running and copy.standby_signal and not (copy.mute or copy.broken or copy.stopping or stalls)
