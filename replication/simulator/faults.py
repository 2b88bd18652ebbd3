"""Faults as data: drawn from a seed, applied to the model, undone after a while."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from replication.failover.states import ForceAsked
from replication.model import Mode, Site, other_data_site
from replication.simulator.agents import SimAgent
from replication.simulator.copies import Shelf, SimCopy
from replication.simulator.etcd import MEMBERS, SimEtcd
from replication.simulator.invariants import Rules
from replication.simulator.links import Line

FIRST_MS, LAST_MS = 100, 2200
"""Faults begin between these; all are undone at `schedule.HEAL_MS`."""


class Kind(enum.StrEnum):
    """What goes wrong."""

    SITE_CRASH = "site_crash"
    AGENT_CRASH = "agent_crash"
    AGENT_CRASH_AT = "agent_crash_at"
    AGENT_STOP = "agent_stop"
    AGENT_PAUSE = "agent_pause"
    SERVER_CRASH = "server_crash"
    SERVER_MUTE = "server_mute"
    LINE = "line"
    SPLIT = "split"
    ISOLATE = "isolate"
    MEMBER_DOWN = "member_down"
    QUORUM_LOSS = "quorum_loss"
    ETCD_NOISE = "etcd_noise"
    DISK_STALL = "disk_stall"
    DISK_HANG = "disk_hang"
    DISK_FULL = "disk_full"
    DISK_LOSS = "disk_loss"
    MOVE = "move"
    HOLD = "hold"
    GRANT_GONE = "grant_gone"
    POD_LOSS = "pod_loss"
    """The agent and the server of one place end; when `number` is odd their peers hear nothing of it."""
    FORCE = "force"
    """An operator accepts a loss at this place: again and again, or once only when `number` is odd."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: when, what, where, how long (virtual milliseconds)."""

    at_ms: int
    kind: Kind
    site: Site
    place: str
    for_ms: int
    line: Line = Line.HOLE
    number: int = 0

    def __str__(self) -> str:
        where = self.place if self.kind in _AT_PLACES else str(self.site)
        return f"{self.at_ms} ms: {self.kind} {where} for {self.for_ms} ms ({self.line}, {self.number})"


_AT_PLACES = (
    Kind.SERVER_CRASH, Kind.SERVER_MUTE, Kind.DISK_LOSS, Kind.FORCE, Kind.DISK_HANG, Kind.DISK_FULL,
    Kind.POD_LOSS,
)  # fmt: skip


@dataclass(slots=True)
class Stage:
    """Everything a fault may touch."""

    shelf: Shelf
    etcd: SimEtcd
    rules: Rules
    agents: list[SimAgent]
    healed: bool = False
    exempt: bool = False
    """A grant that was deleted needs people: nothing gets whole by itself."""

    def copies(self, site: Site) -> list[SimCopy]:
        """Return the copies at a site."""
        return [copy for copy in self.shelf.by_place.values() if copy.place.site is site]

    def agents_at(self, site: Site) -> list[SimAgent]:
        """Return the agents at a site."""
        return [agent for agent in self.agents if agent.site is site]

    def agent_of(self, place: str) -> SimAgent:
        """Return the agent that looks after a place."""
        return next(agent for agent in self.agents if place in agent.places)

    def agent_struck(self, fault: Fault) -> SimAgent:
        """Return the agent of the fault's place, if that is at the fault's site, or another one there."""
        at = self.agents_at(fault.site)
        return next((agent for agent in at if fault.place in agent.places), at[fault.number % len(at)])

    def strike(self, fault: Fault) -> None:
        """Let it happen now and be undone later."""
        if self.healed:
            return
        undo = _EFFECTS[fault.kind](self, fault)
        if undo is not None:
            self.shelf.engine.at(fault.for_ms, self._undo, undo)

    def _undo(self, undo: Callable[[], None]) -> None:
        if not self.healed:
            undo()

    def set_line(self, source: Site, target: Site, line: Line) -> None:
        """Change one direction; a cut breaks the streams over it at once."""
        self.shelf.links.set(source, target, line)
        if line is Line.CUT:
            for copy in self.shelf.by_place.values():
                for stream in tuple(copy.followers):
                    if {stream.name.site, copy.place.site} == {source, target}:
                        stream.break_both()

    def heal(self) -> None:
        """Undo everything at once; from here on all must get whole again."""
        self.healed = True
        self.shelf.links.heal()
        self.shelf.stalled_ms = 0
        self.etcd.noise.lost_answer = self.etcd.noise.lost_request = self.etcd.noise.late = 0.0
        self.etcd.up = set(MEMBERS)
        self.etcd.hold = False
        for copy in self.shelf.by_place.values():
            copy.mute = copy.disk_full = False
            copy.disk_hangs_since_ms = None
        for agent in self.agents:
            agent.crash_after(None)
            for copy in self.copies(agent.site):
                agent.ask_force(copy.place.name, None)
            agent.release()
            agent.start()


