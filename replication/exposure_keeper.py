"""Counts what an agent's exposed cells would lose and publishes it: one key an agent, once a second at most.

A task of its own beside the failover loops: a slow count holds up no decision, and nothing here decides.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import psycopg

from replication.etcd import Etcd, EtcdUnavailable
from replication.exposure import Count, Exposure, ExposureTape, SiteExposures, is_exposed
from replication.failover.loop import CopyLoop
from replication.failover.states import CopyState, Seen
from replication.failover.view import SiteView, now_ms
from replication.grants import EXPOSED, EXPOSURES, World
from replication.model import GrantSeen, Mode, parse_lsn
from replication.postgres.observe import abort_after
from replication.projection.copy import CopyConnection, connect_copy
from replication.settings import SiteSettings

log = logging.getLogger("biyi.agent")

EVERY_SECONDS = 1.0
"""Pause between two counts. Source: our choice; what a price cannot know is bounded by it."""
COUNT_SECONDS = 2.0
"""Patience with one count. Source: our choice; a second's commits take milliseconds."""

_COUNT = """
select pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text, counted.commits, counted.moved_fen
from ({query}) as counted
"""


class ExposureKeeper:
    """Measures the exposed cells of one site and keeps the site's key as it should be."""

    def __init__(self, settings: SiteSettings, view: SiteView, loops: Iterable[CopyLoop], etcd: Etcd) -> None:
        self._settings = settings
        self._view = view
        self._loops = tuple(loops)
        self._etcd = etcd
        self._connections: dict[str, CopyConnection] = {}

    async def run(self) -> None:
        """Count and publish until cancelled."""
        try:
            while True:
                try:
                    await self._publish()
                except Exception:
                    log.exception("exposure not published")
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            for name in tuple(self._connections):
                await self._drop(name)

    async def _publish(self) -> None:
        world = self._view.sight.world
        if world is None or not self._view.sight.read_ok:
            return
        site = self._settings.site
        published = world.exposures.get(site, {})
        measured = {}
        for loop in self._loops:
            seen = loop.seen
            if seen is not None and (exposure := await self._measure(loop, seen, published.get(seen.cell))):
                measured[seen.cell] = exposure
            else:
                await self._drop(loop.place.name)
        for key, (before, mine) in own_keys(self._settings, world, measured).items():
            wanted = plan_exposures(before or {}, mine, world.grants)
            if wanted == before:
                continue
            try:
                await self._etcd.put(key, SiteExposures(site, wanted).to_json())
            except EtcdUnavailable as error:
                log.warning("exposure not written: %s", error)

    async def _measure(self, loop: CopyLoop, seen: Seen, known: Exposure | None) -> Exposure | None:
        """Return the exposure of the cell this place is primary of; None when it is not exposed."""
        own, grant = seen.own, seen.grant.grant if seen.grant else None
        if grant is None or own.copy is None or own.copy != grant.primary or not is_exposed(grant):
            return None
        if own.state is not CopyState.PRIMARY:
            return None
        tape = loop.tape
        wall, mono_ms = datetime.now(UTC), now_ms()  # noqa: TID251  for people only, no decision reads it
        if known is not None and known.since is not None:
            since_ms = mono_ms - int((wall - datetime.fromisoformat(known.since)).total_seconds() * 1000)
            tape.resume(known, since_ms)
        total = await self._count(loop, tape)
        base = tape.base
        return Exposure(
            copy=own.copy,
            epoch=grant.epoch,
            wal_flush_lsn=max(own.wal_flush_lsn, total.lsn if total else 0),
            base_lsn=base.lsn if base else None,
            since=(wall - timedelta(milliseconds=mono_ms - base.at_ms)).isoformat() if base else None,
            commits=total.commits if total else None,
            moved_fen=total.moved_fen if total else None,
            snapshot=total.snapshot if total else None,
            at=wall.isoformat(),
        )

    async def _count(self, loop: CopyLoop, tape: ExposureTape) -> Count | None:
        """Count on from the last count; None when there is no query, no beginning or no answer."""
        query, began_at, name = self._settings.exposure_query, tape.count_from(), loop.place.name
        if query is None or began_at is None:
            return None
        try:
            if name not in self._connections:
                self._connections[name] = await connect_copy(
                    loop.place, self._settings.passfile, application="biyi-exposure"
                )
            connection = self._connections[name]
            async with abort_after(connection, COUNT_SECONDS), connection.cursor() as cursor:
                await cursor.execute(_COUNT.format(query=query).encode(), {"since": began_at})
                row = await cursor.fetchone()
        except (psycopg.Error, TimeoutError, OSError) as error:
            log.warning("%s: commits at risk not counted: %s", name, error)
            await self._drop(name)
            return None
        if row is None:
            return None
        tape.add(began_at, Count(parse_lsn(row[1]), row[0], int(row[2]), int(row[3])))
        return tape.totals()

    async def _drop(self, name: str) -> None:
        connection = self._connections.pop(name, None)
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()


def own_keys(
    settings: SiteSettings, world: World, measured: Mapping[str, Exposure]
) -> dict[str, tuple[Mapping[str, Exposure] | None, Mapping[str, Exposure]]]:
    """Return the keys that this agent alone writes, with what each says now and what was measured for it.

    None: nothing yet. A place whose key was ever written is told of there alone, though it be nothing.
    """
    if not settings.beats_by_copy():
        return {EXPOSURES + settings.site: (world.exposures.get(settings.site, {}), measured)}
    return {
        EXPOSED + place.name: (
            world.exposed.get(place.name),
            {cell: known for cell, known in measured.items() if known.copy.place == place.name},
        )
        for place in settings.agent_places()
    }


def plan_exposures(
    published: Mapping[str, Exposure], measured: Mapping[str, Exposure], grants: Mapping[str, GrantSeen]
) -> dict[str, Exposure]:
    """Return what the site's key shall say: what was measured, and what still holds of a stopped primary."""
    kept = {
        cell: known
        for cell, known in published.items()
        if cell in grants and _still_about(known, grants[cell])
    }
    return kept | dict(measured)


def _still_about(known: Exposure, seen: GrantSeen) -> bool:
    grant = seen.grant
    if known.copy != grant.primary:
        return False
    return grant.mode is Mode.TAKING or (known.epoch == grant.epoch and is_exposed(grant))
