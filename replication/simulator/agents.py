"""One agent in the model: the production sight, observer, actor and loop over simulated ports."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from replication.beats import plan_beats
from replication.etcd import Outcome
from replication.failover.act import Actor
from replication.failover.loop import CopyLoop, CopyRound
from replication.failover.observe import CopyObserver
from replication.failover.sight import SiteSight
from replication.failover.states import CopyState, Decision, ForceAsked, Seen
from replication.grants import COPIES, SITES, World
from replication.model import Beat, CopyId, Grant, Site
from replication.postgres.copy import PostgresError
from replication.settings import SiteSettings
from replication.simulator.copies import SimCopy
from replication.simulator.engine import Answer, Engine, Task
from replication.simulator.etcd import EtcdClient, SimEtcd
from replication.simulator.invariants import Rules
from replication.simulator.server import SimServer
from replication.simulator.waits import answered, pause


@dataclass(slots=True)
class Coverage:
    """Which decisions and changes of mode were reached."""

    decisions: set[tuple[str, str]] = field(default_factory=set)
    transitions: set[tuple[str, str]] = field(default_factory=set)


@dataclass(slots=True)
class Scene:
    """What all processes of one schedule share."""

    engine: Engine
    etcd: SimEtcd
    rules: Rules
    coverage: Coverage
    trace: list[str] | None
    break_rule: Callable[[CopyRound, Actor, SimServer], None] | None = None
    agents_at: dict[str, list["SimAgent"]] = field(default_factory=dict)
    """By address: any of them may answer there."""

    def note(self, who: object, text: str) -> None:
        """Write a line of the trace, if one is kept."""
        if self.trace is not None:
            self.trace.append(f"{self.engine.now:6} {who} {text}")


class SimJournal:
    """Takes the journal's lines for coverage, the trace and the fence rule."""

    def __init__(self, scene: Scene, copy: SimCopy) -> None:
        self._scene = scene
        self._copy = copy
        self._last: Decision | None = None

    def decision(self, seen: Seen, decision: Decision) -> None:
        """Note what was decided."""
        scene = self._scene
        scene.coverage.decisions.add((decision.step, decision.why))
        scene.rules.decided(self._copy, seen, decision, scene.engine.now)
        if scene.trace is not None and (self._last is None or decision.why is not self._last.why):
            scene.note(self._copy.place.name, f"{seen.own.state}: {decision.step} {decision.why}")
        self._last = decision

    def stage(self, stage: str, epoch: int, **facts: object) -> None:
        """Note what was done."""
        if self._scene.trace is not None:
            self._scene.note(self._copy.place.name, f"* {stage} {epoch} {facts or ''}")


