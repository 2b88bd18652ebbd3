"""Runbook: lose the witness under load; nothing may happen but an alarm.

When: before each release, after any change to etcd or the witness, and monthly.
Who approves: the operations lead on duty (on a stand: administrators).
Expected time: about 40 s; 6 s of load, 12 s without the witness, its start, 4 s more.
Abort rule: Ctrl-C at any time; the witness is started again whatever happens (by hand: `biyi site start
witness`).

Steps: check -> load -> kill the witness -> go on under load -> start it again -> stop the load -> resolve
-> read the final rows -> verify the audit trail -> judge: no request failed, no grant changed, no pause to
speak of.
"""

import asyncio
from collections.abc import Mapping

from replication.model import Site
from runbooks.drills.checkers import Finding
from runbooks.drills.one_fault import OneFault, judge_epochs, judge_pauses, judge_requests
from runbooks.drills.records import History
from runbooks.drills.scene import Scene
from runbooks.drills.verdict import limit_finding
from runbooks.stand.sites import kill_site
from runbooks.stand.up import start_site

DEAD_S = 12.0
"""Time without the witness. Source: our choice, that of a site loss."""
PAUSE_LIMIT_S = 1.0
"""Longest write pause. Source: our choice; writes do not ask etcd, so this is what a busy machine may add."""


def make_witness_loss() -> OneFault:
    """Return the drill."""
    return OneFault(
        drill="witness-loss",
        site=str(Site.WITNESS),
        viewer=Site.IDC,
        title=("Witness loss drill", "见证节点失效演练"),
        told=(
            "The witness was killed while customers went on; two of three etcd members are a majority, so "
            "nothing was to move.",
            "客户持续使用期间见证节点被终止；三个 etcd 成员中两个仍构成多数，单元不应有任何迁移。",
        ),
        begin=_kill,
        heal=_start,
        lasts_s=DEAD_S,
        limits=judge_witness_loss,
        words="witness-loss",
    )


def judge_witness_loss(history: History, homes: Mapping[str, str]) -> tuple[Finding, ...]:
    """No request failed, no epoch and no mode changed, writes did not pause."""
    fault_ns = history.mark_ns("fault") or 0
    changed = [
        f"cell {note.cell} became {note.mode} in epoch {note.epoch}"
        for note in history.grants
        if note.at_ns > fault_ns and note.mode != "SYNC"
    ]
    return (
        judge_requests(history),
        judge_epochs(history, homes),
        limit_finding("stayed_in_sync", changed, len(homes)),
        judge_pauses(history, dict.fromkeys(homes, PAUSE_LIMIT_S)),
    )


async def _kill(scene: Scene) -> None:
    scene.say("kill the witness: silence on its links, SIGKILL to its processes")
    lost_at_s = await asyncio.to_thread(kill_site, scene.options.home, Site.WITNESS)
    scene.mark("fault", "the witness is dead", int(lost_at_s * 1e9))


async def _start(scene: Scene) -> None:
    await asyncio.to_thread(start_site, scene.options.home, Site.WITNESS)
    scene.mark("healed", "the witness runs again")
