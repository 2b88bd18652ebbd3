"""Runbook: restore a cell to a chosen second while customers go on; every row has to be that second's.

When: monthly (a backup that was never restored is none), after any change to backups, and before a big
migration.
Who approves: the operations lead on duty (on the stand: nobody).
Expected time: about 60 s; 6 s of load, a full backup and its verification, 3 s on either side of the chosen
second, the wait for its WAL to be archived (5 s at most), the restore and its comparison, 4 s more.
Abort rule: Ctrl-C at any time; the restored copy is removed, the running cells are never touched.

Steps: check -> load -> take a full backup of the cell at both sites -> choose a second -> wait until an
archive holds it -> restore it beside the running cell -> compare every row with the living cell and debits
with credits -> remove it -> stop the load -> resolve -> read the final rows -> verify the audit trail ->
judge.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

import click
import psycopg

from compliance.protection.errors import ProtectionError
from replication.backup.errors import BackupError, TargetOutsideArchive
from replication.backup.plan import Kind
from replication.model import Site
from replication.postgres.copy import PostgresError
from runbooks.backup import Place, places, take_everywhere
from runbooks.drills.checkers import Finding
from runbooks.drills.one_fault import OneFault, judge_epochs, judge_pauses, judge_requests
from runbooks.drills.records import History
from runbooks.drills.scene import DrillRefused, Scene
from runbooks.drills.verdict import PAUSE_LIMIT_S, limit_finding
from runbooks.restore import Wish, choose_place, restore_cell

AROUND_S = 3.0
"""Load before and after the chosen second. Source: our choice; some hundred operations on either side."""
ARCHIVED_LIMIT_S = 5.0
"""Limit until an archive holds the second. Source: the promised lag of the archive."""
PATIENCE_S = 30.0
"""Patience with the archive, so that a late one is measured. Source: our choice."""
RESTORED = "restored"


def make_restore_drill(cell: str) -> OneFault:
    """Return the drill that restores `cell`."""
    return OneFault(
        drill="restore",
        site="",
        viewer=Site.IDC,
        title=(f"Restore drill: cell {cell} to a chosen second", f"按时点恢复演练：单元 {cell}"),
        told=(
            f"Cell {cell} was restored to a chosen second beside the running one while customers went on.",
            f"客户持续使用期间，在运行中的单元 {cell} 旁将其恢复至选定时点。",
        ),
        begin=partial(_back_up_and_restore, cell=cell),
        heal=_nothing_to_heal,
        lasts_s=0.0,
        limits=judge_restore,
        words=f"restore --cell {cell}",
    )


def judge_restore(history: History, homes: Mapping[str, str]) -> tuple[Finding, ...]:
    """The restored rows are those of the second, archived in time, and customers did not notice."""
    chosen_ns, held_ns = history.mark_ns("chosen"), history.mark_ns("archived")
    lag_s = (held_ns - chosen_ns) / 1e9 if chosen_ns is not None and held_ns is not None else None
    late = lag_s is None or lag_s > ARCHIVED_LIMIT_S
    said = "never" if lag_s is None else f"after {lag_s:.1f} s"
    restored = history.mark_ns(RESTORED) is not None
    why = next((mark.text for mark in history.marks if mark.name == "not_restored"), "there was no restore")
    return (
        limit_finding(
            "archive_held_it_in_time", [f"{said}, limit {ARCHIVED_LIMIT_S:g} s"] if late else [], 1
        ),
        limit_finding("restore_is_that_second", [] if restored else [why], 1),
        judge_requests(history),
        judge_epochs(history, homes),
        judge_pauses(history, dict.fromkeys(homes, PAUSE_LIMIT_S)),
    )


async def _back_up_and_restore(scene: Scene, cell: str) -> None:
    try:
        found = places(cell, None)
    except click.ClickException as error:
        raise DrillRefused(error.message) from error
    scene.mark("fault", f"take a full backup of cell {cell} at both sites")
    taken = await take_everywhere(found, Kind.FULL, lambda *_: None)
    if failed := [f"{one.title}: {one.failed}" for one in taken if one.failed]:
        raise DrillRefused(f"no backup to restore from: {'; '.join(failed)}")
    await asyncio.sleep(AROUND_S)
    chosen = datetime.now(UTC)  # noqa: TID251 - a restore is asked for by people's time
    scene.mark("chosen", f"restore to {chosen:%H:%M:%S.%f} UTC")
    if not await _wait_until_archived(scene, found, chosen):
        return
    await asyncio.sleep(AROUND_S)
    try:
        plain, findings = await restore_cell(
            Wish(cell, chosen, None, None, leave_running=False), lambda *_: None
        )
    except (BackupError, PostgresError, ProtectionError, psycopg.Error, OSError) as error:
        scene.mark("not_restored", f"{type(error).__name__}: {error}")
        return
    holds = findings.good and findings.compared
    rows = sum(int(table["rows"]) for table in plain["tables"])
    text = f"cell {cell} from {plain['site']}: {rows:,} rows in {plain['seconds']['all']:.1f} s"
    if holds:
        scene.mark(RESTORED, text)
    else:
        scene.mark("not_restored", f"{text}: not the rows of that second")


async def _wait_until_archived(scene: Scene, found: list[Place], chosen: datetime) -> bool:
    """Note when an archive holds the second; False when none did in time."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            await asyncio.to_thread(choose_place, found, chosen)
        except TargetOutsideArchive as error:
            if time.monotonic() > end_s:
                scene.mark("not_restored", str(error))
                return False
            await asyncio.sleep(0.1)
        else:
            scene.mark("archived", "an archive holds it")
            return True


async def _nothing_to_heal(scene: Scene) -> None:
    scene.mark("healed", "nothing to heal: the running cells were never touched")
