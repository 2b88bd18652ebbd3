"""What one agent knows of the shared world, and for how long each other agent has said nothing new.

Holds no task and no connection: it is given a read and a clock, so the simulator runs it as it is.

A copy's sign of life is the beat of its own agent: its own key, or its site's where one agent looks after all
of the site's copies. Where each copy has an agent of its own, a site's key is written by any of them for
older readers: it says that the site lives, and nothing about any one copy.
"""

import itertools
from collections.abc import Mapping, Sequence

from replication.etcd import EtcdUnavailable
from replication.failover.ports import Clock, ReadWorld
from replication.failover.silence import Hearing
from replication.grants import World
from replication.model import DATA_SITES, Beat, Site
from replication.settings import PlaceSettings, SiteSettings

_WHOLE = {site: f"{site}/whole" for site in DATA_SITES}
"""Names what agents that look after all of a site's copies say."""
_KEY = {site: f"{site}/key" for site in DATA_SITES}
"""Names what stands in a site's key, whoever writes it."""

_NONE: frozenset[str] = frozenset()


class SiteSight:
    """The world as the last reads showed it."""

    def __init__(self, settings: SiteSettings, read: ReadWorld, clock: Clock) -> None:
        self._settings = settings
        self._read = read
        self._clock = clock
        mine = settings.agent_places()
        self.own = tuple(place.name for place in mine)
        """The places that this agent looks after."""
        self.by_copy = settings.beats_by_copy()
        """Whether it is not its site's only agent."""
        self._mine = frozenset(self.own)
        self._others: dict[str, list[PlaceSettings]] = {place.cell: [] for place in mine}
        """By own cell: the places that another agent looks after."""
        self._asked: dict[tuple[str, Site], list[PlaceSettings]] = {}
        """The same by the address of that agent, and its site."""
        for place in settings.places:
            if place.cell in self._others and place.name not in self._mine:
                self._others[place.cell].append(place)
                if (url := settings.agent_of(place)) is not None:
                    self._asked.setdefault((url, place.site), []).append(place)
        self._probed: dict[str, tuple[bool, int]] = {}
        """By place: what asking its own agent gave, and when."""
        self.peers_wait_until_ms: dict[str, int] = {}
        """By place: until when its own agent has promised to take nothing over."""
        self._promised_until_ms = 0
        self.world: World | None = None
        self.read_ok = False
        self.confirmed_ms = 0
        """When the request was sent whose answer last succeeded."""
        self._hearing = Hearing(clock())
        """Of agents of one copy by place, and of sites by `_WHOLE` and `_KEY`."""
        self._copies: dict[str, Site] = {}
        """The places whose own agents were ever heard."""
        self.silent_for_ms: Mapping[Site, int] = dict.fromkeys(DATA_SITES, 0)
        """For how long no agent of a site has said anything new."""
        self.declared_down: frozenset[str] = frozenset()
        """Copies that the agents' last beats declare down."""
        self.disk_full: frozenset[str] = frozenset()
        """Copies whose disk is full, as the agents' last beats say."""
        self.moving: frozenset[str] = frozenset()
        """Cells whose grant names a candidate."""

    async def look(self) -> None:
        """Read once; time that a failed read took counts for no silence."""
        sent_ms = self._clock()
        try:
            world = await self._read()
        except EtcdUnavailable:
            self.read_ok = False
            return
        self.world, self.read_ok, self.confirmed_ms = world, True, sent_ms
        first_hand = [b for b in world.beats.values() if b.places is None] + list(world.copies.values())
        self.declared_down = _NONE.union(*[beat.down for beat in first_hand])
        self.disk_full = _NONE.union(*[beat.full for beat in first_hand])
        self.moving = frozenset([cell for cell, seen in world.grants.items() if seen.grant.candidate])
        self._hear(world, self._clock())

    def _hear(self, world: World, at_ms: int) -> None:
        """Count on for how long each agent has said nothing new."""
        cap_ms = 5 * self._settings.failover.tick_ms
        hearing = self._hearing
        hearing.read(at_ms, cap_ms)
        for site in DATA_SITES:
            beat = world.beats.get(site)
            hearing.hear(_WHOLE[site], beat if beat is not None and beat.places is None else None)
            hearing.hear(_KEY[site], beat)
        for place, beat in world.copies.items():
            self._copies[place] = beat.site
            hearing.hear(place, beat)
        silent = {site: hearing.silent_for_ms(_KEY[site]) for site in DATA_SITES}
        for place, site in self._copies.items():
            silent[site] = min(silent[site], hearing.silent_for_ms(place))
        self.silent_for_ms = silent

    def others(self, cell: str) -> Sequence[PlaceSettings]:
        """Return the places of an own cell that another agent looks after."""
        return self._others.get(cell, ())

    def agent_silent_for_ms(self, place: str, site: Site) -> int:
        """Return for how long the agent that looks after `place` has said nothing new; 0 for an own place."""
        if place in self._mine:
            return 0
        return min(self._hearing.silent_for_ms(place), self._hearing.silent_for_ms(_WHOLE[site]))

    def site_key_silent_for_ms(self, site: Site) -> int:
        """Return for how long the site's own key has stood still, whoever writes it."""
        return self._hearing.silent_for_ms(_KEY[site])

    def is_overdue(self) -> bool:
        """Say whether own primaries have to be ended by now: unconfirmed too long, kept by no promise."""
        unconfirmed_ms = self._clock() - self.confirmed_ms
        if unconfirmed_ms < self._settings.failover.fence_after_ms:
            return False
        return not any(self.peer_waits_for_ms(cell) for cell in self._others)

    def agents_to_ask(self) -> tuple[str, ...]:
        """Return the addresses of agents to ask directly: they, or etcd, have been silent for a while."""
        silence_ms = self._settings.failover.silence_ms
        blind = not self.read_ok and self._clock() - self.confirmed_ms >= silence_ms
        due = [
            url
            for (url, site), places in self._asked.items()
            if blind or (self._is_due(_WHOLE[site]) and any(self._is_due(place.name) for place in places))
        ]
        return tuple(sorted(due))

    def _is_due(self, key: str) -> bool:
        return 2 * self._hearing.silent_for_ms(key) >= self._settings.failover.silence_ms

    def note_probe(
        self,
        url: str,
        answered: bool,
        sent_ms: int = 0,
        waits_ms: int = 0,
        places: frozenset[str] | None = None,
    ) -> None:
        """Note what asking the agent at `url` at `sent_ms` gave; its promise counts from the asking.

        `places` are those that whoever answered looks after; None: it did not say, as one that has all of its
        site's. An answer says nothing about any other place, nor that its agent is dead.
        """
        asked = (places for (at, _), places in self._asked.items() if at == url)
        for place in itertools.chain.from_iterable(asked):
            if answered and places is not None and place.name not in places:
                self._probed.pop(place.name, None)
                continue
            self._probed[place.name] = (answered, self._clock())
            until_ms = self.peers_wait_until_ms.get(place.name, 0)
            self.peers_wait_until_ms[place.name] = max(until_ms, sent_ms + waits_ms)

    def promise(self) -> int:
        """Answer another agent: for how long nothing is taken over from it (ms); 0: etcd answers."""
        if self.read_ok:
            return 0
        promise_ms = self._settings.failover.peer_promise_ms
        self._promised_until_ms = self._clock() + promise_ms
        return promise_ms

    def promised_for_ms(self) -> int:
        """Return how long the own promise still holds."""
        return max(0, self._promised_until_ms - self._clock())

    def peer_waits_for_ms(self, cell: str) -> int:
        """Return how long the agents of all other copies of `cell` have promised to take nothing over."""
        if not self.peers_wait_until_ms:
            return 0
        until_ms = min((self.peers_wait_until_ms.get(p.name, 0) for p in self.others(cell)), default=0)
        return max(0, until_ms - self._clock())

    def holders(self, cell: str) -> frozenset[str] | None:
        """Return the places of `cell` that hold data; None unless fresh beats tell of each of its places."""
        if self.world is None:
            return None
        own = [place for place in self._settings.places if place.cell == cell]
        unsaid = set(DATA_SITES) - {place.site for place in own}
        if any(not self._fresh_of_all(site) for site in unsaid):
            return None
        if any(self.told(place) is None for place in own):
            return None
        # Whoever ever said to have data counts, though it be the word of an agent that is silent now.
        said = (*self.world.beats.values(), *self.world.copies.values())
        found = _NONE.union(*(beat.holds for beat in said if beat.holds is not None))
        return frozenset(place for place in found if place.partition("-")[0] == cell)

    def _fresh_of_all(self, site: Site) -> bool:
        """Say whether one agent of all of a site's places has lately said where it finds data."""
        beat = self.world.beats.get(site) if self.world else None
        fresh = self._hearing.silent_for_ms(_WHOLE[site]) < self._settings.failover.silence_ms
        return beat is not None and beat.places is None and beat.holds is not None and fresh

    def told(self, place: PlaceSettings) -> Beat | None:
        """Return the beat by which the agent of `place` lately said where it finds data; None: it did not."""
        beat = self.world.copies.get(place.name) if self.world else None
        fresh = self._hearing.silent_for_ms(place.name) < self._settings.failover.silence_ms
        if beat is not None and beat.holds is not None and fresh:
            return beat
        if self.world is None or not self._fresh_of_all(place.site):
            return None
        return self.world.beats[place.site]

    def probe_answered(self, place: str) -> bool | None:
        """Return what the agent of `place` answered of late; None when it was not asked, or another did."""
        if place not in self._probed:
            return None
        answered, at_ms = self._probed[place]
        return None if self._clock() - at_ms > self._settings.failover.silence_ms else answered
