"""Fault lists that lead to the rarer broken rules within few schedules; delays still come from the seed."""

from typing import Any

from replication.model import DATA_SITES, Site, other_data_site
from replication.simulator.faults import Fault, Kind
from replication.simulator.links import Line
from replication.simulator.shape import Agents


def directed_faults(name: str, home: Site) -> tuple[Fault, ...] | None:
    """Return faults for a cell at `home`, in sync with the other site; None: the seed's own will do."""
    away = other_data_site(home)
    primary, copy = f"a-{home}-0", f"a-{away}-0"
    match name:
        case "act-on-an-old-look":
            return tuple(Fault(at, Kind.AGENT_PAUSE, home, primary, 1200) for at in (400, 1900))
        case "bootstrap-unproven":
            return (
                Fault(400, Kind.GRANT_GONE, home, primary, 60),
                Fault(500, Kind.DISK_LOSS, home, primary, 60),
            )
        case "create-again":
            return (
                Fault(30, Kind.ETCD_NOISE, home, primary, 500, number=2),
                Fault(1000, Kind.GRANT_GONE, home, primary, 60, number=1),
            )
        case "reuse-a-timeline":
            return (
                Fault(400, Kind.SITE_CRASH, home, primary, 500),
                Fault(401, Kind.AGENT_CRASH_AT, away, copy, 900, number=7),
                Fault(2200, Kind.MOVE, away, copy, 500),
            )
        case "believe-the-file":
            return (
                Fault(2450, Kind.AGENT_CRASH_AT, home, primary, 60, number=3),
                Fault(2451, Kind.SERVER_CRASH, home, primary, 60),
            )
        case "force-on-an-old-price":
            return (
                Fault(110, Kind.FORCE, away, copy, 3590, number=1),
                Fault(150, Kind.SPLIT, home, primary, 800),
                Fault(950, Kind.SITE_CRASH, home, primary, 2700),
            )
        case "force-before-the-fence":
            return (
                Fault(100, Kind.SPLIT, home, primary, 2600),
                Fault(950, Kind.ISOLATE, home, primary, 1700),
                Fault(1300, Kind.FORCE, away, copy, 1300),
            )
        case "force-past-a-living-primary":
            return (Fault(1500, Kind.FORCE, away, copy, 900),)
        case "join-on-shown-names":
            return (
                Fault(200, Kind.SPLIT, home, primary, 900, Line.HOLE),
                Fault(1050, Kind.DISK_STALL, home, primary, 900, number=3),
            )
        case "shrink-on-a-read" | "shrink-on-unknown":
            return (
                Fault(200, Kind.SPLIT, home, primary, 900, Line.HOLE),
                Fault(700, Kind.ETCD_NOISE, home, primary, 2000, number=1),
                Fault(1300, Kind.SPLIT, home, copy, 800, Line.HOLE),
            )
    return _directed_by_copy(name, home)


BY_COPY = Agents(by_copy=frozenset(DATA_SITES))
COPIES_BY_COPY = {
    "any-beat-of-the-site": 2, "any-answer-of-the-site": 2, "count-who-told": 2,
    "worst-beat-of-the-site": 3, "any-promise": 3,
}  # fmt: skip
"""Rules that can be broken only where each copy has an agent of its own, and with how many copies."""


def directed_shape(name: str) -> dict[str, Any]:
    """Return agents and copies with which the directed faults lead there; {}: the seed's own will do."""
    return {"agents": BY_COPY, "copies": COPIES_BY_COPY[name]} if name in COPIES_BY_COPY else {}


def _directed_by_copy(name: str, home: Site) -> tuple[Fault, ...] | None:
    away = other_data_site(home)
    primary, copy = f"a-{home}-0", f"a-{away}-0"
    match name:
        case "any-beat-of-the-site" | "any-answer-of-the-site":
            return (Fault(900, Kind.AGENT_CRASH, home, primary, 2500),)
        case "worst-beat-of-the-site":
            beside = f"a-{home}-1"
            return (
                Fault(700, Kind.POD_LOSS, home, beside, 2500), Fault(900, Kind.SPLIT, home, primary, 380),
            )  # fmt: skip
        case "any-promise":
            return (
                Fault(500, Kind.AGENT_PAUSE, away, copy, 2500),
                Fault(520, Kind.QUORUM_LOSS, home, primary, 2500),
            )
        case "count-who-told":
            return (
                Fault(400, Kind.POD_LOSS, away, copy, 2500),
                Fault(420, Kind.GRANT_GONE, home, primary, 60),
                Fault(1600, Kind.DISK_LOSS, home, primary, 60),
            )
    return None
