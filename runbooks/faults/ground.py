"""The stand under faults: what is broken by which fault, and putting the sum of it into effect.

Each active fault keeps its effect here; what is down, cut or stopped is the sum over all of them, so that
healing one fault never heals another. Everything that blocks runs in a thread, one after the other.
"""

import asyncio
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from replication.model import Grant, Mode, Site
from runbooks.faults.catalogue import PROGRAMS, Effect, Victims
from runbooks.faults.model import Spot
from runbooks.faults.victims import continue_processes, find_victims, kill_processes, stop_processes
from runbooks.stand.links import LinkMode, LinkState, LinkTable, healed_table, read_links
from runbooks.stand.processes import Running, is_alive, read_pids, wait_until_gone, with_descendants
from runbooks.stand.sites import kill_site, live_processes, pids_path, set_links, start_missing
from runbooks.stand.topology import StandError, read_stand
from runbooks.stand.up import find_binaries

LINK_PATIENCE_S = 5.0
"""Patience with borders that do not take a link's state. Source: our choice; they start in 0.2 s."""
_GONE_S = 2.0
_WORST = {LinkMode.OK: 0, LinkMode.HOLE: 1, LinkMode.CUT: 2}


class Missed(Exception):
    """There was nothing to break: the fault did not take place. The message says what was missing."""


def add_links(tables: list[LinkTable]) -> LinkTable:
    """Return the worst state that any table asks for a link: CUT over HOLE over the longest delay."""
    total = healed_table()
    for table in tables:
        for name, state in table.items():
            if _badness(state) > _badness(total[name]):
                total[name] = state
    return total


def _badness(state: LinkState) -> tuple[int, int]:
    return (_WORST[state.mode], state.delay_ms)


