"""One schedule: a cell of two or three copies, faults drawn from a seed, healing, and a verdict.

Everything follows from the seed: the cell, the faults, every delay. `run_schedule(seed)` twice gives
the same trace; giving it the faults leaves the rest to the seed, which is how a failure is shrunk.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from replication.failover.act import Actor
from replication.failover.loop import CopyRound
from replication.model import DATA_SITES, CopyId, Grant, GrantSeen, Mode, Site, other_data_site
from replication.settings import CellSettings, FailoverSettings, PlaceSettings, SiteSettings
from replication.simulator.agents import Coverage, Scene, SimAgent
from replication.simulator.copies import Shelf, SimCopy
from replication.simulator.engine import Engine
from replication.simulator.etcd import ATTEMPT_MS, Noise, SimEtcd
from replication.simulator.fault_draw import draw_faults, draw_pod_faults
from replication.simulator.faults import Fault, Kind, Stage
from replication.simulator.invariants import Rules, Violation
from replication.simulator.links import Links
from replication.simulator.office import Office
from replication.simulator.server import SimServer
from replication.simulator.shape import NEIGHBOUR, Agents, draw_agents, settings_of_agents
from replication.simulator.streams import keep_streaming

CELL = "a"
LIMITS = FailoverSettings(
    tick_ms=60,
    beat_ms=70,
    silence_ms=240,
    probe_timeout_ms=50,
    degrade_after_ms=600,
    fence_after_ms=900,
    peer_promise_ms=500,
    watchdog_after_ms=1300,
    watchdog_look_ms=60,
    site_lease_seconds=1,
    home_after_ms=500,
    drain_ms=60,
    restart_patience_ms=700,
    stuck_after_ms=400,
    write_probe_ms=120,
    disk_stall_after_ms=750,
)
"""The limits with their order and about a quarter of their length: no safety argument rests on them."""
HEAL_MS = 3700
"""All faults are undone at this time at the latest."""
QUIET_MS = 300
"""Time between the end of the last fault and the healing; nothing that fails any more is simulated longer."""
LATE_QUIET_MS = 1500
"""The same after noise on etcd, whose late swaps arrive by then."""
WHOLE_MS = 6000
"""The cell must be SYNC, open and at home so long after healing: about 25 s unscaled."""
BOOTSTRAP_SHARE = 0.1
"""Schedules that begin with empty directories; the others begin with a cell in sync."""

THREE_COPIES_SHARE = 0.4
"""Schedules of a cell with a copy beside its home primary."""

BreakRule = Callable[[CopyRound, Actor, SimServer], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A rule that did not hold."""

    rule: str
    text: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Ran:
    """What one schedule gave."""

    seed: int
    faults: tuple[Fault, ...]
    found: Found | None
    coverage: Coverage
    acknowledged: int
    virtual_ms: int
    trace: tuple[str, ...]


