"""What a key rotation is carried through: a planned move, then every primary of a site lost with its agent.

With its agent gone nobody at the site can start a primary again: the other site has to take over unasked,
while rows are being re-wrapped. Afterwards everything is put back where the drill found it.
"""

import asyncio
import time
from functools import partial
from pathlib import Path

import aiohttp

from replication.model import CopyId, Mode, Site, other_data_site
from replication.tls import calling
from runbooks.drills.checkers import Finding
from runbooks.drills.records import History
from runbooks.drills.scene import Scene
from runbooks.drills.verdict import limit_finding
from runbooks.drills.watch import Grants, is_home
from runbooks.faults.catalogue import Victims
from runbooks.faults.victims import find_victims, kill_processes
from runbooks.stand.sites import live_processes
from runbooks.stand.topology import read_stand
from runbooks.stand.up import start_site

_MOVE_S = 25.0
"""Patience with the agent that moves a cell, then with its sync copy. Source: our choice, above the agent's
own 20 s."""
_TAKE_OVER_S = 20.0
"""Patience with the other site. Source: our choice, four times the promised 5 s."""
_HOME_S = 90.0
"""Patience with copies that rejoin and cells that go home. Source: the promised 60 s of a rejoin, then
home_after of 8 s and a move a cell, twice over."""


async def move_and_lose(scene: Scene) -> None:
    """Move the last cell to the other site, then lose that site's agent with all its primaries.

    Returns once another copy may write each of these cells, or in vain after `_TAKE_OVER_S`; the agent runs
    again by then, whatever happens. Nothing is lost of a cell that is not in sync: nobody could take it over.
    """
    cell, grant = max(scene.watch.grants.items())
    site = other_data_site(grant.primary.site)
    if not await _move(scene, cell, site):
        return
    scene.intend(f"kill the agent and the primaries of {site}", f"biyi site start {site}")
    try:
        killed_ns = time.monotonic_ns()
        epochs = await asyncio.to_thread(_lose_primaries, scene.options.home, site, dict(scene.watch.grants))
        for lost in epochs:
            scene.mark("kill", f"killed the agent of {site} and the primary of cell {lost}", killed_ns, lost)
        await scene.watch.until(partial(_all_newer, epochs=epochs), _TAKE_OVER_S)
    finally:
        await asyncio.shield(asyncio.to_thread(start_site, scene.options.home, site))
        scene.mark("agent_back", f"the agent of {site} runs again")


async def put_back(scene: Scene) -> None:
    """Bring every cell home: those that an operator's move holds elsewhere are told to, the others go."""
    for cell in scene.settings.cells:
        grant = scene.watch.grants[cell.name]
        if grant.pinned and grant.primary.site is not cell.home:
            await _move(scene, cell.name, cell.home)
    at_ns = await scene.watch.until(partial(is_home, scene.settings.cells), _HOME_S)
    if at_ns is None:
        scene.mark("not_home", f"not every cell is in sync at home after {_HOME_S:.0f} s: see `biyi cells`")
    else:
        scene.mark("home", "every cell is in sync at home", at_ns)


def check_failover(history: History) -> tuple[Finding, ...]:
    """Return whether a cell was moved and others were taken over during the rotation, and all went home.

    Without them the rotation would have shown nothing of a failover.
    """
    ends = {"move": history.mark_ns("kill"), "kill": history.mark_ns("rotated")}
    stayed: dict[str, list[str]] = {"move": [], "kill": []}
    cells: dict[str, set[str]] = {"move": set(), "kill": set()}
    for mark in history.marks:
        end_ns = ends.get(mark.name)
        if end_ns is not None and mark.at_ns <= end_ns:
            cells[mark.name].add(mark.cell)
            if not _changed_site(history, mark.cell, mark.at_ns, end_ns):
                stayed[mark.name].append(f"cell {mark.cell} stayed where it was")
    for name, seen in cells.items():
        if not seen:
            stayed[name].append(f"no step `{name}` during the rotation")
    home = [] if history.mark_ns("home") is not None else ["not every cell is SYNC at home"]
    return (
        limit_finding("keys_rotation_saw_a_move", stayed["move"], len(cells["move"])),
        limit_finding("keys_rotation_saw_a_take_over", stayed["kill"], len(cells["kill"])),
        limit_finding("keys_cells_went_home", home, 1),
    )


def _changed_site(history: History, cell: str, begin_ns: int, end_ns: int) -> bool:
    notes = [(note.at_ns, CopyId.parse(note.primary).site) for note in history.grants if note.cell == cell]
    before = [site for at_ns, site in notes if at_ns <= begin_ns]
    return any(site is not before[-1] for at_ns, site in notes if before and begin_ns < at_ns <= end_ns)


def _lose_primaries(home: Path, site: Site, grants: Grants) -> dict[str, int]:
    """Kill the site's agent, then every primary there; return by cell the epochs that are over."""
    stand = read_stand(home)
    lost = {cell: grant for cell, grant in sorted(grants.items()) if grant.primary.site is site}
    kill_processes([live_processes(home, site)["agent"]])
    for grant in lost.values():
        kill_processes(find_victims(stand.copies_dir(site) / grant.primary.place, Victims.TREE, 0.0))
    return {cell: grant.epoch for cell, grant in lost.items()}


def _all_newer(grants: Grants, epochs: dict[str, int]) -> bool:
    return all(
        grants[cell].epoch > epoch and grants[cell].mode in (Mode.SYNC, Mode.ALONE)
        for cell, epoch in epochs.items()
    )


async def _move(scene: Scene, cell: str, to: Site) -> bool:
    """Hand a cell over to the other site, as an operator would; say whether all are in sync, it there."""
    grant = scene.watch.grants[cell]
    scene.mark("move", f"move cell {cell} to {to}", cell=cell)
    url = f"{scene.settings.agent_urls[grant.primary.site]}/v1/cells/{cell}/move"
    connector = aiohttp.TCPConnector(ssl=calling(scene.settings.tls_dir, "agent"))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=_MOVE_S)) as http,
            http.post(url, json={"to": str(to)}) as answer,
        ):
            scene.say(f"cell {cell}: {(await answer.json()).get('outcome')}")
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        scene.say(f"cell {cell} was not moved to {to}: {type(error).__name__}")
    return await scene.watch.until(partial(_in_sync, cell=cell, to=to), _MOVE_S) is not None


def _in_sync(grants: Grants, cell: str, to: Site) -> bool:
    return grants[cell].primary.site is to and all(grant.mode is Mode.SYNC for grant in grants.values())