class Ground:
    """What is broken on the stand of `home`. One caller at a time changes it: `lock`."""

    def __init__(self, home: Path) -> None:
        self.stand = read_stand(home)
        self.active: dict[int, Effect] = {}
        self.surprises: list[str] = []
        """Processes that had ended although no fault had ended them."""
        self._binaries = find_binaries()
        self._links: dict[int, LinkTable] = {}
        self._stopped: dict[int, list[Running]] = {}
        self._killed: set[tuple[str, str]] = set()
        self._lock = asyncio.Lock()

    async def begin(self, number: int, effect: Effect, spot: Spot, pick: float) -> str:
        """Put a fault into effect; returns a note for people. Missed when there is nothing to break."""
        async with self._lock:
            self.active[number] = effect
            try:
                return await asyncio.to_thread(self._begin, number, effect, spot, pick)
            except Missed:
                await asyncio.to_thread(self._end, number)
                raise

    async def turn_links(self, number: int, table: LinkTable) -> None:
        """Give a fault other link states (a rhythm's next step)."""
        async with self._lock:
            self._links[number] = table
            await asyncio.to_thread(self._apply_links)

    async def end(self, number: int) -> None:
        """Heal a fault; what another one keeps broken stays broken. Harmless for one that has ended."""
        async with self._lock:
            if number in self.active:
                await asyncio.to_thread(self._end, number)

    async def heal_all(self) -> tuple[str, ...]:
        """Heal whatever is broken, start whatever does not run; returns what had ended by itself."""
        async with self._lock:
            for number in list(self.active):
                await asyncio.to_thread(self._end, number)
            await asyncio.to_thread(self._apply_links, healed_table())
            await asyncio.to_thread(self._start_wanted)
            found, self.surprises = tuple(self.surprises), []
            return found

    def place_dir(self, place: str) -> Path:
        """Return the data directory of a place."""
        return self.stand.copies_dir(Site(place.split("-")[1])) / place

    def _begin(self, number: int, effect: Effect, spot: Spot, pick: float) -> str:
        notes = []
        if effect.lost_site:
            self._note_surprises(effect.lost_site)
            kill_site(self.stand.home, Site(effect.lost_site), keep_links=not effect.links)
        if effect.links or effect.lost_site:
            self._links[number] = effect.links
            self._apply_links()
        if effect.down and not effect.lost_site:
            notes.append(self._kill_programs(effect))
        self._killed |= effect.down
        if effect.stopped:
            notes.append(self._stop_programs(number, effect, spot))
        elif effect.victims is not None:
            notes.append(self._signal_victims(number, effect, spot, pick))
        return ", ".join(note for note in notes if note)

    def _kill_programs(self, effect: Effect) -> str:
        found = [
            live[program]
            for site, program in sorted(effect.down)
            if program in (live := live_processes(self.stand.home, Site(site)))
        ]
        if not found:
            raise Missed("none of its programs runs")
        kill_processes(found)
        wait_until_gone(found, _GONE_S)
        return f"killed {len(found)}"

    def _stop_programs(self, number: int, effect: Effect, spot: Spot) -> str:
        found: list[Running] = []
        for site, name in sorted(effect.stopped):
            program, _, alone = name.partition("/")
            running = live_processes(self.stand.home, Site(site)).get(program)
            if running is not None:
                found += [running] if alone else with_descendants([running])
        if effect.victims is Victims.TREE:
            for copies in self.stand.copies_dir(Site(spot.site)).glob("?*-*"):
                found += find_victims(copies, Victims.TREE, 0.0)
        if not found:
            raise Missed("none of its processes runs")
        self._stopped[number] = found
        stop_processes(found)
        return f"stopped {len({each.pid for each in found})} processes"

    def _signal_victims(self, number: int, effect: Effect, spot: Spot, pick: float) -> str:
        victims = effect.victims
        found = find_victims(self.place_dir(spot.place), victims, pick) if victims else []
        if not found:
            raise Missed(f"no {victims} runs at {spot.place}")
        if effect.kill:
            kill_processes(found)
            return f"killed {', '.join(str(each.pid) for each in found)}"
        self._stopped[number] = found
        stop_processes(found)
        return f"stopped {len(found)} at {spot.place}"

    def _end(self, number: int) -> None:
        self.active.pop(number, None)
        stopped = self._stopped.pop(number, [])
        others = {each for found in self._stopped.values() for each in found}
        continue_processes(each for each in stopped if each not in others)
        if self._links.pop(number, None) is not None:
            self._apply_links()
        self._start_wanted()

    def _start_wanted(self) -> None:
        """Start every program that no active fault keeps down."""
        down = frozenset().union(*(effect.down for effect in self.active.values()))
        for site, programs in PROGRAMS.items():
            wanted = tuple(program for program in programs if (site, program) not in down)
            live = live_processes(self.stand.home, Site(site))
            if all(program in live for program in wanted):
                continue
            self._note_surprises(site)
            started = start_missing(self.stand, Site(site), self._binaries, wanted)
            self._killed -= {(site, program) for program in started}

    def _note_surprises(self, site: str) -> None:
        for program, running in read_pids(pids_path(self.stand.home, Site(site))).items():
            if (site, program) not in self._killed and not is_alive(running):
                self._killed.add((site, program))
                self.surprises.append(f"{program} of {site} (process {running.pid}) ended by itself")

    def _apply_links(self, table: LinkTable | None = None) -> None:
        """Tell the borders; a border that has just been started may need a moment."""
        wanted = add_links(list(self._links.values())) if table is None else table
        path = self.stand.home / "links.json"
        present = read_links(path)
        changes = {name: state for name, state in wanted.items() if table or present[name] != state}
        if not changes:
            return
        end = time.monotonic() + LINK_PATIENCE_S
        while True:
            try:
                set_links(self.stand.home, changes)
                return
            except StandError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    async def lose_copy(self, grant: Grant, place: str) -> str:
        """Kill a copy's server and take its directory away, if another copy surely has everything.

        Only while the grant is settled at another place before *and* after the copy's server is dead:
        then what was acknowledged lies at that place, and nobody acknowledges here.
        """
        self.check_losable(grant, place)
        async with self._lock:
            found = find_victims(self.place_dir(place), Victims.TREE, 0.0)
            if not found:
                raise Missed(f"no server runs at {place}")
            kill_processes(found)
            await asyncio.to_thread(wait_until_gone, found, _GONE_S)
        return f"killed {len(found)}"

    def take_away(self, grant: Grant, place: str) -> str:
        """Second half of `lose_copy`, with the grant as read after the server was dead."""
        self.check_losable(grant, place)
        directory = self.place_dir(place)
        aside = directory.parent / ".staging" / f"lost-{time.monotonic_ns()}"
        with suppress(FileNotFoundError):
            directory.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        return "directory taken away"

    @staticmethod
    def check_losable(grant: Grant, place: str) -> None:
        """Raise Missed unless a settled grant names a primary at another place."""
        if grant.primary.place == place or grant.mode not in (Mode.SYNC, Mode.ALONE):
            raise Missed(f"{place} may be the last with everything: {grant.mode} at {grant.primary.place}")


def resolve_spot(target: str, grants: Mapping[str, Grant]) -> Spot:
    """Return what a target means by the grants as they stand; Missed when a cell has none."""
    kind, _, cell = target.partition(":")
    if not cell:
        return Spot(site=target if target in PROGRAMS else "")
    grant = grants.get(cell)
    if grant is None:
        raise Missed(f"no grant of cell {cell} is known")
    primary = grant.primary
    if kind != "copy":
        return Spot(str(primary.site), cell, primary.place)
    site = "cloud" if primary.site is Site.IDC else "idc"
    return Spot(site, cell, f"{cell}-{site}-0")
