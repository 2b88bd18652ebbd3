"""What one site's agent knows of the shared world, and for how long a site has said nothing new.

Holds no task and no connection: it is given a read and a clock, so the simulator runs it as it is.
"""

from replication.etcd import EtcdUnavailable
from replication.failover.ports import Clock, ReadWorld
from replication.failover.silence import Silence
from replication.grants import World
from replication.model import DATA_SITES, other_data_site
from replication.settings import SiteSettings


class SiteSight:
    """The world as the last reads showed it."""

    def __init__(self, settings: SiteSettings, read: ReadWorld, clock: Clock) -> None:
        self._settings = settings
        self._read = read
        self._clock = clock
        self._probed: tuple[bool, int] | None = None
        self.world: World | None = None
        self.read_ok = False
        self.confirmed_ms = 0
        """When the request was sent whose answer last succeeded."""
        self.silence = {site: Silence(None, 0, clock()) for site in DATA_SITES}

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
        at_ms = self._clock()
        for site in DATA_SITES:
            beat = world.beats.get(site)
            self.silence[site] = self.silence[site].after_read(
                f"{beat.agent}/{beat.count}" if beat else None, at_ms, 5 * limits.tick_ms
            )

    def probe_due(self) -> bool:
        """Say whether the other site's agent shall be asked directly: it has been silent for a while."""
        other = other_data_site(self._settings.site)
        return self.silence[other].silent_for_ms * 2 >= self._settings.failover.silence_ms

    def note_probe(self, answered: bool) -> None:
        """Note what asking the other site's agent gave, just now."""
        self._probed = (answered, self._clock())

    def probe_answered(self) -> bool | None:
        """Return what the other site's agent answered of late; None when it was not asked."""
        if self._probed is None or self._clock() - self._probed[1] > self._settings.failover.silence_ms:
            return None
        return self._probed[0]
