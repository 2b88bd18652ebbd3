"""After a drill was killed: put back what it may have broken, verify it, close its evidence.

Whatever a drill takes away, the stand's own `up` brings back: links are healed, missing processes started.
What is left are holds on fail-back and cells that stay where an operator's move put them. A measurement that
was cut off cannot be finished; the drill is run again.
"""

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from replication.etcd import Etcd
from replication.model import Site
from replication.tls import calling
from runbooks.drills.asking import open_agents
from runbooks.drills.history import HistoryWriter, read_history
from runbooks.drills.lock import DrillUnderWay, drill_lock
from runbooks.drills.past import find_interrupted
from runbooks.drills.records import INTENT, History, Mark
from runbooks.drills.scene import DrillRefused, find_settings, seal_evidence
from runbooks.drills.watch import GrantWatch, find_not_home, is_home
from runbooks.evidence import keep_journals, write_outcome
from runbooks.stand.home import UpOptions
from runbooks.stand.replicas import stop_all_replicas
from runbooks.stand.up import up

HOME_S = 60.0
"""Patience with cells on their way home. Source: our choice; home_after 8 s and one move a cell."""


async def resume_all(home: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Resume every killed drill of a stand; DrillRefused while another runs, StandError when `up` fails."""
    try:
        with drill_lock(home):
            left = find_interrupted(home / "evidence")
            if not left:
                return []
            faults = await put_back(home, left[-1], say)
            return [_close(home, folder, faults, say) for folder in left]
    except DrillUnderWay as error:
        raise DrillRefused(str(error)) from error


async def put_back(home: Path, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Bring the stand back to where every drill starts, told in its history; return what is not so."""
    _cut_torn_line(folder / "history.jsonl")
    history = HistoryWriter(folder / "history.jsonl")

    def mark(name: str, text: str) -> None:
        history.write(Mark(time.monotonic_ns(), name, text))
        history.sync()
        say(text)

    try:
        mark("resume", "the drill was killed: heal every link, start what does not run")
        await up(home, UpOptions())
        if left := await asyncio.to_thread(stop_all_replicas, home):
            mark("resume_replicas", f"{left} API processes beside the sites' own were left: ended")
        mark("resume_home", "release the hold on fail-back, bring every cell home")
        faults = await _bring_home(home, history)
        mark("resumed", "; ".join(faults) or "every cell is in sync at home")
        return faults
    finally:
        history.close()


async def _bring_home(home: Path, history: HistoryWriter) -> list[str]:
    settings = find_settings(home, None)
    async with (
        Etcd(settings.etcd_urls, calling(settings.tls_dir, "etcd")) as etcd,
        GrantWatch(etcd, history) as watch,
        open_agents(settings) as agents,
    ):
        await agents.release(Site.IDC)
        await watch.until(lambda grants: len(grants) == len(settings.cells), HOME_S)
        for cell in settings.cells:
            grant = watch.grants.get(cell.name)
            if grant is not None and grant.primary.site is not cell.home:
                await agents.move(grant.primary.site, cell.name, cell.home)
        await watch.until(partial(is_home, settings.cells), HOME_S)
        return find_not_home(settings.cells, watch.grants)


def _close(home: Path, folder: Path, faults: list[str], say: Callable[[str], None]) -> dict[str, Any]:
    """Write the verdict `unknown` and seal the folder; while something is not as before, leave it open."""
    history = read_history(folder / "history.jsonl")
    header = history.header
    plain = {
        "drill": header.drill if header else "",
        "site": header.site if header else "",
        "verdict": "unknown",
        "why": "; ".join(faults) or "the drill was killed before its end; all is as before, run it again",
        "intended": find_intents(history),
        "whole": not faults,
        "checks": {"not_interrupted": "unknown"},
        "evidence": str(folder),
    }
    if not faults:
        since_ns = header.started_ns if header else time.monotonic_ns()
        keep_journals(folder, home, since_ns, time.monotonic_ns())
        write_outcome(folder, plain, [])
        seal_evidence(home, Site.IDC, folder, say)
    return plain


def find_intents(history: History) -> list[str]:
    """Return what the drill was about to do, in order."""
    return [mark.text for mark in history.marks if mark.name == INTENT]


def _cut_torn_line(path: Path) -> None:
    """Drop the line that the killed drill was writing, so that more can be written after it."""
    with path.open("rb+") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        os.fsync(file.fileno())
