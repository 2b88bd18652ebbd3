"""Who looks after which copies in a schedule: one agent a site, or one a copy beside another cell's."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from replication.model import DATA_SITES, Site, other_data_site
from replication.settings import CellSettings, FailoverSettings, PlaceSettings, SiteSettings

BY_COPY_SHARE = 0.25
"""Schedules in which the copies of one site, or of both, have agents of their own."""
NEIGHBOUR = "n"
"""The other cell: its agents beat and answer, and that is all they do."""


@dataclass(frozen=True, slots=True)
class Agents:
    """Sites whose copies have agents of their own, and sites whose one agent knows nothing of such.

    An old agent is of a version before this: it reads sites' beats only, and asks whoever answers for a site.
    """

    by_copy: frozenset[Site] = frozenset()
    old: frozenset[Site] = frozenset()


def draw_agents(rnd: Random, home: Site) -> Agents:
    """Draw which sites have agents by copy, and whether the other site's one agent is old."""
    if rnd.random() >= BY_COPY_SHARE:
        return Agents()
    drawn = rnd.choice(((home,), (other_data_site(home),), DATA_SITES, DATA_SITES))
    by_copy = frozenset(drawn)
    old = frozenset(site for site in DATA_SITES if site not in by_copy and rnd.random() < 0.5)
    return Agents(by_copy, old)


def settings_of_agents(
    cell: CellSettings, places: tuple[PlaceSettings, ...], limits: FailoverSettings, agents: Agents
) -> Iterator[tuple[SiteSettings, bool]]:
    """Yield the settings of each agent, and whether it is old; own places have a directory in them."""
    neighbours = tuple(
        PlaceSettings(f"{NEIGHBOUR}-{site}-0", NEIGHBOUR, site, 0, NEIGHBOUR, 1)
        for site in DATA_SITES
        if site in agents.by_copy
    )
    every = places + neighbours
    for site in DATA_SITES:
        own = [place for place in every if place.site is site]
        old = site in agents.old
        for group in [[place] for place in own] if site in agents.by_copy else [own]:
            yield _settings(site, cell, every, limits, (agents, {place.name for place in group})), old


def _settings(
    site: Site,
    cell: CellSettings,
    places: tuple[PlaceSettings, ...],
    limits: FailoverSettings,
    whose: tuple[Agents, set[str]],
) -> SiteSettings:
    agents, own = whose
    nowhere = Path()
    known = tuple(
        replace(
            place,
            data_dir=nowhere if place.name in own else None,
            agent_url=place.name if place.site in agents.by_copy and site not in agents.old else None,
        )
        for place in places
    )
    return SiteSettings(
        site=site, home_dir=nowhere, etcd_urls=(), cells=(cell,), places=known,
        agent_urls={each: str(each) for each in DATA_SITES}, agent_port=0, api_port=0, valkey_port=0,
        pg_bin=nowhere, passfile=nowhere, key_file=nowhere, failover=limits,
    )  # fmt: skip
