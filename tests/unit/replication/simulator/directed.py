"""Fault lists that lead to the rarer broken rules within few schedules; delays still come from the seed."""

from replication.model import Site, other_data_site
from replication.simulator.faults import Fault, Kind
from replication.simulator.links import Line


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
    return None
