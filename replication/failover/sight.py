"""What one site's agent knows of the shared world, and for how long a site has said nothing new.

Holds no task and no connection: it is given a read and a clock, so the simulator runs it as it is.
"""

from collections.abc import Mapping

from replication.etcd import EtcdUnavailable
from replication.failover.ports import Clock, ReadWorld
from replication.failover.silence import Silence
from replication.grants import World
from replication.model import DATA_SITES, Site, other_data_site
from replication.settings import SiteSettings


class SiteSight:
    """The world as the last reads showed it."""

    def __init__(self, settings: SiteSettings, read: ReadWorld, clock: Clock) -> None:
        self._settings = settings
        self._read = read
        self._clock = clock
        self._probed: tuple[bool, int] | None = None
        self._promised_until_ms = 0
        self._peer_waits_until_ms = 0
        self.world: World | None = None
        self.read_ok = False
        self.confirmed_ms = 0
        """When the request was sent whose answer last succeeded."""
        self.silence = {site: Silence(None, 0, clock()) for site in DATA_SITES}
        self.silent_for_ms: Mapping[Site, int] = dict.fromkeys(DATA_SITES, 0)
        self.declared_down: frozenset[str] = frozenset()
        """Copies that the agents' last beats declare down."""
        self.disk_full: frozenset[str] = frozenset()
        """Copies whose disk is full, as the agents' last beats say."""
        self.moving: frozenset[str] = frozenset()
        """Cells whose grant names a candidate."""

    async def look(self) -> None:
        """Read once; time that a failed read took counts for no silence."""
        limits = self._settings.failover
        sent_ms = self._clock()
        try:
            world = await self._read()
        except EtcdUnavailable:
            self.read_ok = False
            return
        self.world, self.read_ok, self.confirmed_ms = world, True, sent_ms
        self.declared_down = frozenset[str]().union(*(beat.down for beat in world.beats.values()))
        self.disk_full = frozenset[str]().union(*(beat.full for beat in world.beats.values()))
        self.moving = frozenset(cell for cell, seen in world.grants.items() if seen.grant.candidate)
        at_ms = self._clock()
        for site in DATA_SITES:
            beat = world.beats.get(site)
            self.silence[site] = self.silence[site].after_read(
                f"{beat.agent}/{beat.count}" if beat else None, at_ms, 5 * limits.tick_ms
            )
        self.silent_for_ms = {site: silence.silent_for_ms for site, silence in self.silence.items()}

    def is_overdue(self) -> bool:
        """Say whether own primaries have to be ended by now: unconfirmed too long, kept by no promise."""
        unconfirmed_ms = self._clock() - self.confirmed_ms
        return unconfirmed_ms >= self._settings.failover.fence_after_ms and not self.peer_waits_for_ms()

    def probe_due(self) -> bool:
        """Say whether the other site's agent shall be asked directly: it, or etcd, is silent for a while."""
        silence_ms = self._settings.failover.silence_ms
        if not self.read_ok and self._clock() - self.confirmed_ms >= silence_ms:
            return True
        return self.silence[other_data_site(self._settings.site)].silent_for_ms * 2 >= silence_ms

    def note_probe(self, answered: bool, sent_ms: int = 0, waits_ms: int = 0) -> None:
        """Note what asking the other site's agent at `sent_ms` gave; its promise counts from the asking."""
        self._probed = (answered, self._clock())
        self._peer_waits_until_ms = max(self._peer_waits_until_ms, sent_ms + waits_ms)

    def promise(self) -> int:
        """Answer the other site's agent: for how long nothing is taken over from it (ms); 0: etcd answers."""
        if self.read_ok:
            return 0
        promise_ms = self._settings.failover.peer_promise_ms
        self._promised_until_ms = self._clock() + promise_ms
        return promise_ms

    def promised_for_ms(self) -> int:
        """Return how long the own promise still holds."""
        return max(0, self._promised_until_ms - self._clock())

    def peer_waits_for_ms(self) -> int:
        """Return how long the other agent's promise still holds."""
        return max(0, self._peer_waits_until_ms - self._clock())

    def holders(self, cell: str) -> frozenset[str] | None:
        """Return the places of `cell` that hold data; None unless fresh beats of both data sites tell."""
        found: frozenset[str] = frozenset()
        for site in DATA_SITES:
            beat = self.world.beats.get(site) if self.world else None
            fresh = self.silence[site].silent_for_ms < self._settings.failover.silence_ms
            if beat is None or beat.holds is None or not fresh:
                return None
            found |= beat.holds
        return frozenset(place for place in found if place.partition("-")[0] == cell)

    def probe_answered(self) -> bool | None:
        """Return what the other site's agent answered of late; None when it was not asked."""
        if self._probed is None or self._clock() - self._probed[1] > self._settings.failover.silence_ms:
            return None
        return self._probed[0]
