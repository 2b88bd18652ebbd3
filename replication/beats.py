"""Which beats an agent writes, and what stands in them.

An agent that looks after all of its site's copies writes the site's key, and it alone. Where each copy has an
agent of its own, each writes its copy's key, under a lease of its own: two writers of one key would hide each
other's end. The site's key is then written by whoever finds it old, with what all of the site's agents
lately said: it is for readers that know sites only, and says of no copy that its agent lives.
"""

from collections.abc import Mapping
from dataclasses import replace

from replication.failover.sight import SiteSight
from replication.grants import COPIES, SITES
from replication.model import Beat, CopyId
from replication.settings import SiteSettings


def plan_beats(settings: SiteSettings, sight: SiteSight, said: Beat) -> Mapping[str, Beat]:
    """Return the beats to write now by key, the most urgent first; `said` is about the own places."""
    if not sight.by_copy:
        return {SITES + settings.site: said}
    beats = {COPIES + place: _about(said, place) for place in sight.own}
    if 2 * sight.site_key_silent_for_ms(settings.site) >= settings.failover.beat_ms:
        beats[SITES + settings.site] = _of_all(settings, sight, replace(said, places=frozenset(sight.own)))
    return beats


def _about(said: Beat, place: str) -> Beat:
    """Return what is said about one place."""
    return Beat(
        said.site,
        said.agent,
        said.count,
        down=frozenset(copy for copy in said.down if CopyId.parse(copy).place == place),
        full=frozenset(copy for copy in said.full if CopyId.parse(copy).place == place),
        holds=None if said.holds is None else said.holds & {place},
        places=frozenset({place}),
    )


def _of_all(settings: SiteSettings, sight: SiteSight, said: Beat) -> Beat:
    """Join it with the fresh words of the site's other agents; one that is silent leaves `holds` open."""
    down, full, holds = said.down, said.full, said.holds
    for place in settings.own_places():
        if place.data_dir is not None:
            continue
        beat = sight.told(place)
        down |= beat.down if beat else frozenset()
        full |= beat.full if beat else frozenset()
        holds = holds | beat.holds if holds is not None and beat and beat.holds is not None else None
    return replace(said, down=down, full=full, holds=holds)