Undo = Callable[[], None] | None


def _site_crash(stage: Stage, fault: Fault) -> Undo:
    for agent in stage.agents_at(fault.site):
        agent.crash()
    for copy in stage.copies(fault.site):
        copy.crash(silent=True)
    stage.etcd.up.discard(fault.site)

    def undo() -> None:
        stage.etcd.up.add(fault.site)
        for agent in stage.agents_at(fault.site):
            agent.start()

    return undo


def _pod_loss(stage: Stage, fault: Fault) -> Undo:
    agent = stage.agent_of(fault.place)
    agent.crash()
    for copy in stage.copies(agent.site):
        if copy.place.name in agent.places:
            copy.crash(silent=fault.number % 2 == 1)
    return agent.start


def _agent_crash(stage: Stage, fault: Fault) -> Undo:
    agent = stage.agent_struck(fault)
    if fault.kind is Kind.AGENT_CRASH:
        agent.crash()
    elif fault.kind is Kind.AGENT_STOP:
        agent.stop()
    else:
        agent.crash_after(fault.number)
    return agent.start


def _agent_pause(stage: Stage, fault: Fault) -> Undo:
    agent = stage.agent_struck(fault)
    agent.hold()
    return agent.release


def _server_crash(stage: Stage, fault: Fault) -> Undo:
    stage.shelf.by_place[fault.place].crash()
    return None


def _server_mute(stage: Stage, fault: Fault) -> Undo:
    copy = stage.shelf.by_place[fault.place]
    copy.mute = copy.running

    def undo() -> None:
        copy.mute = False

    return undo


def _lines(pairs: Callable[[Fault], list[tuple[Site, Site]]]) -> Callable[[Stage, Fault], Undo]:
    def strike(stage: Stage, fault: Fault) -> Undo:
        for source, target in pairs(fault):
            stage.set_line(source, target, fault.line)

        def undo() -> None:
            for source, target in pairs(fault):
                stage.set_line(source, target, Line.OPEN)

        return undo

    return strike


def _one_line(fault: Fault) -> list[tuple[Site, Site]]:
    others = [site for site in MEMBERS if site is not fault.site]
    return [(fault.site, others[fault.number % 2])]


def _both_ways(fault: Fault) -> list[tuple[Site, Site]]:
    other = other_data_site(fault.site)
    return [(fault.site, other), (other, fault.site)]


def _all_around(fault: Fault) -> list[tuple[Site, Site]]:
    others = [site for site in MEMBERS if site is not fault.site]
    return [pair for other in others for pair in ((fault.site, other), (other, fault.site))]


def _members_down(stage: Stage, fault: Fault) -> Undo:
    down = {fault.site} if fault.kind is Kind.MEMBER_DOWN else set(MEMBERS) - {fault.site}
    stage.etcd.up -= down

    def undo() -> None:
        stage.etcd.up |= down

    return undo


def _etcd_noise(stage: Stage, fault: Fault) -> Undo:
    noise = stage.etcd.noise
    noise.lost_answer, noise.lost_request, noise.late = ((0.5, 0.0, 0.0), (0.2, 0.2, 0.4), (0.0, 0.0, 0.8))[
        fault.number % 3
    ]

    def undo() -> None:
        noise.lost_answer = noise.lost_request = noise.late = 0.0

    return undo


def _disk_stall(stage: Stage, fault: Fault) -> Undo:
    stage.shelf.stalled_ms = 150 + 50 * fault.number

    def undo() -> None:
        stage.shelf.stalled_ms = 0

    return undo


