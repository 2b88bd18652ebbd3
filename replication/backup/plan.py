"""What of an archive is needed, chosen, missing, due or superfluous. Pure.

LSNs are bytes. Segments are numbered by LSN // WAL_SEGMENT_BYTES; a timeline's ancestry says up to which
LSN each older timeline is part of its history.
"""

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from replication.backup.errors import ArchiveBroken, TargetOutsideArchive
from replication.model import WAL_SEGMENT_BYTES, WalName, format_lsn, parse_lsn

_LONG_HEADER = 0x0002
COVERED_SLACK = timedelta(seconds=1)
"""A commit reaches the WAL at most this long after its own time stamp. Source: our choice; the two are
microseconds apart unless the machine stalls."""


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A timeline of a history, part of it in [`begin_lsn`, `end_lsn`); the newest has no end."""

    timeline: int
    begin_lsn: int
    end_lsn: int | None


Ancestry = tuple[Ancestor, ...]


def parse_history(text: str, timeline: int) -> Ancestry:
    """Read a timeline's history file into its ancestry, oldest first, `timeline` itself last."""
    ancestry, begin = [], 0
    for line in text.splitlines():
        fields = line.split("#", 1)[0].split()
        if len(fields) >= 2:
            end = parse_lsn(fields[1])
            ancestry.append(Ancestor(int(fields[0]), begin, end))
            begin = end
    return (*ancestry, Ancestor(timeline, begin, None))


def is_in_history(ancestry: Ancestry, timeline: int, lsn: int) -> bool:
    """Say whether what `timeline` held up to `lsn` is part of the history."""
    return any(a.timeline == timeline and (a.end_lsn is None or lsn <= a.end_lsn) for a in ancestry)


