"""Grants, beats, exposures and the hold flag in etcd: keys, reading, following.

Anyone may read. Changing a grant is `replication.failover.act`'s alone (import contract on
`replication.grant_swap`).
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import field

from replication.etcd import Etcd, EtcdUnavailable, Snapshot
from replication.exposure import Exposure, SiteExposures
from replication.model import Beat, Grant, GrantSeen, Site
from replication.snapshot import snapshot

PREFIX = "/biyi/"
GRANTS = PREFIX + "grants/"
BORN = PREFIX + "born/"
"""One key a cell, written with its first grant and never again: a cell that has none and was born lost it."""
SITES = PREFIX + "sites/"
"""One key a data site: its agent's beat, or the newest of its copies' agents (`replication.beats`)."""
COPIES = PREFIX + "copies/"
"""One key a place whose copy has an agent of its own: that agent's beat. Not below `SITES`: an older agent
takes whatever stands there for a site's name, and ends at any other."""
HOLD = PREFIX + "hold"
EXPOSURES = PREFIX + "exposures/"
"""One key a data site, without a lease: it has to outlive the site."""
EXPOSED = PREFIX + "exposed/"
"""The same, one key a place whose copy has an agent of its own: two writers would undo each other's."""

_PAUSE_SECONDS = 0.1
"""Pause before asking again after no member answered. Source: our choice, one failover tick."""


@snapshot(frozen=True, slots=True)
class World:
    """Everything shared, as one linearizable read returned it."""

    grants: Mapping[str, GrantSeen]
    beats: Mapping[Site, Beat]
    hold: bool
    """The operator asked that cells do not go home by themselves."""
    exposures: Mapping[Site, Mapping[str, Exposure]] = field(default_factory=dict)
    """What each site's agents last knew of its exposed cells, by site and cell."""
    copies: Mapping[str, Beat] = field(default_factory=dict)
    """By place, where a copy has an agent of its own."""
    exposed: Mapping[str, Mapping[str, Exposure]] = field(default_factory=dict)
    """By place the same agents' own words of what stands in `exposures`."""
    born: frozenset[str] = frozenset()
    """Cells that ever had a grant."""


@functools.lru_cache(maxsize=4096)
def _read_grant(text: str) -> Grant:
    """Each look reads every grant and hardly any has changed: a thousand cells' would take a third of a core.

    By its text and not by its revision, which starts anew when an etcd is made anew.
    """
    return Grant.from_json(text)


def parse_world(snapshot: Snapshot) -> World:
    """Read grants, beats and the hold flag out of a snapshot of `/biyi/`."""
    grants = {
        key.removeprefix(GRANTS): GrantSeen(_read_grant(kv.value), kv.mod_revision)
        for key, kv in snapshot.values.items()
        if key.startswith(GRANTS)
    }
    beats = {
        Site(key.removeprefix(SITES)): Beat.from_json(kv.value)
        for key, kv in snapshot.values.items()
        if key.startswith(SITES)
    }
    copies = {
        key.removeprefix(COPIES): Beat.from_json(kv.value)
        for key, kv in snapshot.values.items()
        if key.startswith(COPIES)
    }
    exposures = {
        Site(key.removeprefix(EXPOSURES)): SiteExposures.from_json(kv.value).cells
        for key, kv in snapshot.values.items()
        if key.startswith(EXPOSURES)
    }
    exposed = {
        key.removeprefix(EXPOSED): SiteExposures.from_json(kv.value)
        for key, kv in snapshot.values.items()
        if key.startswith(EXPOSED)
    }
    exposures = _join_exposures(exposures, exposed, grants) if exposed else exposures
    own_words = {place: one.cells for place, one in exposed.items()}
    born = frozenset(key.removeprefix(BORN) for key in snapshot.values if key.startswith(BORN))
    return World(grants, beats, HOLD in snapshot.values, exposures, copies, own_words, born)


def _join_exposures(
    by_site: Mapping[Site, Mapping[str, Exposure]],
    by_place: Mapping[str, SiteExposures],
    grants: Mapping[str, GrantSeen],
) -> dict[Site, Mapping[str, Exposure]]:
    """Join what a site's agents know; of one cell, what is about the grant's primary.

    Of a place with a key of its own, nothing that stands elsewhere counts any more.
    """
    joined = {
        site: {cell: known for cell, known in cells.items() if known.copy.place not in by_place}
        for site, cells in by_site.items()
    }
    for one in by_place.values():
        cells = joined.setdefault(one.site, {})
        for cell, known in one.cells.items():
            if cell not in cells or (cell in grants and grants[cell].grant.primary == known.copy):
                cells[cell] = known
    return dict(joined)


class WorldReader:
    """Reads the shared world again and again; sends for what changed while the last read is fresh.

    A read that failed, or one longer ago than `fresh_ms`, is followed by a read of everything: an etcd that
    was brought back with less than it had answers nobody for longer than that.
    """

    def __init__(self, etcd: Etcd, fresh_ms: int, clock: Callable[[], int]) -> None:
        self._etcd = etcd
        self._fresh_ms = fresh_ms
        self._clock = clock
        self._last: tuple[Snapshot, int] | None = None

    async def read(self) -> World:
        """Read everything shared, linearizably; EtcdUnavailable when no member can."""
        sent_ms, last = self._clock(), self._last
        self._last = None
        fresh = last is not None and sent_ms - last[1] < self._fresh_ms
        snapshot = await self._etcd.read_prefix(PREFIX, last[0] if last and fresh else None)
        self._last = snapshot, sent_ms
        return parse_world(snapshot)


async def read_world(etcd: Etcd) -> World:
    """Read everything shared, linearizably; EtcdUnavailable when no member can."""
    return parse_world(await etcd.read_prefix(PREFIX))


async def follow_grants(
    etcd: Etcd, also: Mapping[str, Callable[[str | None], None]] | None = None
) -> AsyncIterator[dict[str, GrantSeen]]:
    """Yield all grants at once and again after each change; never ends, survives any loss of members.

    `also`: other keys under `/biyi/`, and whom to tell their value (None: there is none), at once and after
    each change.

    The watch runs over the beats as well, so that a watch that fell silent is noticed.
    """
    last: dict[str, GrantSeen] | None = None
    while True:
        try:
            snapshot = await etcd.read_prefix(PREFIX)
            grants = dict(parse_world(snapshot).grants)
            for key, tell in (also or {}).items():
                found = snapshot.values.get(key)
                tell(None if found is None else found.value)
            if grants != last:
                last = dict(grants)
                yield dict(grants)
            async for events in etcd.watch_prefix(PREFIX, snapshot.revision + 1):
                for event in events:
                    if also and event.key in also:
                        also[event.key](event.value)
                    if event.key.startswith(GRANTS) and event.value is not None:
                        cell = event.key.removeprefix(GRANTS)
                        grants[cell] = GrantSeen(Grant.from_json(event.value), event.mod_revision)
                if grants != last:
                    last = dict(grants)
                    yield dict(grants)
        except EtcdUnavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
