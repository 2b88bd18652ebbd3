"""Schedules composed from a seed, and their file.

Faults of a batch follow each other closely: some begin together, most while an earlier one lasts or
heals, some only after it. What may not be composed: two lost directories of one cell in one batch (a
directory is the one thing here that does not heal), more than `MAX_ACTIVE` faults at once. Everything
else may coincide: it may stop service, but must lose nothing.
"""

import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from runbooks.faults.catalogue import INJECTORS, Injector
from runbooks.faults.model import Aim, Batch, FaultPlan, Schedule

BATCH_LEAST, BATCH_MOST = 10, 20
"""Faults a batch. Source: our choice; one recovery and one check for so many."""
BATCH_LENGTH_S = 30.0
"""Nothing lasts beyond this. Source: our choice; over twice the longest common fault."""
MAX_ACTIVE = 4
"""Faults at once. Source: our choice; more leave nothing running that could go wrong."""
_TOGETHER, _AFTER = 0.15, 0.25
"""Shares of faults that begin with the one before, and of those that wait for its end."""
_MEAN_GAP_S = 0.8
_DATA_SITES = ("idc", "cloud")
_PAIRS = ("idc-cloud", "idc-cloud", "idc-cloud", "idc-witness", "cloud-witness")
"""The data sites' pair thrice: streams cross it."""
_LINKS = ("idc>cloud", "cloud>idc", "idc>cloud", "cloud>idc", "idc>witness", "witness>idc", "cloud>witness",
          "witness>cloud")  # fmt: skip
_ADAPTER = TypeAdapter(Schedule)


class ScheduleError(Exception):
    """A schedule cannot be made or read; the message says why."""


def compose_schedule(seed: int, faults: int, cells: Sequence[str], names: Sequence[str] = ()) -> Schedule:
    """Return `faults` faults in batches, drawn from `names` (default: the whole catalogue).

    ScheduleError for a name that is not in the catalogue or a number under one.
    """
    unknown = sorted(set(names) - INJECTORS.keys())
    if unknown:
        raise ScheduleError(f"unknown faults: {', '.join(unknown)}; `biyi faults list` shows them all")
    if faults < 1:
        raise ScheduleError(f"faults {faults}: needs at least 1")
    chosen = [INJECTORS[name] for name in (names or INJECTORS)]
    batches: list[Batch] = []
    number = 0
    while number < faults:
        draw = random.Random(f"{seed}-{len(batches)}")  # noqa: S311 - a schedule, nothing secret
        size = min(draw.randint(BATCH_LEAST, BATCH_MOST), faults - number)
        made = tuple(_compose_batch(draw, chosen, cells, number, size))
        batches.append(Batch(len(batches), made))
        number += size
    return Schedule(seed, tuple(names), tuple(batches))


def check_schedule(schedule: Schedule, cells: Sequence[str]) -> None:
    """Refuse a schedule (from a file) that names what does not exist or loses two copies of a cell."""
    for batch in schedule.batches:
        lost = [fault.target for fault in batch.faults if fault.name == "copy-lost"]
        if len(lost) != len(set(lost)):
            raise ScheduleError(
                f"batch {batch.number}: copy-lost twice for one cell; one copy has to be left"
            )
        for fault in batch.faults:
            injector = INJECTORS.get(fault.name)
            if injector is None:
                raise ScheduleError(f"fault {fault.number}: unknown name {fault.name!r}")
            if fault.target not in targets_of(injector, cells):
                raise ScheduleError(
                    f"fault {fault.number}: {fault.name} needs a {injector.aim}, not {fault.target!r}"
                )
            if not (0 <= fault.at_s <= 600 and 0 <= fault.duration_s <= 600 and 0 <= fault.pick < 1):
                raise ScheduleError(f"fault {fault.number}: at_s, duration_s 0 to 600 s, pick 0 to 1")


def targets_of(injector: Injector, cells: Sequence[str]) -> tuple[str, ...]:
    """Return everything an injector can be aimed at."""
    primaries, copies = [f"primary:{c}" for c in cells], [f"copy:{c}" for c in cells]
    match injector.aim:
        case Aim.DATA_SITE:
            return _DATA_SITES
        case Aim.SITE:
            return (*_DATA_SITES, "witness")
        case Aim.WITNESS:
            return ("witness",)
        case Aim.PAIR:
            return _PAIRS
        case Aim.LINK:
            return _LINKS
        case Aim.PRIMARY:
            return tuple(primaries)
        case Aim.COPY:
            return tuple(copies)
        case Aim.SERVER:
            return (*primaries, *primaries, *copies)
        case Aim.CELL:
            return tuple(f"cell:{c}" for c in cells)
        case Aim.ALL:
            return ("all",)


def _compose_batch(
    draw: random.Random, chosen: Sequence[Injector], cells: Sequence[str], first: int, size: int
) -> Iterable[FaultPlan]:
    made: list[FaultPlan] = []
    at_s = 0.5
    weights = [injector.weight for injector in chosen]
    for number in range(first, first + size):
        (injector,) = draw.choices(chosen, weights)
        target = draw.choice(targets_of(injector, cells))
        if injector.name == "copy-lost" and any((f.name, f.target) == ("copy-lost", target) for f in made):
            injector, target = INJECTORS["router-cut"], "all"
        duration_s = _log_uniform(draw, injector.least_s, injector.most_s)
        at_s = _next_start(draw, made, at_s)
        duration_s = min(duration_s, max(injector.least_s, BATCH_LENGTH_S - at_s))
        made.append(
            FaultPlan(number, injector.name, target, round(at_s, 3), round(duration_s, 3), draw.random())
        )
    return made


def _next_start(draw: random.Random, made: Sequence[FaultPlan], at_s: float) -> float:
    if not made:
        return at_s
    kind = draw.random()
    last_end_s = made[-1].at_s + made[-1].duration_s
    if kind < _TOGETHER:
        start_s = at_s
    elif kind < _TOGETHER + _AFTER and last_end_s < BATCH_LENGTH_S:
        start_s = max(at_s, last_end_s + draw.uniform(0.0, 0.5))
    else:
        start_s = at_s + min(3.0, draw.expovariate(1 / _MEAN_GAP_S))
    ends = sorted(fault.at_s + fault.duration_s for fault in made)
    still = [end_s for end_s in ends if end_s > start_s]
    return still[-MAX_ACTIVE] if len(still) >= MAX_ACTIVE else start_s


def _log_uniform(draw: random.Random, least: float, most: float) -> float:
    return math.exp(draw.uniform(math.log(least), math.log(most)))


def write_schedule(path: Path, schedule: Schedule) -> None:
    """Write a schedule as JSON."""
    path.write_bytes(_ADAPTER.dump_json(schedule, indent=1) + b"\n")


def read_schedule(path: Path, cells: Sequence[str]) -> Schedule:
    """Read a schedule back; ScheduleError names the file and the field that is wrong."""
    try:
        schedule = _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise ScheduleError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'schedule'}: {e['msg']}" for e in error.errors()[:5]]
        raise ScheduleError(f"{path}: {'; '.join(lines)}") from error
    check_schedule(schedule, cells)
    return schedule
