"""Figures of a matrix run: how long writes paused around each fault, by injector. Pure; seconds."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runbooks.drills.measure import compute_percentile
from runbooks.faults.model import FaultDone


@dataclass(frozen=True, slots=True)
class Pause:
    """The longest time in which one cell acknowledged no write, begun or under way during a fault."""

    name: str
    cell: str
    seconds: float
    alone: bool
    """No other fault was active from a second before this one until the pause ended."""


@dataclass(frozen=True, slots=True)
class PauseSummary:
    """Write pauses of all faults of one name; `alone_*` over those without company, None without any."""

    name: str
    happened: int
    missed: int
    median_s: float
    max_s: float
    alone: int
    alone_max_s: float | None


_LEAD_NS = 1_000_000_000


def compute_pauses(faults: Sequence[FaultDone], acks_ns: Mapping[str, Sequence[int]]) -> list[Pause]:
    """Return for each fault that happened and each cell the longest pause that overlaps the fault.

    `acks_ns` holds, by cell, the instants at which writes were acknowledged, in order.
    """
    took_place = [fault for fault in faults if fault.happened]
    pauses = []
    for cell, instants in acks_ns.items():
        gaps = list(itertools.pairwise(instants))
        for fault in took_place:
            own = [gap for gap in gaps if gap[1] >= fault.began_ns and gap[0] <= fault.ended_ns]
            if not own:
                continue
            start_ns, end_ns = max(own, key=lambda gap: gap[1] - gap[0])
            alone = not any(
                other is not fault
                and other.began_ns <= end_ns
                and other.ended_ns >= fault.began_ns - _LEAD_NS
                for other in took_place
            )
            pauses.append(Pause(fault.name, cell, (end_ns - start_ns) / 1e9, alone))
    return pauses


def summarise_pauses(faults: Iterable[FaultDone], pauses: Iterable[Pause]) -> list[PauseSummary]:
    """Return one line an injector, by name; of each fault the worse cell counts in the maximum."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for fault in faults:
        counts[fault.name][0 if fault.happened else 1] += 1
    by_name: dict[str, list[Pause]] = defaultdict(list)
    for pause in pauses:
        by_name[pause.name].append(pause)
    return [
        PauseSummary(
            name, happened, missed,
            round(compute_percentile([p.seconds for p in by_name[name]], 0.5), 3),
            round(max((p.seconds for p in by_name[name]), default=0.0), 3),
            sum(p.alone for p in by_name[name]),
            max((round(p.seconds, 3) for p in by_name[name] if p.alone), default=None),
        )
        for name, (happened, missed) in sorted(counts.items())
    ]  # fmt: skip