class Schedule:
    """One cell under one seed."""

    def __init__(
        self,
        seed: int,
        faults: tuple[Fault, ...] | None = None,
        break_rule: BreakRule | None = None,
        *,
        trace: bool = False,
        cell: CellSettings | None = None,
        copies: int | None = None,
        agents: Agents | None = None,
    ) -> None:
        self.seed = seed
        shape = Random(f"{seed} shape")  # noqa: S311  a schedule's dice, nothing secret
        rnd = Random(f"{seed} run")  # noqa: S311
        self.home = shape.choice(DATA_SITES)
        drawn = 3 if shape.random() < THREE_COPIES_SHARE else 2
        self.places = _places(self.home, three=(copies or drawn) == 3)
        pods = Random(f"{seed} pods")  # noqa: S311  its own dice: one agent a site draws as ever
        shared = draw_agents(pods, self.home) if agents is None else agents
        self.faults = self._draw_faults(shape, pods, shared) if faults is None else faults
        bootstrap = shape.random() < BOOTSTRAP_SHARE
        self.cell = draw_cell(shape, self.home) if cell is None else replace(cell, home=self.home)
        if shared.old:
            # An old agent takes the promise of any agent of a site for that of all.
            self.cell = replace(self.cell, without_etcd="stop")
        self.engine = Engine()
        links = Links(rnd)
        block = self.cell.degrade == "block"
        look_ms = LIMITS.tick_ms + 2 * ATTEMPT_MS
        self.rules = Rules(LIMITS.fence_after_ms, look_ms, LIMITS.silence_ms, block=block)
        self.shelf = Shelf(self.engine, links, rnd, self.rules)
        self.etcd = SimEtcd(self.engine, links, rnd, self.rules.grant_changed)
        self.etcd.noise = Noise(lost_answer=0.01, late=0.01, lost_request=0.01)
        self.scene = Scene(self.engine, self.etcd, self.rules, Coverage(), [] if trace else None, break_rule)
        self._rnd = rnd
        self._agent_of: dict[str, SimAgent] = {}
        for place in self.places:
            self.shelf.by_place[place.name] = self.rules.copies[place.name] = SimCopy(self.shelf, place)
        told = settings_of_agents(self.cell, self.places, LIMITS, shared)
        self.agents = [self._agent(settings, old=old) for settings, old in told]
        self._office = Office(self.etcd, self.rules, self._agent_of)
        self.stage = Stage(self.shelf, self.etcd, self.rules, self.agents)
        if not bootstrap:
            self._begin_in_sync()

    def _draw_faults(self, shape: Random, pods: Random, shared: Agents) -> tuple[Fault, ...]:
        names = [place.name for place in self.places]
        faults = draw_faults(shape, names)
        if shared.by_copy:
            near = [name for name in names if Site(name.split("-")[1]) in shared.by_copy]
            near += [f"{NEIGHBOUR}-{site}-0" for site in DATA_SITES if site in shared.by_copy]
            faults = tuple(sorted(faults + draw_pod_faults(pods, near), key=lambda fault: fault.at_ms))
        return faults

    def _agent(self, settings: SiteSettings, *, old: bool) -> SimAgent:
        own = [place.name for place in settings.agent_places() if place.cell == CELL]
        agent = SimAgent(self.scene, settings, [self.shelf.by_place[name] for name in own], old=old)
        for name in own:
            self.rules.agents[name] = self._agent_of[name] = agent
        for address in (str(agent.site), *sorted(agent.places)):
            self.scene.agents_at.setdefault(address, []).append(agent)
        return agent

    def _begin_in_sync(self) -> None:
        shelf = self.shelf
        first = [shelf.new_record() for _ in range(3)]
        shelf.markers.append((3, first[2], 1))
        ids = {p.name: CopyId(CELL, p.site, p.ordinal, f"{shelf.new_record():x}") for p in self.places}
        primary = self.places[0]
        member = ids[self.places[1].name]
        for place in self.places:
            copy = shelf.by_place[place.name]
            copy.present, copy.copy, copy.log = True, ids[place.name], first[:]
            if place is primary:
                copy.names_file = frozenset({member})
            else:
                copy.standby_signal, copy.upstream_file = True, primary
            copy.start()
            copy.started_ms = -1
            keep_streaming(copy, copy.life)
        grant = Grant(CELL, 1, ids[primary.name], frozenset({member}), Mode.SYNC)
        self.etcd.grant, self.etcd.born = GrantSeen(grant, 1), True
        self.rules.grant, self.rules.born = grant, True

    def run(self) -> Ran:
        """Run it to its end; a rule that does not hold ends it."""
        found = None
        try:
            self._run()
        except Violation as violation:
            found = Found(violation.rule, violation.text, self.engine.now)
        except (ValueError, KeyError, AttributeError, TypeError, IndexError, StopIteration) as error:
            found = Found("total", f"{type(error).__name__}: {error}", self.engine.now)
        finally:
            self.engine.close()
        coverage = self.scene.coverage
        coverage.transitions |= self.rules.transitions
        trace = tuple(self.scene.trace or ())
        return Ran(self.seed, self.faults, found, coverage, len(self.rules.acked), self.engine.now, trace)

    def _run(self) -> None:
        engine = self.engine
        for agent in self.agents:
            agent.start()
        engine.at(30, self._client)
        for fault in self.faults:
            engine.at(fault.at_ms, self._strike, fault)
        heal_ms = min(HEAL_MS, max(map(_ended_ms, self.faults), default=0))
        engine.run_until(heal_ms, lambda: False, HEAL_MS)
        self.scene.note("*", "all faults are undone")
        self.stage.heal()
        engine.at(0, self._operate)
        if engine.run_until(heal_ms + WHOLE_MS, self._whole, 60):
            self.rules.check_whole()
        elif not self.stage.exempt and not self._needs_people():
            raise Violation("liveness", f"not whole {WHOLE_MS} ms after the last fault: {self.rules.grant}")

    def _needs_people(self) -> bool:
        """A cell that was ALONE and whose only whole copy lost its disk is never promoted by itself (I6)."""
        grant = self.rules.grant
        return grant is not None and grant.mode is Mode.ALONE and grant.primary in self.rules.lost

    def _strike(self, fault: Fault) -> None:
        self.scene.note("!", str(fault))
        self.stage.strike(fault)

    def _client(self) -> None:
        """Commit wherever clients are admitted, as clients with an old map of the cell would."""
        self._office.check(self.engine.now)
        for copy in self.shelf.by_place.values():
            if copy.open and not copy.mute and not copy.stopping and not copy.hangs:
                record = self.shelf.new_record()
                position = len(copy.log) + 1
                done = partial(self.rules.acknowledged, copy, record, position)
                copy.commit(record, done, client=True)
        self.engine.at(12 + int(self._rnd.random() * 50), self._client)

    def _operate(self) -> None:
        """The operator takes a pinned cell home once all is well."""
        grant = self.rules.grant
        for agent in self.agents:
            agent.ask_move(self.home if grant and grant.pinned else None)
        self.engine.at(200, self._operate)

    def _whole(self) -> bool:
        grant = self.rules.grant
        if grant is None or grant.mode is not Mode.SYNC or grant.primary.site is not self.home:
            return False
        primary = self.rules.copy_of(grant.primary)
        if any(member.site is self.home for member in grant.sync_set):
            return False
        copies = self.shelf.by_place.values()
        following = all(c is primary or (c.running and c.receiver is not None) for c in copies)
        return primary is not None and primary.open and following


