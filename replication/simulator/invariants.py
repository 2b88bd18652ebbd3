"""The rules of the failover protocol, checked after every step against what the model knows to be true.

I1 to I6 are those of the design; `block` says that a cell which never writes alone acknowledges nothing
without a sync copy, `history` that no copy ever receives another history as its own and that no two
promotions share a timeline, `heard` that nobody is taken over for silence whose own agent was heard, `office`
(`office.py`) that whose own agent is dead is taken over, whoever else at its site lives, `liveness` that
everything is whole again some time after the last fault, `total` that no round fails in an unforeseen way.
"""

from dataclasses import dataclass
from typing import Protocol

from replication.failover.states import Decision, Seen, Step, Why
from replication.model import CopyId, Grant, GrantSeen, Mode
from replication.simulator.copies import SimCopy

RULES = ("I1", "I2", "I3", "I4", "I5", "I6", "block", "history", "heard", "office", "liveness", "total")

_FOR_SILENCE = (Why.PRIMARY_SITE_SILENT, Why.PRIMARY_AGENT_SILENT)
_AGAINST_PROMISE = (*_FOR_SILENCE, Why.PROMISED_TO_WAIT)


@dataclass(frozen=True, slots=True)
class Forced:
    """A promotion at a loss that an operator accepted."""

    epoch: int
    old_primary: CopyId


class Violation(Exception):
    """A rule does not hold; the schedule ends here."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text


class AgentTruth(Protocol):
    """What is true about an agent, whatever it believes."""

    @property
    def confirmed_ms(self) -> int:
        """When the read was sent, or the swap answered, that last told it about the grant."""

    @property
    def works(self) -> bool:
        """Whether the process runs and is not stopped."""

    promised_until_ms: int
    """Until when it said, in this life, that it takes nothing over."""

    @property
    def peer_promised_until_ms(self) -> int:
        """Until when the agents of all the cell's other copies said so to this one."""

    def heard_ms(self, copy: CopyId) -> int | None:
        """When the newest beat that it has read, by the agent of `copy`, reached etcd."""

    def believes(self) -> Grant | None:
        """The grant as it last read it."""