def needed_segment(ancestry: Ancestry, number: int) -> WalName:
    """Return which timeline's segment `number` the history needs: the newest that had begun in it.

    A fork's segment on the new timeline holds the old one's bytes up to the fork as well.
    """
    begun = [a.timeline for a in ancestry if a.begin_lsn // WAL_SEGMENT_BYTES <= number]
    return WalName(begun[-1], number)


@dataclass(frozen=True, slots=True)
class Archived:
    """The segments of an archive: whole ones, and begun ones of which a part is there."""

    whole: frozenset[WalName]
    begun: frozenset[WalName]


def find_missing(ancestry: Ancestry, have: Archived, start_lsn: int, end_lsn: int) -> tuple[WalName, ...]:
    """Return the segments that recovery from `start_lsn` to `end_lsn` lacks; the last may be a begun one."""
    last = max(end_lsn - 1, start_lsn) // WAL_SEGMENT_BYTES
    numbers = range(start_lsn // WAL_SEGMENT_BYTES, last + 1)
    needed = [needed_segment(ancestry, number) for number in numbers]
    return tuple(
        name for name in needed if name not in have.whole and not (name.number == last and name in have.begun)
    )


@dataclass(frozen=True, slots=True)
class StreamStart:
    """Where to stream from: always the start of a segment."""

    timeline: int
    lsn: int


def plan_stream_start(
    ancestry: Ancestry, have: Archived, server_lsn: int, ended: Collection[int] = ()
) -> StreamStart:
    """Return where an archive goes on; an empty one begins with the segment the server writes.

    A begun segment is streamed anew from its start; behind the end of an older timeline the next one
    begins with the segment of the fork. `ended` are timelines that were streamed to their end already.
    """
    for index in range(len(ancestry) - 1, -1, -1):
        ancestor = ancestry[index]
        whole = [name.number for name in have.whole if name.timeline == ancestor.timeline]
        begun = [name.number for name in have.begun if name.timeline == ancestor.timeline]
        if not whole and not begun:
            continue
        number = max([*(n + 1 for n in whole), *begun])
        behind = ancestor.end_lsn is not None and number * WAL_SEGMENT_BYTES >= ancestor.end_lsn
        if behind or (ancestor.end_lsn is not None and ancestor.timeline in ended):
            child = ancestry[index + 1]
            return StreamStart(child.timeline, child.begin_lsn // WAL_SEGMENT_BYTES * WAL_SEGMENT_BYTES)
        return StreamStart(ancestor.timeline, number * WAL_SEGMENT_BYTES)
    return start_afresh(ancestry, server_lsn)


def start_afresh(ancestry: Ancestry, server_lsn: int) -> StreamStart:
    """Return the start of the segment that the server writes now."""
    return StreamStart(ancestry[-1].timeline, server_lsn // WAL_SEGMENT_BYTES * WAL_SEGMENT_BYTES)


def check_segment_head(head: bytes, name: WalName, system: str) -> None:
    """Compare a segment's first page header with where it is to stand; ArchiveBroken when it is foreign."""
    info = int.from_bytes(head[2:4], "little")
    timeline = int.from_bytes(head[4:8], "little")
    address = int.from_bytes(head[8:16], "little")
    found_system = str(int.from_bytes(head[24:32], "little"))
    size = int.from_bytes(head[32:36], "little")
    if len(head) < 40 or not info & _LONG_HEADER:
        raise ArchiveBroken(f"segment {name}: does not begin like a segment")
    if found_system != system:
        raise ArchiveBroken(f"segment {name}: of system {found_system}, this archive is of {system}")
    if address != name.start_lsn or timeline > name.timeline or size != WAL_SEGMENT_BYTES:
        raise ArchiveBroken(
            f"segment {name}: its header says timeline {timeline}, {format_lsn(address)}, {size} bytes"
        )


class Kind(enum.StrEnum):
    """Of what a base backup consists: everything, or what changed since its parent."""

    FULL = "full"
    INCREMENTAL = "incremental"


@dataclass(frozen=True, slots=True)
class Backup:
    """One base backup. `ended` (aware UTC) is when it became consistent at `stop_lsn`."""

    label: str
    kind: Kind
    parent: str | None
    began: datetime
    ended: datetime
    timeline: int
    start_lsn: int
    stop_lsn: int


def chain_of(backups: Sequence[Backup], last: Backup) -> tuple[Backup, ...] | None:
    """Return the chain from the full backup to `last`; None when a link is missing."""
    by_label = {backup.label: backup for backup in backups}
    chain = [last]
    while chain[-1].parent is not None:
        parent = by_label.get(chain[-1].parent)
        if parent is None:
            return None
        chain.append(parent)
    return tuple(reversed(chain)) if chain[-1].kind is Kind.FULL else None


@dataclass(frozen=True, slots=True)
class Range:
    """The instants that can be restored: both ends included, aware UTC; no backup: both None."""

    first: datetime | None
    last: datetime | None


def find_range(backups: Sequence[Backup], ancestry: Ancestry, covered_until: datetime | None) -> Range:
    """Return which instants the archive holds in the history that ends with `ancestry`."""
    ends = [b.ended for b in usable(backups, ancestry)]
    if not ends or covered_until is None or covered_until - COVERED_SLACK < min(ends):
        return Range(None, None)
    return Range(min(ends), covered_until - COVERED_SLACK)


def usable(backups: Sequence[Backup], ancestry: Ancestry) -> tuple[Backup, ...]:
    """Return the backups that are in the history and whose chain is whole."""
    return tuple(
        b for b in backups if is_in_history(ancestry, b.timeline, b.stop_lsn) and chain_of(backups, b)
    )


def choose_chain(
    backups: Sequence[Backup], ancestry: Ancestry, covered_until: datetime | None, to: datetime
) -> tuple[Backup, ...]:
    """Return the chain to restore `to` from: that of the newest backup that ended before it.

    TargetOutsideArchive names the range.
    """
    reach = find_range(backups, ancestry, covered_until)
    if reach.first is None or reach.last is None:
        raise TargetOutsideArchive("nothing can be restored yet: no base backup with its WAL is there")
    if not reach.first <= to <= reach.last:
        raise TargetOutsideArchive(
            f"{to.isoformat()} is not in the archive: it reaches from {reach.first.isoformat()} "
            f"to {reach.last.isoformat()}"
        )
    best = max((b for b in usable(backups, ancestry) if b.ended <= to), key=lambda b: b.ended)
    chain = chain_of(backups, best)
    assert chain is not None  # noqa: S101 - `usable` asked already
    return chain


@dataclass(frozen=True, slots=True)
class Retention:
    """What to drop: these labels, children first, and every segment that ends before `keep_from_lsn`."""

    drop: tuple[str, ...]
    keep_from_lsn: int


def plan_retention(backups: Sequence[Backup], keep_full: int) -> Retention:
    """Keep the newest `keep_full` chains and all WAL from the oldest kept backup's start on.

    Without a full backup nothing is dropped: the WAL may be what the next one needs.
    """
    fulls = sorted((b for b in backups if b.kind is Kind.FULL), key=lambda b: b.ended)
    kept_fulls = {b.label for b in fulls[-max(keep_full, 1) :]}
    chains = {b.label: chain_of(backups, b) for b in backups}
    kept = {label for label, chain in chains.items() if chain and chain[0].label in kept_fulls}
    if not kept:
        return Retention((), 0)
    dropped = sorted((b for b in backups if b.label not in kept), key=lambda b: b.ended, reverse=True)
    keep_from = min(b.start_lsn for b in backups if b.label in kept)
    return Retention(tuple(b.label for b in dropped), keep_from)


def superfluous(names: Collection[WalName], keep_from_lsn: int) -> tuple[WalName, ...]:
    """Return the segments that end at or before `keep_from_lsn`, on whatever timeline."""
    return tuple(sorted(n for n in names if n.start_lsn + WAL_SEGMENT_BYTES <= keep_from_lsn))


@dataclass(frozen=True, slots=True)
class Timetable:
    """How often to take what; a site that writes the cell itself waits twice as long."""

    full_every: timedelta
    incremental_every: timedelta


def decide_due(
    chain: tuple[Backup, ...] | None, table: Timetable, now: datetime, *, on_standby: bool
) -> Kind | None:
    """Say which backup is due now; `chain` is the newest whole one whose WAL is there without a gap."""
    if chain is None:
        return Kind.FULL
    patience = 1 if on_standby else 2
    if now - chain[0].ended >= table.full_every * patience:
        return Kind.FULL
    return Kind.INCREMENTAL if now - chain[-1].ended >= table.incremental_every * patience else None
