"""Which faults befall a schedule, drawn from its dice."""

from random import Random

from replication.model import Site
from replication.simulator.etcd import MEMBERS
from replication.simulator.faults import FIRST_MS, LAST_MS, Fault, Kind
from replication.simulator.links import Line

_WEIGHTS = {
    Kind.SITE_CRASH: 8, Kind.AGENT_CRASH: 5, Kind.AGENT_CRASH_AT: 8, Kind.AGENT_PAUSE: 7,
    Kind.AGENT_STOP: 4,
    Kind.SERVER_CRASH: 8, Kind.SERVER_MUTE: 4, Kind.LINE: 7, Kind.SPLIT: 7, Kind.ISOLATE: 6,
    Kind.MEMBER_DOWN: 3, Kind.QUORUM_LOSS: 5, Kind.ETCD_NOISE: 10, Kind.DISK_STALL: 3,
    Kind.DISK_LOSS: 2, Kind.MOVE: 6, Kind.HOLD: 1, Kind.GRANT_GONE: 0.2, Kind.FORCE: 4,
    Kind.DISK_HANG: 4, Kind.DISK_FULL: 3,
}  # fmt: skip
FORCED_SHARE = 0.08
"""Schedules in which a cell is driven into ALONE, loses its primary's site and is promoted at a loss: by
chance alone that is too rare."""


def draw_faults(rnd: Random, places: list[str]) -> tuple[Fault, ...]:
    """Draw one to seven faults; every third follows the one before it closely."""
    kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    faults: list[Fault] = []
    at_ms = FIRST_MS
    for _ in range(1 + int(rnd.random() * 7)):
        if faults and rnd.random() < 0.35:
            at_ms = faults[-1].at_ms + int(rnd.random() * 150)
        else:
            at_ms = FIRST_MS + int(rnd.random() * (LAST_MS - FIRST_MS))
        kind = rnd.choices(kinds, weights)[0]
        sites = MEMBERS if kind in (Kind.ISOLATE, Kind.MEMBER_DOWN, Kind.LINE) else MEMBERS[:2]
        faults.append(
            Fault(
                at_ms,
                kind,
                rnd.choice(sites),
                rnd.choice(places),
                20 + int(rnd.random() ** 2 * 1400),
                rnd.choice((Line.CUT, Line.HOLE, Line.HOLE, Line.SLOW)),
                int(rnd.random() * 7),
            )
        )
    if rnd.random() < FORCED_SHARE:
        faults += _forced_story(rnd, places)
    return tuple(sorted(faults, key=lambda fault: fault.at_ms))


def draw_pod_faults(rnd: Random, places: list[str]) -> tuple[Fault, ...]:
    """Draw up to three faults of single agents and pods, the longer ones more often than among the others."""
    faults = []
    for _ in range(int(rnd.random() * 4)):
        kind = rnd.choice((Kind.POD_LOSS, Kind.POD_LOSS, Kind.AGENT_CRASH, Kind.AGENT_PAUSE))
        at_ms = FIRST_MS + int(rnd.random() * (LAST_MS - FIRST_MS))
        place, for_ms, number = rnd.choice(places), 20 + int(rnd.random() * 2000), int(rnd.random() * 7)
        faults.append(Fault(at_ms, kind, Site(place.split("-")[1]), place, for_ms, number=number))
    return tuple(faults)


def _forced_story(rnd: Random, places: list[str]) -> list[Fault]:
    """The first place is the primary's, the second its sync copy's."""
    home, away = (Site(place.split("-")[1]) for place in places[:2])
    at_ms = FIRST_MS + int(rnd.random() * 100)
    lost_ms = at_ms + 780 + int(rnd.random() * 100)
    asked_ms, number = 1000 + int(rnd.random() * 900), int(rnd.random() * 4) // 3
    end = rnd.choice((Kind.SITE_CRASH, Kind.SITE_CRASH, Kind.ISOLATE, Kind.AGENT_PAUSE))
    return [
        Fault(at_ms, Kind.SPLIT, home, places[0], 3500),
        Fault(lost_ms, end, home, places[0], 2350 + int(rnd.random() * 450)),
        Fault(lost_ms + asked_ms, Kind.FORCE, away, places[1], 2800 - asked_ms, number=number),
    ]
