"""Runbook: release a new version of the API node by node; one that errs is taken back by itself.

When: with each release; as a drill before the first one of a quarter. In clusters a Deployment rolls node by
node and stops at the first pod that is not ready (`kubectl -n biyi rollout status deployment/api`; back:
`kubectl -n biyi rollout undo deployment/api`); `biyi deploy` tells what it waits for.
Who approves: the release manager and the operations lead on duty (on a stand: administrators).
Expected time: about 90 s; 6 s of load, for each of three trials the start of an API (some seconds) and at
most 20 s of customers, the replacement of both nodes, 4 s more. Source: the pauses below.
Abort rule: Ctrl-C at any time; the tried process is ended, the old nodes serve on.

Steps: check -> load -> start a faulty release beside the first node, it joins the balancer -> compare its
answers with the old nodes' -> it errs more: roll it back, no node was touched -> start the good release
beside the first node -> compare: it is as good -> the old node leaves the balancer, finishes, is replaced,
joins again -> the same at the second node -> stop the load -> resolve -> read the final rows -> verify the
audit trail -> judge: the faulty release was rolled back by itself, both nodes run anew, no request failed.
(The stand has one version of the code: the good release is that, the faulty one has a defect on purpose.)
"""

import asyncio
import enum
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from replication.model import DATA_SITES, Site
from runbooks.drills.checkers import Finding
from runbooks.drills.entrances import LEAVE_S, join, leave, wait_until_ready
from runbooks.drills.history import read_history
from runbooks.drills.measure import compute_percentile
from runbooks.drills.one_fault import OneFault, judge_epochs, judge_pauses, judge_requests
from runbooks.drills.records import Attempt, History, Outcome
from runbooks.drills.scene import Scene
from runbooks.drills.verdict import PAUSE_LIMIT_S, limit_finding
from runbooks.stand.replicas import PREFIX, RELEASED, replace_api, stop_all_replicas

FAULTY = "runbooks.drills.faulty_release"
LEAST = 60
"""Answers of a release before it is judged. Source: our choice; a defect in one write of ten is missed by
chance once in 500 releases."""
TRIAL_S = 20.0
"""Longest trial. Source: our choice, over thrice what `LEAST` answers take at the drill's own load."""
LOOK_S = 1.0
"""Pause between two comparisons. Source: our choice."""
ERRORS_MORE = 0.02
"""Share of errors above the old nodes' at which a release is taken back. Source: our choice, one in fifty."""
SLOWER = 3.0
"""How many times slower its p95 may be. Source: our choice; a process that just started is slower."""
SLOWER_MS = 100.0
"""And so much more in any case. Source: our choice, noise of a busy machine."""


class Judgement(enum.StrEnum):
    """What becomes of a release that is tried."""

    GO_ON = "go_on"
    ROLL_BACK = "roll_back"
    TOO_FEW = "too_few"
    """Not enough answers to tell yet; at the end of the trial that is a reason to roll back."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of some entrances since the trial began. Times in milliseconds."""

    count: int
    errors: int
    p95_ms: float

    @property
    def error_share(self) -> float:
        """Return the share of errors, 0 without answers."""
        return self.errors / self.count if self.count else 0.0


def count_answers(attempts: Iterable[Attempt]) -> Answers:
    """Count attempts: an error is one that left its customer not knowing what happened (500, broken off)."""
    found = list(attempts)
    errors = [one for one in found if one.outcome is Outcome.UNKNOWN]
    times_ms = [(one.end_ns - one.start_ns) / 1e6 for one in found]
    return Answers(len(found), len(errors), compute_percentile(times_ms, 0.95) if times_ms else 0.0)


def decide_release(old: Answers, new: Answers) -> tuple[Judgement, str]:
    """Return what becomes of a release, and why. Pure; errors are judged as soon as there are enough."""
    if new.count < LEAST:
        return Judgement.TOO_FEW, f"{new.count} answers, {LEAST} are needed"
    if new.error_share > old.error_share + ERRORS_MORE:
        return Judgement.ROLL_BACK, f"{new.error_share:.1%} errors, the old nodes {old.error_share:.1%}"
    if new.p95_ms > max(SLOWER * old.p95_ms, old.p95_ms + SLOWER_MS):
        return Judgement.ROLL_BACK, f"p95 {new.p95_ms:.0f} ms, the old nodes {old.p95_ms:.0f} ms"
    return Judgement.GO_ON, f"{new.count} answers, {new.error_share:.1%} errors, p95 {new.p95_ms:.0f} ms"


