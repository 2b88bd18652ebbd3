"""Follow the cells' grants during a drill: into the history, and for whoever waits for a state."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from replication.etcd import Etcd
from replication.grants import follow_grants
from replication.model import CopyId, Grant, Mode, Site
from replication.settings import CellSettings
from runbooks.drills.history import HistoryWriter
from runbooks.drills.records import GrantNote

Grants = Mapping[str, Grant]
_LOOK_SECONDS = 0.05
"""Longest pause between two looks at a waited-for state. Source: our choice, half a failover tick."""


class GrantWatch:
    """The latest grants as etcd tells them; use as an async context manager."""

    def __init__(self, etcd: Etcd, history: HistoryWriter) -> None:
        self.grants: dict[str, Grant] = {}
        self._etcd = etcd
        self._history = history
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "GrantWatch":
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def until(self, holds: Callable[[Grants], bool], within_s: float) -> int | None:
        """Return the monotonic ns at which `holds` became true, None when it did not in time."""
        deadline = time.monotonic() + within_s
        while not holds(self.grants):
            if time.monotonic() > deadline or (self._task is not None and self._task.done()):
                return None
            await asyncio.sleep(_LOOK_SECONDS)
        return time.monotonic_ns()

    async def _follow(self) -> None:
        async for seen in follow_grants(self._etcd):
            at_ns = time.monotonic_ns()
            for cell, found in sorted(seen.items()):
                if found.grant != self.grants.get(cell):
                    self.grants[cell] = found.grant
                    self._history.write(note_of(found.grant, at_ns))


def note_of(grant: Grant, at_ns: int) -> GrantNote:
    """Turn a grant into a line of the history."""
    sync_set = tuple(sorted(str(copy) for copy in grant.sync_set))
    return GrantNote(at_ns, grant.cell, grant.epoch, str(grant.mode), str(grant.primary), sync_set)


def is_home(cells: tuple[CellSettings, ...], grants: Grants) -> bool:
    """Whether every cell is SYNC with its primary at its home site."""
    return not find_not_home(cells, grants)


def find_not_home(cells: tuple[CellSettings, ...], grants: Grants) -> list[str]:
    """Return, for people, each cell that is not SYNC at home, and what it is instead."""
    faults = []
    for cell in cells:
        grant = grants.get(cell.name)
        if grant is None:
            faults.append(f"cell {cell.name} has no grant yet")
        elif grant.mode is not Mode.SYNC or grant.primary.site is not cell.home:
            faults.append(f"cell {cell.name} is {grant.mode} at {grant.primary.site}, home is {cell.home}")
    return faults


def has_rejoined(grants: Grants, site: Site) -> bool:
    """Whether every cell has a copy at the site as primary or in its sync set, and is settled."""
    return bool(grants) and all(
        grant.mode in (Mode.SYNC, Mode.ALONE) and any(copy.site is site for copy in _members(grant))
        for grant in grants.values()
    )


def _members(grant: Grant) -> tuple[CopyId, ...]:
    return (grant.primary, *grant.sync_set)
