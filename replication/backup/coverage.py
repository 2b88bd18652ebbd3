"""Up to which instant an archive covers its cell: what was seen of the server, and what is on disk. Pure."""

from dataclasses import dataclass
from datetime import datetime

from replication.backup.plan import Ancestry, is_in_history

_AWAITED_MAX = 64
"""Looks kept until their WAL is on disk. Source: our choice; a look a second, far beyond the 5 s limit."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an archive is. LSNs in bytes, instants aware UTC.

    All that the cell had committed by `covered_until` (the primary's clock) is in the archive.
    """

    timeline: int
    archived_lsn: int
    source_lsn: int
    covered_until: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Mark:
    """All that the cell had committed by `at` (the primary's clock) lies before `lsn` of `timeline`.

    The server may have been on a later timeline; its positions lie behind the end of this one then.
    """

    at: datetime
    timeline: int
    lsn: int


class Coverage:
    """What an archive may say of itself, across streams and changes of timeline.

    What was covered stays covered where the new timeline's history holds it. Until the archive holds as
    much on the new timeline, it says what it holds on the old one: from that it can be restored.
    """

    def __init__(self, system: str) -> None:
        self.system = system
        self._timeline = self._newest = 0
        self._covered: Mark | None = None
        self._awaited: list[Mark] = []
        self._source_lsn = 0
        self._said: tuple[int, int] = (0, 0)
        """The timeline that is spoken of, and up to where it is in the archive. A begun segment is streamed
        anew: the earlier stream's file, which holds more, goes only once the new one holds as much."""

    def follow(self, ancestry: Ancestry, timeline: int) -> None:
        """Begin with a stream of `timeline`, which is in the server's `ancestry`; drop what is not in it."""

        def holds(mark: Mark) -> bool:
            return is_in_history(ancestry, mark.timeline, mark.lsn)

        self._newest = ancestry[-1].timeline
        self._awaited = [mark for mark in self._awaited if holds(mark)]
        if self._covered is not None and not holds(self._covered):
            self._covered = None
            self._said = (timeline, 0)
        if timeline != self._timeline:
            self._timeline = timeline
            if self._covered is None:
                self._said = (timeline, 0)
            else:
                self._awaited.insert(0, self._covered)

    def see(self, at: datetime | None, lsn: int | None) -> None:
        """Note a look at the server; None: it does not know."""
        if lsn is not None:
            self._source_lsn = lsn
        if at is not None and lsn is not None and len(self._awaited) < _AWAITED_MAX:
            self._awaited.append(Mark(at, self._newest, lsn))

    def settle(self, written_lsn: int) -> bool:
        """Note up to where the archive's files hold the timeline, on disk; say if an instant was covered."""
        reached = [mark for mark in self._awaited if mark.lsn <= written_lsn]
        if reached:
            self._covered = reached[-1]
            self._awaited = [mark for mark in self._awaited if mark.lsn > written_lsn]
        said_timeline, archived_lsn = self._said
        if said_timeline == self._timeline:
            self._said = (said_timeline, max(archived_lsn, written_lsn))
        elif reached:
            self._said = (self._timeline, written_lsn)
        return bool(reached)

    def progress(self, now: datetime) -> Progress:
        """Return what is to be said now."""
        timeline, archived_lsn = self._said
        covered = self._covered.at if self._covered else None
        return Progress(timeline, archived_lsn, max(self._source_lsn, archived_lsn), covered, now)
