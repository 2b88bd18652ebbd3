"""What a cell would lose with its primary's site: counted while no copy elsewhere has all. No I/O.

The tape remembers, look by look, which commits were visible at which end of WAL. Once a copy at the other
site is known to have flushed up to there, all of those are safe, and what was committed after that look is
at risk. It errs one way only: a commit that did reach the other site may be counted, none that did not
is left out.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from replication.model import CopyId, Grant, Mode, Site

MARKS_MOST = 64
"""Looks remembered that no other site has confirmed. Source: our choice, six seconds of failover ticks."""
COUNTS_MOST = 256
"""Counts kept apart before neighbours are added up. Source: our choice, four minutes of counts."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One look at a primary: every commit visible in `snapshot` ends at or before `lsn` (bytes).

    `snapshot` is a `pg_snapshot` as text; `at_ms` is the looker's monotonic clock.
    """

    lsn: int
    snapshot: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Count:
    """Commits that became visible between the count before and `snapshot`, all at or before `lsn` (bytes)."""

    lsn: int
    snapshot: str
    commits: int
    moved_fen: int


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a primary's agent last knew of one exposed cell; None where it was not knowable.

    `base_lsn` is up to where a copy at the other site is known to have flushed, `wal_flush_lsn` the end of
    the primary's WAL (bytes). `commits` and `moved_fen` (debit side of the ledger) are upper bounds of
    what was committed after `since`. `since` and `at` (when this was known) are aware UTC, ISO 8601, for
    people. `snapshot` is what was counted up to.
    """

    copy: CopyId
    epoch: int
    wal_flush_lsn: int
    base_lsn: int | None
    since: str | None
    commits: int | None
    moved_fen: int | None
    snapshot: str | None
    at: str

    @property
    def exposed_bytes(self) -> int | None:
        """WAL that no copy at the other site is known to have."""
        return None if self.base_lsn is None else max(0, self.wal_flush_lsn - self.base_lsn)


def is_exposed(grant: Grant) -> bool:
    """Say whether the loss of the primary's site would lose commits: none elsewhere is in the sync set."""
    settled = grant.mode in (Mode.SYNC, Mode.ALONE)
    return settled and all(copy.site is grant.primary.site for copy in grant.sync_set)


@dataclass(frozen=True, slots=True)
class SiteExposures:
    """The exposed cells whose primary stands at `site`: one key a site, kept when the site is gone."""

    site: Site
    cells: Mapping[str, Exposure]

    def to_json(self) -> str:
        """Return the stored form."""
        cells = {cell: asdict(seen) | {"copy": str(seen.copy)} for cell, seen in self.cells.items()}
        return json.dumps({"site": self.site, "cells": cells}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "SiteExposures":
        """Read the stored form; ValueError, KeyError or TypeError when it is another."""
        plain = json.loads(text)
        cells = {
            cell: Exposure(**{**seen, "copy": CopyId.parse(seen["copy"])})
            for cell, seen in plain["cells"].items()
        }
        return cls(Site(plain["site"]), cells)


class ExposureTape:
    """The marks and counts of one place, while it is the primary of one epoch."""

    def __init__(self) -> None:
        self._owner: tuple[CopyId, int] | None = None
        self._pending: deque[Mark] = deque()
        self._counts: deque[Count] = deque()
        self.base: Mark | None = None
        """The last look whose every visible commit a copy at the other site has; None: not known."""

    def note(self, owner: tuple[CopyId, int], mark: Mark, flushed_elsewhere: int, *, first: bool) -> None:
        """Take in one look at the primary `owner` (copy and epoch).

        `flushed_elsewhere` is the furthest flush of a copy at the other site as of this look, in bytes, 0
        for none. `first`: nothing was acknowledged in this epoch yet, so counting begins here.
        """
        if owner != self._owner:
            self.clear()
            self._owner = owner
        if first:
            self._counts.clear()
            self.base = mark
        elif not self._pending or mark.lsn > self._pending[-1].lsn:
            self._pending.append(mark)
        while self._pending and self._pending[0].lsn <= flushed_elsewhere:
            self.base = self._pending.popleft()
        base_lsn = self.base.lsn if self.base else 0
        while self._counts and self._counts[0].lsn <= base_lsn:
            self._counts.popleft()
        if len(self._pending) > MARKS_MOST:
            self._pending = deque(list(self._pending)[::2])

    def clear(self) -> None:
        """Forget everything: this is no primary, or another one."""
        self._owner, self.base = None, None
        self._pending.clear()
        self._counts.clear()

    def resume(self, known: Exposure, since_ms: int) -> None:
        """Go on from what this place's agent had published before it was started again."""
        if self.base is not None or self._owner != (known.copy, known.epoch):
            return
        if known.base_lsn is None or known.snapshot is None:
            return
        self.base = Mark(known.base_lsn, known.snapshot, since_ms)
        if known.commits is not None and known.moved_fen is not None:
            self._counts.append(Count(known.wal_flush_lsn, known.snapshot, known.commits, known.moved_fen))

    def count_from(self) -> str | None:
        """Return the snapshot from which the next count goes on; None: what was before is not known."""
        if self._counts:
            return self._counts[-1].snapshot
        return self.base.snapshot if self.base else None

    def add(self, began_at: str, count: Count) -> None:
        """Take in a count that began at `count_from()`; one that began elsewhere is dropped."""
        if began_at != self.count_from():
            return
        self._counts.append(count)
        if len(self._counts) > COUNTS_MOST:
            first, second = self._counts.popleft(), self._counts.popleft()
            self._counts.appendleft(
                replace(
                    second,
                    commits=first.commits + second.commits,
                    moved_fen=first.moved_fen + second.moved_fen,
                )
            )

    def totals(self) -> Count | None:
        """Return the sum of all counts with the last one's end; None before the first."""
        if not self._counts:
            return None
        return replace(
            self._counts[-1],
            commits=sum(count.commits for count in self._counts),
            moved_fen=sum(count.moved_fen for count in self._counts),
        )
