"""Figures of a drill from its recorded history. Pure; seconds as floats, instants as monotonic ns."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runbooks.drills.records import GrantNote, Op, Outcome


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, both ends monotonic nanoseconds."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Latencies of acknowledged operations in milliseconds, counted from the scheduled arrival."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def compute_percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile (`share` in 0..1) of values; 0.0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def compute_latency(ops: Iterable[Op]) -> LatencySummary:
    """Summarise the latency of the acknowledged operations among `ops`."""
    values = [op.latency_seconds * 1000 for op in ops if op.outcome is Outcome.OK]
    p50, p95, p99 = (round(compute_percentile(values, share), 1) for share in (0.50, 0.95, 0.99))
    return LatencySummary(len(values), p50, p95, p99, round(max(values, default=0.0), 1))


def find_first_write_after(ops: Iterable[Op], cell: str, kill_ns: int, epoch_before: int) -> Op | None:
    """Return the first write of the cell acknowledged after the kill by an epoch newer than before."""
    after = [
        op
        for op in ops
        if op.is_write
        and op.cell == cell
        and op.outcome is Outcome.OK
        and op.completed_ns > kill_ns
        and op.epoch > epoch_before
    ]
    return min(after, key=lambda op: op.completed_ns, default=None)


def compute_rto_seconds(ops: Iterable[Op], cell: str, kill_ns: int, epoch_before: int) -> float | None:
    """Return seconds from the kill to the first write acknowledged under a newer epoch, None if none was."""
    first = find_first_write_after(ops, cell, kill_ns, epoch_before)
    return None if first is None else (first.completed_ns - kill_ns) / 1e9


def compute_write_pause_seconds(ops: Iterable[Op], cell: str, window: Window) -> float:
    """Return the longest time in the window in which writes of the cell were due and none was acknowledged.

    A write is due from its scheduled arrival until its outcome is known. Silence while nothing is due is no
    pause: nobody waited. The edges count: what is due at the end of the window waits, too.
    """
    writes = sorted((op for op in ops if op.is_write and op.cell == cell), key=lambda op: op.completed_ns)
    acknowledged = [
        op.completed_ns
        for op in writes
        if op.outcome is Outcome.OK and window.start_ns <= op.completed_ns <= window.end_ns
    ]
    instants = [window.start_ns, *acknowledged, window.end_ns]
    longest_ns, due_ns = 0, window.end_ns
    for earlier, later in zip(reversed(instants[:-1]), reversed(instants[1:]), strict=True):
        while writes and writes[-1].completed_ns > earlier:
            due_ns = min(due_ns, writes.pop().scheduled_ns)
        longest_ns = max(longest_ns, later - max(earlier, due_ns))
    return longest_ns / 1e9


def select_in(ops: Iterable[Op], window: Window) -> list[Op]:
    """Return the operations whose outcome became known within the window."""
    return [op for op in ops if window.start_ns <= op.completed_ns <= window.end_ns]


def count_failed(ops: Iterable[Op], cell: str) -> int:
    """Return how many operations of the cell ended for the customer without an acknowledgement."""
    return sum(op.cell == cell and op.outcome is not Outcome.OK for op in ops)


def count_repeated(ops: Iterable[Op]) -> int:
    """Return how many operations needed more than one attempt."""
    return sum(len(op.attempts) > 1 for op in ops)


def compute_rates(ops: Iterable[Op], cell: str, origin_ns: int, bucket_s: float) -> list[tuple[float, float]]:
    """Return (start of the bucket in seconds from origin, acknowledged operations a second)."""
    buckets = Counter(
        math.floor((op.completed_ns - origin_ns) / 1e9 / bucket_s)
        for op in ops
        if op.cell == cell and op.outcome is Outcome.OK
    )
    if not buckets:
        return []
    return [(n * bucket_s, buckets[n] / bucket_s) for n in range(min(buckets), max(buckets) + 1)]


def find_rejoined_ns(grants: Iterable[GrantNote], cell: str, site: str, after_ns: int) -> int | None:
    """Return when the site's copy of the cell was first in the sync set (or primary) after an instant.

    A grant that already stood so at that instant counts as rejoined at that instant.
    """
    last_before: GrantNote | None = None
    for note in sorted(grants, key=lambda note: note.at_ns):
        if note.cell != cell:
            continue
        if note.at_ns <= after_ns:
            last_before = note
        elif takes_part(note, site):
            return after_ns if last_before and takes_part(last_before, site) else note.at_ns
    return after_ns if last_before and takes_part(last_before, site) else None


def takes_part(note: GrantNote, site: str) -> bool:
    """Whether a copy at the site is primary or in the sync set of a settled grant."""
    if note.mode not in ("SYNC", "ALONE"):
        return False
    return any(site_of(copy) == site for copy in (note.primary, *note.sync_set))


def site_of(copy: str) -> str:
    """Return the site in a copy id `<cell>-<site>-<ordinal>-<nonce>`."""
    return copy.split("-")[1]
