"""A model of etcd: one linearizable register with revisions on three members; requests are lost or late.

An answer says what the register held when the request was applied. A swap whose answer is lost may
have been applied, may be applied seconds later, or never; the client learns only UNKNOWN.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from replication.etcd import EtcdUnavailable, Outcome
from replication.grants import COPIES, World
from replication.model import Beat, Grant, GrantSeen, Site
from replication.simulator.engine import Answer, Engine
from replication.simulator.links import Links
from replication.simulator.waits import answered

ATTEMPT_MS = 60
"""A client's patience with all members together; scaled like the limits in `schedule.py`."""
ELECTION_MS = 90
MEMBERS = (Site.IDC, Site.CLOUD, Site.WITNESS)
_NONE: frozenset[str] = frozenset()


@dataclass(slots=True)
class Noise:
    """How often something happens to a request, as a share; changed by faults, zero after healing."""

    lost_answer: float = 0.0
    late: float = 0.0
    late_ms: int = 1500
    lost_request: float = 0.0


@dataclass(slots=True)
class SimEtcd:
    """The register and its members."""

    engine: Engine
    links: Links
    rnd: Random
    on_change: Callable[[GrantSeen | None, GrantSeen], None]
    grant: GrantSeen | None = None
    born: bool = False
    """Whether the key is there that is written with the first grant."""
    life: int = 0
    """Requests to an etcd that was made anew since are gone."""
    beats: dict[Site, tuple[Beat, int]] = field(default_factory=dict)
    copies: dict[str, tuple[Beat, int]] = field(default_factory=dict)
    applied_ms: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """When each beat reached the register: by key, agent and count."""
    hold: bool = False
    noise: Noise = field(default_factory=Noise)
    up: set[Site] = field(default_factory=lambda: set(MEMBERS))
    leader: Site | None = Site.WITNESS
    electing_until_ms: int = 0
    revision: int = 1

    def _serving_leader(self, *, whole: bool) -> Site | None:
        """Return the leader if it has a majority now; start an election when it has none."""
        if self.leader is not None and (whole or self._majority(self.leader)):
            return self.leader if self.engine.now >= self.electing_until_ms else None
        fit = [member for member in (Site.WITNESS, Site.CLOUD, Site.IDC) if self._majority(member)]
        self.leader = fit[0] if fit else None
        self.electing_until_ms = self.engine.now + ELECTION_MS
        return None

    def _whole(self) -> bool:
        return len(self.up) == len(MEMBERS) and not self.links.touched

    def _majority(self, member: Site) -> bool:
        if member not in self.up:
            return False
        return sum(self.links.connected(member, other) for other in self.up) * 2 > len(MEMBERS)

    def reaches(self, client: Site) -> bool:
        """Say whether a client's request, and its answer, find a way through some member now."""
        whole = self._whole()
        leader = self._serving_leader(whole=whole)
        if leader is None:
            return False
        if whole:
            return True
        return any(
            self.links.connected(client, member) and self.links.connected(member, leader)
            for member in self.up
        )

    def apply_swap(self, grant: Grant, mod_revision: int, *, once: bool) -> Outcome:
        """Apply a swap that arrived."""
        found = self.grant.revision if self.grant else 0
        if found != mod_revision or (once and self.born):
            return Outcome.REFUSED
        before = self.grant
        self.born |= once
        self.revision += 1
        self.grant = GrantSeen(grant, self.revision)
        self.on_change(before, self.grant)
        return Outcome.DONE

    def world(self, cell: str) -> World:
        """Return what a linearizable read applied now shows."""
        now = self.engine.now
        beats = {site: beat for site, (beat, until_ms) in self.beats.items() if now <= until_ms}
        copies = {place: beat for place, (beat, until_ms) in self.copies.items() if now <= until_ms}
        grants = {cell: self.grant} if self.grant else {}
        born = frozenset([cell]) if self.born else _NONE
        return World(grants, beats, self.hold, copies=copies, born=born)


class EtcdClient:
    """One agent's client."""

    def __init__(self, etcd: SimEtcd, site: Site, cell: str) -> None:
        self._etcd = etcd
        self._site = site
        self._cell = cell

    async def read_world(self) -> World:
        """Read linearizably; EtcdUnavailable when no member serves it in time."""
        etcd, answer, way_ms = self._etcd, Answer(), self._way_ms()
        etcd.engine.at(way_ms, self._serve_read, answer, ATTEMPT_MS - way_ms)
        world = await answered(answer)
        if world is None:
            raise EtcdUnavailable("no member")
        return world  # type: ignore[no-any-return]

    def _serve_read(self, answer: Answer, patience_ms: int) -> None:
        etcd = self._etcd
        if etcd.rnd.random() < etcd.noise.lost_request or not etcd.reaches(self._site):
            etcd.engine.at(patience_ms, answer.arrive, None)
        else:
            etcd.engine.at(self._way_ms(), answer.arrive, etcd.world(self._cell))

    async def ask_swap(self, value: str, mod_revision: int, *, once: bool) -> Outcome:
        """Swap the grant; UNKNOWN when the answer is lost, whatever became of it."""
        etcd, answer, noise = self._etcd, Answer(), self._etcd.noise
        grant = Grant.from_json(value)
        if all(etcd.links.refused(self._site, member) for member in MEMBERS if member is not self._site) and (
            self._site not in etcd.up
        ):
            return Outcome.REFUSED
        chance = etcd.rnd.random()
        delay_ms = self._way_ms()
        if chance < noise.late:
            delay_ms = ATTEMPT_MS + int(etcd.rnd.random() * noise.late_ms)
        elif chance < noise.late + noise.lost_request:
            delay_ms = -1
        if delay_ms >= 0:
            asked = (grant, mod_revision, once, etcd.life)
            etcd.engine.at(delay_ms, self._serve_swap, asked, answer)
        etcd.engine.at(ATTEMPT_MS, answer.give, Outcome.UNKNOWN)
        return await answered(answer)  # type: ignore[no-any-return]

    def _serve_swap(self, asked: tuple[Grant, int, bool, int], answer: Answer) -> None:
        etcd = self._etcd
        grant, mod_revision, once, life = asked
        leader = etcd._serving_leader(whole=etcd._whole())
        arrived = leader is not None and any(
            etcd.links.delay_ms(self._site, member) is not None and etcd.links.connected(member, leader)
            for member in MEMBERS  # in one order: each delay is a throw of the dice
            if member in etcd.up
        )
        if not arrived or life != etcd.life:
            return
        outcome = etcd.apply_swap(grant, mod_revision, once=once)
        if etcd.rnd.random() >= etcd.noise.lost_answer and etcd.reaches(self._site):
            etcd.engine.at(self._way_ms(), answer.give, outcome)

    def put_beat(self, key: str, beat: Beat, lease_ms: int) -> None:
        """Send a beat; whether it arrives is not told."""
        self._etcd.engine.at(self._way_ms(), self._serve_beat, key, beat, lease_ms)

    def _serve_beat(self, key: str, beat: Beat, lease_ms: int) -> None:
        etcd = self._etcd
        if etcd.rnd.random() < etcd.noise.lost_request or not etcd.reaches(self._site):
            return
        held = (beat, etcd.engine.now + lease_ms)
        etcd.applied_ms[key, beat.agent, beat.count] = etcd.engine.now
        if key.startswith(COPIES):
            etcd.copies[key.removeprefix(COPIES)] = held
        else:
            etcd.beats[beat.site] = held

    def _way_ms(self) -> int:
        return 1 + int(self._etcd.rnd.random() * 6)