class SimAgent:
    """One agent process and its looks; it may crash, stop and start again.

    An old one knows agents of sites only, as those did that were there before each copy could have its own.
    """

    def __init__(
        self, scene: Scene, settings: SiteSettings, copies: list[SimCopy], *, old: bool = False
    ) -> None:
        self._scene = scene
        self.old = old
        self.places = frozenset(place.name for place in settings.agent_places())
        self._settings = settings
        self._copies = copies
        self._client = EtcdClient(scene.etcd, settings.site, settings.cells[0].name)
        self._tasks: list[Task] = []
        self._rounds: list[CopyRound] = []
        self._waiting: list[Answer] = []
        self._nudged = Answer()
        self._crash_after: int | None = None
        self._probing: set[str] = set()
        self.alive = False
        self.held = False
        self.confirmed_ms = -1
        self.promised_until_ms = 0
        self._promised_by: dict[str, int] = {}
        """By place: until when its agent told this one that it takes nothing over."""
        self._stopping: list[Task] = []
        self._beat_ms = scene.engine.now
        self.lives = 0
        self.looks = 0
        self.started = 0
        self.sight = SiteSight(settings, self._read, scene.engine.clock)
        self.loops: list[CopyLoop] = []

    @property
    def site(self) -> Site:
        """The agent's site."""
        return self._settings.site

    @property
    def works(self) -> bool:
        """Whether the process runs and is not stopped."""
        return self.alive and not self.held

    @property
    def peer_promised_until_ms(self) -> int:
        """Until when the agents of all the cell's other copies told this one that they take nothing over."""
        cell = self._settings.cells[0].name
        return min((self._promised_by.get(p.name, 0) for p in self.sight.others(cell)), default=0)

    def heard_ms(self, copy: CopyId) -> int | None:
        """Return when the newest beat that this agent has read, by the agent of `copy`, reached etcd."""
        world, applied = self.sight.world, self._scene.etcd.applied_ms
        whole = world.beats.get(copy.site) if world else None
        own = world.copies.get(copy.place) if world else None
        beats = [(SITES + copy.site, whole if whole is not None and whole.places is None else None)]
        beats.append((COPIES + copy.place, own))
        return max((applied[key, beat.agent, beat.count] for key, beat in beats if beat), default=None)

    def believes(self) -> Grant | None:
        """Return the grant as the last read showed it."""
        world = self.sight.world
        seen = world.grants.get(self._settings.cells[0].name) if world else None
        return seen.grant if seen else None

    def start(self) -> None:
        """Start the process with an empty memory, once the one before has ended."""
        if self.alive:
            return
        scene = self._scene
        if not all(task.dead for task in self._stopping):
            scene.engine.at(20, self.start)
            return
        self.promised_until_ms = 0
        self._promised_by = {}
        self.alive, self.held, self._crash_after, self.confirmed_ms = True, False, None, -1
        if not self.lives:
            self._watch()
        self.lives += 1
        self.looks = self.started = 0
        self._probing = set()
        self._waiting, self._nudged = [], Answer()
        self.sight = SiteSight(self._settings, self._read, scene.engine.clock)
        self._rounds, self.loops = [], []
        for copy in self._copies:
            server, journal = SimServer(copy, self._before_effect), SimJournal(scene, copy)
            observer = CopyObserver(self._settings, server, self.sight, scene.engine.clock)
            actor = Actor(self._settings, server, self, journal, stamp=lambda: "")
            one = CopyRound(self._settings.failover, observer, actor, journal)
            if scene.break_rule is not None:
                scene.break_rule(one, actor, server)
            self._rounds.append(one)
            self.loops.append(CopyLoop(copy.place, self, one, server, journal))
        bodies = (self._look_on(), self._beat(), *(loop.run() for loop in self.loops))
        self._tasks = [Task(scene.engine, body) for body in bodies]

    def crash(self) -> None:
        """End the process where it stands."""
        for task in self._tasks:
            task.kill()
        self.alive = False

    def stop(self) -> None:
        """End it as SIGTERM does: its servers are shut down cleanly."""
        if not self.alive or self.held:
            return
        self.crash()
        self._stopping = [Task(self._scene.engine, _shut_down(loop)) for loop in self.loops]
        self._tasks = self._stopping

    def crash_after(self, effects: int | None) -> None:
        """End the process just before its n-th effect from now; None: not at all."""
        self._crash_after = effects

    def _before_effect(self) -> None:
        if self._crash_after is not None:
            self._crash_after -= 1
            if self._crash_after < 0:
                self._scene.note(self.site, "agent crashes between two effects")
                self.crash()

    def hold(self) -> None:
        """Stop the process; its PostgreSQL runs on, until the watchdog ends it."""
        self.held = True
        for task in self._tasks:
            task.hold()

    def release(self) -> None:
        """Let it go on."""
        self.held = False
        for task in self._tasks:
            task.release()

    def _watch(self) -> None:
        """The watchdog, looking when the last beat is too old at the earliest; it outlives its agent."""
        engine, limits = self._scene.engine, self._settings.failover
        due_ms = self._beat_ms + limits.watchdog_after_ms + limits.watchdog_look_ms
        if engine.now >= due_ms:
            self._end_primaries()
            due_ms = engine.now + limits.watchdog_look_ms
        engine.at(due_ms - engine.now, self._watch)

    def _end_primaries(self) -> None:
        for copy in self._copies:
            if copy.running and not copy.standby_signal:
                self._scene.note(copy.place.name, "the watchdog ends it")
                copy.crash()
                copy.hba_open = False

    def ask_move(self, to: Site | None) -> None:
        """Pass on the operator's wish."""
        for loop in self.loops:
            loop.ask_move(to)

    def ask_force(self, place: str, asked: ForceAsked | None) -> None:
        """Pass on that the operator accepts a loss for the copy at `place`."""
        for loop in self.loops:
            if loop.place.name == place:
                loop.ask_force(asked)

    async def swap(self, key: str, value: str, mod_revision: int, *, once: str | None = None) -> Outcome:
        """Swap through this site's client; an answer also tells what the grant is."""
        self._before_effect()
        outcome = await self._client.ask_swap(value, mod_revision, once=once is not None)
        if outcome is Outcome.DONE:
            self.confirmed_ms = self._scene.engine.now
        return outcome

    async def _read(self) -> World:
        sent_ms = self._scene.engine.now
        world = await self._client.read_world()
        self.confirmed_ms = max(self.confirmed_ms, sent_ms)
        if self.old:
            beats = {site: replace(beat, places=None) for site, beat in world.beats.items()}
            return replace(world, beats=beats, copies={})
        return world

    async def next_look(self, after: int, cell: str) -> int:
        """Wait until there was a look later than `after`; return its number. There is one cell."""
        while self.looks <= after:
            answer = Answer()
            self._waiting.append(answer)
            await answered(answer)
        return self.looks

    def nudge(self, cell: str) -> None:
        """Look again at once."""
        self._nudged.give(None)

    async def _look_on(self) -> None:
        engine, tick_ms = self._scene.engine, self._settings.failover.tick_ms
        while True:
            self.started += 1
            await self.sight.look()
            if not self.sight.is_overdue():
                self._beat_ms = engine.now
            for url in self.sight.agents_to_ask():
                if url not in self._probing:
                    self._probe(url)
            self.looks += 1
            due, self._waiting = self._waiting, []
            for answer in due:
                answer.give(None)
            engine.at(tick_ms, self._nudged.arrive, None)
            await answered(self._nudged)
            self._nudged = Answer()

    def _probe(self, url: str) -> None:
        links, engine = self._scene.etcd.links, self._scene.engine
        self._probing.add(url)
        at = self._scene.agents_at[url]
        peer = next((a for a in at if a.works and links.connected(self.site, a.site)), None)
        if peer is not None:
            engine.at(2, self._ask, url, peer, self.sight, engine.now)
        else:
            asked = (self.sight, url, None, engine.now, 0)
            engine.at(self._settings.failover.probe_timeout_ms, self._probed, *asked)

    def _ask(self, url: str, peer: "SimAgent", sight: SiteSight, sent_ms: int) -> None:
        """The request arrives at the other agent."""
        waits_ms = peer.sight.promise() if peer.alive else 0
        until_ms = self._scene.engine.now + waits_ms
        if waits_ms:
            peer.promised_until_ms = until_ms
            for place in peer.places:
                self._promised_by[place] = max(self._promised_by.get(place, 0), until_ms)
        answers = peer if peer.alive else None
        self._scene.engine.at(3, self._probed, sight, url, answers, sent_ms, waits_ms)

    def _probed(
        self, sight: SiteSight, url: str, peer: "SimAgent | None", sent_ms: int, waits_ms: int
    ) -> None:
        says = peer.places if peer is not None and not (peer.old or self.old) else None
        sight.note_probe(url, peer is not None, sent_ms, waits_ms, says)
        self._probing.discard(url)

    async def _beat(self) -> None:
        limits, count = self._settings.failover, 0
        who = f"{min(self.places)}/{self.lives}"
        while True:
            count += 1
            down = frozenset([str(one.down) for one in self._rounds if one.down])
            own = [one.seen.own for one in self._rounds if one.seen]
            full = frozenset([str(copy.copy) for copy in own if copy.copy and copy.disk_full])
            held = frozenset([copy.place for copy in own if copy.state is not CopyState.ABSENT])
            holds = held if len(own) == len(self._rounds) else None
            beat = Beat(self.site, who, count, down, full, holds)
            for key, planned in plan_beats(self._settings, self.sight, beat).items():
                self._client.put_beat(key, planned, limits.site_lease_seconds * 1000)
            await pause(limits.beat_ms)


async def _shut_down(loop: CopyLoop) -> None:
    """What does not end in time is left to the next agent."""
    try:
        await loop.shut_down()
    except PostgresError:
        return