def make_grey_release() -> OneFault:
    """Return the drill."""
    return OneFault(
        drill="grey-release",
        site="",
        viewer=Site.IDC,
        title=("Grey release drill", "灰度发布与自动回滚演练"),
        told=(
            "A faulty release of the API was tried with some customers and taken back by itself; a good one "
            "then replaced both sites' nodes one after the other.",
            "有缺陷的 API 版本先由部分客户试用，随后被自动撤回；良好版本再逐一替换两个站点的节点。",
        ),
        begin=_release,
        heal=_clear,
        lasts_s=0.0,
        limits=judge_release,
        words="grey-release",
    )


def judge_release(history: History, homes: Mapping[str, str]) -> tuple[Finding, ...]:
    """The faulty one was rolled back before any node was replaced, both nodes are new, nobody failed."""
    back_ns = history.mark_ns("rolled_back")
    replaced = [mark for mark in history.marks if mark.name == "replaced"]
    kept = [] if back_ns is not None else ["the faulty release was not rolled back"]
    kept += [
        "a node was replaced before that" for mark in replaced if back_ns is None or mark.at_ns < back_ns
    ]
    missing = len(DATA_SITES) - len(replaced)
    told = [mark.text for mark in history.marks if mark.name == "stopped"]
    return (
        limit_finding("faulty_release_was_rolled_back", kept, 1),
        limit_finding(
            "every_node_was_replaced", told or ["a node was not reached"] * missing, len(DATA_SITES)
        ),
        judge_requests(history),
        judge_epochs(history, homes),
        judge_pauses(history, dict.fromkeys(homes, PAUSE_LIMIT_S)),
    )


async def _release(scene: Scene) -> None:
    first = DATA_SITES[0]
    scene.mark("fault", f"try the faulty release beside the API of {first}")
    judged, why = await _try(scene, first, f"{PREFIX}{first}-faulty", FAULTY)
    if judged is Judgement.GO_ON:
        scene.mark("stopped", f"nobody saw the defect: {why}")
        return
    scene.mark("rolled_back", f"taken back, no node was touched: {why}")
    for site in DATA_SITES:
        scene.mark("try", f"try the good release beside the API of {site}")
        judged, why = await _try(scene, site, f"{PREFIX}{site}-new", RELEASED)
        if judged is not Judgement.GO_ON:
            scene.mark("stopped", f"the good release was taken back at {site}: {why}")
            return
        await _replace(scene, site, why)


async def _try(scene: Scene, site: Site, name: str, program: str) -> tuple[Judgement, str]:
    """Let a release serve some customers until it can be judged; it has ended when this returns."""
    replica = await join(scene, site, name, program)
    begun_ns = time.monotonic_ns()
    try:
        while True:
            await asyncio.sleep(LOOK_S)
            judged, why = decide_release(*await asyncio.to_thread(_answers, scene, name, begun_ns))
            over = time.monotonic_ns() - begun_ns > TRIAL_S * 1e9
            if judged is not Judgement.TOO_FEW or over:
                return judged, why
    finally:
        await leave(scene, replica)


def _answers(scene: Scene, name: str, since_ns: int) -> tuple[Answers, Answers]:
    """Return what the old nodes and the one called `name` answered since then."""
    ops = read_history(scene.folder / "history.jsonl").ops
    attempts = [attempt for op in ops for attempt in op.attempts if attempt.start_ns >= since_ns]
    return (
        count_answers(attempt for attempt in attempts if attempt.entrance != name),
        count_answers(attempt for attempt in attempts if attempt.entrance == name),
    )


async def _replace(scene: Scene, site: Site, why: str) -> None:
    """Replace a node: nobody is sent to it any more, it finishes, the new one joins once it is ready."""
    url = scene.load.entrances[str(site)]
    scene.intend(f"replace the API of {site}", "biyi stand up")
    scene.load.close_entrance(str(site))
    await asyncio.sleep(LEAVE_S)
    old, new = await asyncio.to_thread(replace_api, scene.options.home, site)
    await wait_until_ready(scene, url)
    scene.load.open_entrance(str(site), url)
    scene.mark("replaced", f"{site} runs the new release (process {old}, now {new}): {why}")


async def _clear(scene: Scene) -> None:
    left = await asyncio.to_thread(stop_all_replicas, scene.options.home)
    scene.mark("healed", f"{left} tried processes were left to end" if left else "both nodes serve")