class Rules:
    """Checks one schedule of one cell."""

    def __init__(self, fence_after_ms: int, look_ms: int, silence_ms: int, *, block: bool = False) -> None:
        self.copies: dict[str, SimCopy] = {}
        self.agents: dict[str, AgentTruth] = {}
        """By place."""
        self.grant: Grant | None = None
        self.born = False
        """Whether this etcd ever had a grant of the cell."""
        self.acked: dict[int, int] = {}
        """Position of each record that a client was told is done."""
        self.asked: set[int] = set()
        """Revisions of the grant under which an operator accepted a loss."""
        self.forced: Forced | None = None
        self.forgiven: set[int] = set()
        """Acknowledged records that a forced promotion may lose."""
        self._told_of_force: dict[str, int] = {}
        """By place: when its loop first decided knowing of the last forced promotion."""
        self.lost: set[CopyId] = set()
        """Copies whose disk is gone."""
        self.transitions: set[tuple[str, str]] = set()
        self._decided_under: dict[str, Grant | None] = {}
        """By place: what the last decision had read."""
        self._granted: dict[CopyId, Grant] = {}
        """By copy: the last grant that named it primary."""
        self._candidates: set[CopyId] = set()
        self._block = block
        self._timelines: dict[int, CopyId | None] = {}
        """By timeline: who was promoted onto it."""
        self._look_ms = look_ms
        self._looks_again: dict[str, int] = {}
        """By place: when it began to wait for one more look, unconfirmed."""
        self._fence_after_ms = fence_after_ms
        self._silence_ms = silence_ms

    def copy_of(self, copy_id: CopyId | None) -> SimCopy | None:
        """Return where the copy stands, if its directory is still there."""
        found = self.copies.get(copy_id.place) if copy_id else None
        return found if found is not None and found.copy == copy_id else None

    def acknowledged(self, copy: SimCopy, record: int, position: int) -> None:
        """I1: it is on disk wherever the grant says; I4: a late answer is in the newer history."""
        grant = self.grant
        if self._block and not (
            copy.names and (grant is None or grant.primary != copy.copy or grant.sync_set)
        ):
            raise Violation("block", f"{copy.copy} acknowledged {record} alone: {grant}")
        if grant is None:  # it was deleted: whatever is acknowledged meanwhile counts
            pass
        elif self._is_overruled(copy):
            self.forgiven.add(record)
            return
        elif copy.copy == grant.primary:
            for member in grant.sync_set - self.lost:
                if not _holds(self.copy_of(member), record, position):
                    raise Violation("I1", f"{copy.copy} acknowledged {record}, {member} lacks it: {grant}")
        elif grant.primary not in self.lost and not _holds(self.copy_of(grant.primary), record, position):
            raise Violation("I4", f"{copy.copy} acknowledged {record} after the fork to {grant.primary}")
        self.acked[record] = position

    def grant_changed(self, before: GrantSeen | None, after: GrantSeen) -> None:
        """I2, I6 for the next epoch, I4 for a new primary, I1 and I3 for the sync set."""
        old, new = before.grant if before else None, after.grant
        self.grant = new
        self._granted[new.primary] = new
        self.transitions.add((old.mode.value if old else "none", new.mode.value))
        if new.candidate is not None and new.mode is Mode.TAKING:
            self._candidates.add(new.candidate)
        if old is None:
            if self.born:
                raise Violation("I2", f"epoch {new.epoch} is granted a second time, to {new.primary}")
            self.born = True
            self._check_history(new.primary)
            return
        if new.epoch != old.epoch:
            if new.why == Why.FORCED_BY_OPERATOR and before is not None:
                self._check_forced(before, new)
            else:
                self._check_epoch(old, new)
        if new.primary != old.primary:
            if (old.mode, old.candidate, old.epoch) != (Mode.TAKING, new.primary, new.epoch):
                raise Violation("I2", f"{new.primary} granted itself what {old} does not give")
            self._check_history(new.primary)
        for member in new.sync_set - old.sync_set:
            self._check_member(member)
        self._check_names()

    def _check_epoch(self, old: Grant, new: Grant) -> None:
        candidate = new.candidate
        if new.epoch != old.epoch + 1 or new.mode is not Mode.TAKING or new.primary != old.primary:
            raise Violation("I2", f"epoch {old.epoch} became {new}")
        if old.mode is Mode.ALONE:
            raise Violation("I6", f"{candidate} takes a cell that was ALONE")
        if candidate != old.primary and candidate not in old.sync_set:
            raise Violation("I2", f"{candidate} takes epoch {new.epoch} from outside {sorted(old.sync_set)}")
        handed_over = old.mode is Mode.MOVING and new.by == str(old.primary) and candidate == old.candidate
        if new.by != str(candidate) and not handed_over:
            raise Violation("I2", f"{new.by} gave epoch {new.epoch} to {candidate}")
        if old.mode is Mode.TAKING and old.candidate in new.sync_set:
            raise Violation("I2", f"failed candidate {old.candidate} stays eligible in epoch {new.epoch}")

    def _check_forced(self, before: GrantSeen, new: Grant) -> None:
        """The one exception to I2 and I6: only as asked; what the candidate lacks now may be lost."""
        old, candidate = before.grant, new.candidate
        if before.revision not in self.asked:
            raise Violation(
                "I6", f"{candidate} is forced under revision {before.revision}, which nobody accepted"
            )
        if new.epoch != old.epoch + 1 or new.mode is not Mode.TAKING or new.primary != old.primary:
            raise Violation("I2", f"epoch {old.epoch} became {new}")
        if new.by != str(candidate) or candidate in (None, old.primary, old.candidate):
            raise Violation("I2", f"{new.by} forced {candidate} where {old}")
        taker = self.copy_of(candidate)
        lost = {record for record, position in self.acked.items() if not _holds(taker, record, position)}
        self.forgiven |= lost
        self.acked = {record: position for record, position in self.acked.items() if record not in lost}
        self.forced = Forced(new.epoch, old.primary)
        self._told_of_force.clear()

    def _is_overruled(self, copy: SimCopy) -> bool:
        """Say whether this is the old primary of a forced promotion whose agent has not yet ended it.

        An agent that crashed or stands still has a watchdog, which does it later.
        """
        forced, grant = self.forced, self.grant
        if forced is None or grant is None or copy.copy != forced.old_primary or _gives(grant, copy):
            return False
        if not self.agents[copy.place.name].works:
            self._told_of_force.pop(copy.place.name, None)  # its next life has yet to be told
        told_ms = self._told_of_force.get(copy.place.name)
        return told_ms is None or copy.shelf.engine.now - told_ms <= self._look_ms

    def _check_history(self, copy_id: CopyId) -> None:
        """I4: whatever any epoch acknowledged is in this copy's log."""
        copy = self.copy_of(copy_id)
        if copy is None:
            return
        for record, position in self.acked.items():
            if not _holds(copy, record, position):
                raise Violation("I4", f"{copy_id} becomes primary without acknowledged record {record}")

    def holds_all(self, copy: SimCopy) -> bool:
        """Say whether a copy has everything that was acknowledged."""
        return all(_holds(copy, record, position) for record, position in self.acked.items())

    def _check_member(self, member: CopyId) -> None:
        copy = self.copy_of(member)
        for record, position in self.acked.items():
            if copy is not None and not _holds(copy, record, position):
                raise Violation("I1", f"{member} joined the sync set without acknowledged record {record}")

    def _check_names(self) -> None:
        """I3: the open primary waits for everyone the grant calls in sync."""
        grant = self.grant
        copy = self.copy_of(grant.primary) if grant else None
        if grant and copy and copy.open and not grant.sync_set <= copy.names:
            missing = sorted(map(str, grant.sync_set - copy.names))
            raise Violation("I3", f"{copy.copy} does not wait for {missing} of the sync set")

    def names_changed(self, copy: SimCopy) -> None:
        """I3 again."""
        self._check_names()

    def admits(self, copy: SimCopy) -> None:
        """I5: clients come in only under a grant read since the start, with the end of WAL everywhere."""
        agent, grant = self.agents[copy.place.name], self.grant
        if not _gives(grant, copy):
            # Superseded this very moment: what its agent had read when it decided, or had swapped, counts.
            grant = self._decided_under.get(copy.place.name)
            if not _gives(grant, copy):
                grant = self._granted.get(copy.copy) if copy.copy else None
        if grant is None or not _gives(grant, copy):
            raise Violation("I5", f"{copy.copy} admits clients without a grant of its own")
        if agent.confirmed_ms < copy.started_ms:
            raise Violation("I5", f"{copy.copy} admits clients under a grant older than its server")
        end = copy.boot_end
        for member in grant.sync_set - self.lost:
            if not _holds(self.copy_of(member), copy.log[end - 1], end):
                raise Violation("I5", f"{copy.copy} admits clients, {member} lacks its end of WAL {end}")
        if self.grant and self.grant.primary == copy.copy:
            self._check_history(self.grant.primary)
        self._check_names()

    def promoting(self, copy: SimCopy) -> None:
        """I2: only whom a grant named candidate."""
        if copy.copy not in self._candidates:
            raise Violation("I2", f"{copy.copy} is promoted and was never a candidate")

    def promoted(self, copy: SimCopy) -> None:
        """Whoever compares histories compares timeline numbers first."""
        if copy.timeline in self._timelines:
            other = self._timelines[copy.timeline]
            raise Violation("history", f"{copy.copy} and {other} were both promoted onto {copy.timeline}")
        self._timelines[copy.timeline] = copy.copy

    def forked_stream(self, standby: SimCopy, upstream: SimCopy) -> None:
        """Two histories on one timeline must never meet."""
        raise Violation("history", f"{standby.copy} streams from {upstream.copy}, another history")

    def decided(self, copy: SimCopy, seen: Seen, decision: Decision, now_ms: int) -> None:
        """I5: an open server, superseded or unconfirmed for too long, is stopped, a look later at most."""
        place = copy.place.name
        self._decided_under[place] = seen.grant.grant if seen.grant else None
        agent = self.agents[place]
        if self.forced and seen.grant and seen.read_ok and seen.grant.grant.epoch >= self.forced.epoch:
            self._told_of_force.setdefault(place, now_ms)
        if decision.why is Why.FORCED_BY_OPERATOR:
            self._check_gone(seen.grant.grant.primary if seen.grant else None, now_ms)
        believed, looked = agent.believes(), decision.why not in (Why.ETCD_SILENT, Why.GRANT_UNCONFIRMED)
        serves = copy.open and copy.running and decision.step is not Step.STOP_HARD
        if serves and looked and believed and copy.copy not in (believed.primary, believed.candidate):
            raise Violation("I5", f"{copy.copy} is superseded by {believed.primary} and serves on")
        if decision.step is Step.TAKE and decision.why in _FOR_SILENCE and seen.grant:
            heard_ms = agent.heard_ms(seen.grant.grant.primary)
            if heard_ms is not None and now_ms - heard_ms < self._silence_ms:
                text = f"{copy.copy} takes over from {seen.grant.grant.primary}"
                raise Violation("heard", f"{text}, whose agent was heard {now_ms - heard_ms} ms ago")
        age_ms, promised_ms = now_ms - agent.confirmed_ms, agent.promised_until_ms - now_ms
        if decision.step is Step.TAKE and decision.why in _AGAINST_PROMISE and promised_ms > 0:
            raise Violation("I5", f"{copy.copy} takes over {promised_ms} ms before its promise ends")
        if decision.why is Why.KEPT_BY_PEER and not self._may_be_kept(copy, agent, now_ms):
            raise Violation("I5", f"{copy.copy} is kept without etcd, a promise or its sync copies")
        if decision.why is Why.KEPT_BY_PEER or not (
            copy.open and copy.running and age_ms >= self._fence_after_ms
        ):
            self._looks_again.pop(place, None)
        elif decision.step is not Step.STOP_HARD:
            since_ms = self._looks_again.setdefault(place, now_ms)
            if decision.step is not Step.HOLD or now_ms - since_ms > self._look_ms:
                raise Violation("I5", f"{copy.copy} unconfirmed for {age_ms} ms and decides {decision.step}")

    def _check_gone(self, primary: CopyId | None, now_ms: int) -> None:
        """I6: nobody is forced past a primary that serves, or that its agent or watchdog has yet to end."""
        copy = self.copy_of(primary)
        if copy is None or not (copy.running and copy.open):
            return
        agent = self.agents[copy.place.name]
        age_ms = now_ms - agent.confirmed_ms
        back = age_ms <= self._look_ms and now_ms - copy.started_ms <= self._fence_after_ms
        if not back and (age_ms < self._fence_after_ms or not agent.works):
            raise Violation("I6", f"a copy is forced past {primary}, which serves, confirmed {age_ms} ms ago")

    def _may_be_kept(self, copy: SimCopy, agent: AgentTruth, now_ms: int) -> bool:
        grant, since_ms = agent.believes(), now_ms - self._fence_after_ms
        heard = {f.name for f in copy.followers if f.replied_ms > since_ms}
        synced = grant is not None and grant.sync_set and grant.sync_set <= heard & copy.names
        return bool(synced) and now_ms < agent.peer_promised_until_ms

    def check_whole(self) -> None:
        """I4 at the end: the serving primary has everything that was ever acknowledged."""
        if self.grant:
            self._check_history(self.grant.primary)


def _gives(grant: Grant | None, copy: SimCopy) -> bool:
    return grant is not None and grant.primary == copy.copy and grant.mode is not Mode.TAKING


def _holds(copy: SimCopy | None, record: int, position: int) -> bool:
    return copy is not None and position <= len(copy.log) and copy.log[position - 1] == record
