"""Grants, beats, exposures and the hold flag in etcd: keys, reading, following.

Anyone may read. Changing a grant is `replication.failover.act`'s alone (import contract on
`replication.grant_swap`).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from replication.etcd import Etcd, EtcdUnavailable, Snapshot
from replication.exposure import Exposure, SiteExposures
from replication.model import Beat, Grant, GrantSeen, Site

PREFIX = "/biyi/"
GRANTS = PREFIX + "grants/"
SITES = PREFIX + "sites/"
HOLD = PREFIX + "hold"
EXPOSURES = PREFIX + "exposures/"
"""One key a data site, without a lease: it has to outlive the site."""

_PAUSE_SECONDS = 0.1
"""Pause before asking again after no member answered. Source: our choice, one failover tick."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything shared, as one linearizable read returned it."""

    grants: Mapping[str, GrantSeen]
    beats: Mapping[Site, Beat]
    hold: bool
    """The operator asked that cells do not go home by themselves."""
    exposures: Mapping[Site, Mapping[str, Exposure]] = field(default_factory=dict)
    """What each site's agent last knew of its exposed cells, by site and cell."""


def parse_world(snapshot: Snapshot) -> World:
    """Read grants, beats and the hold flag out of a snapshot of `/biyi/`."""
    grants = {
        key.removeprefix(GRANTS): GrantSeen(Grant.from_json(kv.value), kv.mod_revision)
        for key, kv in snapshot.values.items()
        if key.startswith(GRANTS)
    }
    beats = {
        Site(key.removeprefix(SITES)): Beat.from_json(kv.value)
        for key, kv in snapshot.values.items()
        if key.startswith(SITES)
    }
    exposures = {
        Site(key.removeprefix(EXPOSURES)): SiteExposures.from_json(kv.value).cells
        for key, kv in snapshot.values.items()
        if key.startswith(EXPOSURES)
    }
    return World(grants, beats, HOLD in snapshot.values, exposures)


async def read_world(etcd: Etcd) -> World:
    """Read everything shared, linearizably; EtcdUnavailable when no member can."""
    return parse_world(await etcd.read_prefix(PREFIX))


async def follow_grants(etcd: Etcd) -> AsyncIterator[dict[str, GrantSeen]]:
    """Yield all grants at once and again after each change; never ends, survives any loss of members.

    The watch runs over the beats as well, so that a watch that fell silent is noticed.
    """
    last: dict[str, GrantSeen] | None = None
    while True:
        try:
            snapshot = await etcd.read_prefix(PREFIX)
            grants = dict(parse_world(snapshot).grants)
            if grants != last:
                last = dict(grants)
                yield dict(grants)
            async for events in etcd.watch_prefix(PREFIX, snapshot.revision + 1):
                for event in events:
                    if event.key.startswith(GRANTS) and event.value is not None:
                        cell = event.key.removeprefix(GRANTS)
                        grants[cell] = GrantSeen(Grant.from_json(event.value), event.mod_revision)
                if grants != last:
                    last = dict(grants)
                    yield dict(grants)
        except EtcdUnavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