def _ended_ms(fault: Fault) -> int:
    quiet_ms = LATE_QUIET_MS if fault.kind is Kind.ETCD_NOISE else QUIET_MS
    return fault.at_ms + fault.for_ms + quiet_ms


def draw_cell(shape: Random, home: Site) -> CellSettings:
    """Draw the cell's policies."""
    return CellSettings(
        CELL,
        home,
        "block" if shape.random() < 0.25 else "after",
        400 + int(shape.random() * 400) if shape.random() < 0.2 else None,
        "peer" if shape.random() < 0.4 else "stop",
    )


def _places(home: Site, *, three: bool) -> tuple[PlaceSettings, ...]:
    sites = [(home, 0), (other_data_site(home), 0)]
    if three:
        sites.append((home, 1))
    places = [PlaceSettings(f"{CELL}-{s}-{n}", CELL, s, n, f"{CELL}-{s}-{n}", 1) for s, n in sites]
    return tuple(replace(place, port=1 + number) for number, place in enumerate(places))


def run_schedule(
    seed: int,
    *,
    faults: tuple[Fault, ...] | None = None,
    break_rule: BreakRule | None = None,
    trace: bool = False,
    cell: CellSettings | None = None,
    copies: int | None = None,
    agents: Agents | None = None,
) -> Ran:
    """Run the schedule of `seed`, with its own faults, policies, copies and agents or with those given."""
    schedule = Schedule(seed, faults, break_rule, trace=trace, cell=cell, copies=copies, agents=agents)
    return schedule.run()