def _disk_hang(stage: Stage, fault: Fault) -> Undo:
    copy = stage.shelf.by_place[fault.place]
    copy.disk_hangs_since_ms = stage.shelf.engine.now

    def undo() -> None:
        copy.disk_hangs_since_ms = None

    return undo


def _disk_full(stage: Stage, fault: Fault) -> Undo:
    """The server may end at once, as it does when it needs a new WAL segment."""
    copy = stage.shelf.by_place[fault.place]
    copy.disk_full = True
    if fault.number % 2:
        copy.crash()

    def undo() -> None:
        copy.disk_full = False

    return undo


def _disk_loss(stage: Stage, fault: Fault) -> Undo:
    """Only while another directory holds all that was acknowledged, and may be promoted under the grant."""
    copy, rules = stage.shelf.by_place[fault.place], stage.rules
    grant = rules.grant
    if copy.copy is None or (grant is not None and grant.mode is not Mode.SYNC):
        return None
    others = {c.copy for c in stage.shelf.by_place.values() if c.present and not c.broken}
    relied_on = {grant.primary, *grant.sync_set} if grant else {copy.copy, *others}
    if copy.copy in relied_on:
        rest = [rules.copy_of(c) for c in relied_on if c != copy.copy]
        if not any(c and rules.holds_all(c) for c in rest) or rules.lost:
            return None
    rules.lost.add(copy.copy)
    copy.lose_directory()
    return None


def _move(stage: Stage, fault: Fault) -> Undo:
    asked = stage.agents_at(other_data_site(fault.site))

    def ask(to: Site | None) -> None:
        for agent in asked:
            agent.ask_move(to)

    ask(fault.site)
    return lambda: ask(None)


def _hold(stage: Stage, fault: Fault) -> Undo:
    stage.etcd.hold = True

    def undo() -> None:
        stage.etcd.hold = False

    return undo


def _force(stage: Stage, fault: Fault) -> Undo:
    """The operator looks at the grant and accepts the loss under it; what is asked holds for that grant."""
    agent = stage.agent_of(fault.place)
    engine, over = stage.shelf.engine, [False]

    def ask() -> None:
        if over[0] or stage.healed:
            return
        world = agent.sight.world
        for seen in world.grants.values() if world else ():
            stage.rules.asked.add(seen.revision)
            agent.ask_force(fault.place, ForceAsked(seen.revision, "operator"))
        if fault.number % 2 == 0:
            engine.at(100, ask)

    def undo() -> None:
        over[0] = True
        agent.ask_force(fault.place, None)

    ask()
    return undo


def _grant_gone(stage: Stage, fault: Fault) -> Undo:
    """Deleted by hand, or the whole etcd made anew: with a lost disk at home the cell then looks new."""
    stage.etcd.grant = stage.rules.grant = None
    if fault.number % 2 == 0:
        stage.etcd.born = stage.rules.born = False
        stage.etcd.life += 1
    stage.exempt = True
    return None


_EFFECTS: dict[Kind, Callable[[Stage, Fault], Undo]] = {
    Kind.SITE_CRASH: _site_crash,
    Kind.POD_LOSS: _pod_loss,
    Kind.AGENT_CRASH: _agent_crash,
    Kind.AGENT_CRASH_AT: _agent_crash,
    Kind.AGENT_STOP: _agent_crash,
    Kind.AGENT_PAUSE: _agent_pause,
    Kind.SERVER_CRASH: _server_crash,
    Kind.SERVER_MUTE: _server_mute,
    Kind.LINE: _lines(_one_line),
    Kind.SPLIT: _lines(_both_ways),
    Kind.ISOLATE: _lines(_all_around),
    Kind.MEMBER_DOWN: _members_down,
    Kind.QUORUM_LOSS: _members_down,
    Kind.ETCD_NOISE: _etcd_noise,
    Kind.DISK_STALL: _disk_stall,
    Kind.DISK_HANG: _disk_hang,
    Kind.DISK_FULL: _disk_full,
    Kind.DISK_LOSS: _disk_loss,
    Kind.MOVE: _move,
    Kind.HOLD: _hold,
    Kind.GRANT_GONE: _grant_gone,
    Kind.FORCE: _force,
}
