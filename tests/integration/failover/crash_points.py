"""Every point at which an agent can end between two effects, and what brings it there on a real stand."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from replication.model import Mode, Site
from replication.postgres.copy import Copy, mark_broken
from replication.postgres.processes import kill_all
from runbooks.stand.home import home_lock
from runbooks.stand.links import HEALED, LinkMode, LinkState, link_name
from runbooks.stand.processes import Program, mark_of, start_detached, write_pids
from runbooks.stand.sites import live_processes, pids_path, set_links
from runbooks.stand.topology import read_stand
from tests.integration.failover.ending import ORDERS, Point, order, read_order
from tests.integration.failover.town import biyi, settings_of, wait_for_grants

ROOT = Path(__file__).parents[3]
REACHED_SECONDS = 150.0
BOTH_WAYS = (link_name("idc", "cloud"), link_name("cloud", "idc"))


def orders_of(home: Path) -> Path:
    return home / "orders.json"


def start_agent(home: Path, site: Site) -> None:
    """Start the site's agent under orders unless it runs."""
    live = live_processes(home, site)
    if "agent" in live:
        return
    stand = read_stand(home)
    command = (sys.executable, "-m", "tests.integration.failover.ending", "--settings")
    environment = ((ORDERS, str(orders_of(home))), ("PYTHONPATH", str(ROOT)))
    program = Program(
        "agent", (*command, str(home / site / "site.json")), stand.port(site, "agent"), environment
    )
    with home_lock(home, patience_s=5):
        log = home / site / "logs" / "agent.log"
        write_pids(
            pids_path(home, site),
            live | {"agent": start_detached(program, mark_of(home, site, "agent"), log)},
        )


def kill_agent(home: Path, site: Site) -> None:
    os.kill(live_processes(home, site)["agent"].pid, signal.SIGKILL)


def copy_at(home: Path, place: str) -> Copy:
    settings = settings_of(home, Site(place.split("-")[1]))
    return Copy.of_place(settings, settings.place(place))


async def _lose_primary(home: Path, point: Point) -> None:
    """The primary's agent and server die: its copy takes over, and its agent comes to the point."""
    order(orders_of(home), point)
    kill_agent(home, Site.IDC)
    await kill_all(copy_at(home, "a-idc-0"))


async def _lose_primary_and_come_back(home: Path, point: Point) -> None:
    """The former primary rejoins by a rewind, under orders."""
    await _be_superseded(home)
    await kill_all(copy_at(home, "a-idc-0"))
    order(orders_of(home), point)
    start_agent(home, Site.IDC)


async def _wake_superseded(home: Path, point: Point) -> None:
    """The agent comes back to a server that another copy has superseded."""
    await _be_superseded(home)
    order(orders_of(home), point)
    start_agent(home, Site.IDC)


async def _be_superseded(home: Path) -> None:
    before = await wait_for_grants(home, lambda grants: "a" in grants)
    kill_agent(home, Site.IDC)
    await wait_for_grants(
        home, lambda grants: grants["a"].epoch > before["a"].epoch and not grants["a"].candidate
    )


async def _lose_server(home: Path, point: Point) -> None:
    order(orders_of(home), point)
    await kill_all(copy_at(home, point.place))


async def _cut_and_heal(home: Path, point: Point) -> None:
    """The copy is left behind and joins again."""
    order(orders_of(home), point)
    set_links(home, dict.fromkeys(BOTH_WAYS, LinkState(LinkMode.CUT)))
    try:
        await wait_for_grants(
            home, lambda grants: grants["a"].mode is Mode.ALONE or not read_order(orders_of(home))
        )
    finally:
        set_links(home, dict.fromkeys(BOTH_WAYS, HEALED))


async def _break_copy(home: Path, point: Point) -> None:
    """A copy's directory is found broken: it is cloned anew once it has left the sync set."""
    order(orders_of(home), point)
    copy = copy_at(home, point.place)
    mark_broken(copy, "broken by a test")
    await kill_all(copy)


async def _move_away(home: Path, point: Point) -> None:
    """An agent that was only just started refuses the move: it is asked again until it comes to the point."""
    order(orders_of(home), point)
    async with asyncio.timeout(REACHED_SECONDS):
        while read_order(orders_of(home)) is not None:
            await asyncio.to_thread(biyi, home, "move", "a", "--to", "cloud")


@dataclass(frozen=True, slots=True)
class Way:
    """What brings a step's effects about at a place of cell a."""

    place: str
    step: str
    calls: tuple[str, ...]
    begin: Callable[[Path, Point], Awaitable[None]]

    def points(self, whens: tuple[str, ...]) -> list[tuple["Way", Point]]:
        return [(self, Point(self.place, self.step, call, when)) for call in self.calls for when in whens]


WAYS = (
    Way("a-cloud-0", "take", ("swap",), _lose_primary),
    Way("a-cloud-0", "promote", ("stop_receiver", "promote"), _lose_primary),
    Way("a-cloud-0", "finish_taking", ("write_marker", "swap", "open_to_clients"), _lose_primary),
    Way("a-idc-0", "stop_hard", ("kill_hard", "write_fenced"), _wake_superseded),
    Way("a-idc-0", "rejoin", ("stop_clean", "rewind"), _lose_primary_and_come_back),
    Way("a-idc-0", "leave", ("swap", "set_sync_names"), _cut_and_heal),
    Way("a-idc-0", "set_names", ("set_sync_names",), _cut_and_heal),
    Way("a-idc-0", "join", ("set_sync_names", "write_marker", "swap"), _cut_and_heal),
    Way("a-cloud-0", "clone", ("clone", "start"), _break_copy),
    Way("a-cloud-0", "start_standby", ("become_standby", "start"), _lose_server),
    Way("a-idc-0", "start_primary", ("write_fenced", "start"), _lose_server),
    Way("a-idc-0", "open", ("open_to_clients",), _lose_server),
    Way("a-idc-0", "begin_move", ("checkpoint", "swap"), _move_away),
    Way("a-idc-0", "drain_and_stop", ("wait_until_idle", "fence", "stop_clean"), _move_away),
    Way("a-idc-0", "hand_over", ("swap",), _move_away),
    Way("a-idc-0", "rejoin", ("become_standby", "start"), _move_away),
)  # fmt: skip
BOOTSTRAP = (
    Point("a-idc-0", "initialise", "initialise", "after"),
    Point("a-idc-0", "create_grant", "create_roles_and_database", "after"),
    Point("a-idc-0", "create_grant", "swap", "after"),
    Point("a-idc-0", "mark_epoch", "write_marker", "after"),
    Point("a-cloud-0", "clone", "clone", "during"),
)
LONG = ("clone", "rewind", "promote", "stop_clean", "start")
"""Calls that take long enough to end in the middle of."""
POINTS = [
    (way, point)
    for way in WAYS
    for way, point in way.points(("before", "after"))
    + [(w, p) for w, p in way.points(("during",)) if p.call in LONG]
]


async def wait_until_ended(home: Path, point: Point, beginning: asyncio.Task[None] | None = None) -> None:
    """Wait until the agent has ended at the ordered point, not merely until `beginning` killed it before."""
    site = Site(point.place.split("-")[1])
    try:
        async with asyncio.timeout(REACHED_SECONDS):
            while beginning and read_order(orders_of(home)) is None and not beginning.done():
                await asyncio.sleep(0.02)
            while read_order(orders_of(home)) is not None or "agent" in live_processes(home, site):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never came to {read_order(orders_of(home))}") from None
    finally:
        orders_of(home).unlink(missing_ok=True)
