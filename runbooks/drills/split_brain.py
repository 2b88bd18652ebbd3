"""Runbook: two servers claim to be a cell's primary; gather evidence, nobody writes twice, say who is right.

When: before each release, after any change to fencing or rejoining, and monthly. In earnest: as soon as two
places seem to serve one cell. Change nothing first: `biyi claims CELL` asks every server itself, `biyi cells`
and `biyi why CELL` say what the agents think. The newest epoch in etcd is right. Exit 1 of `biyi claims` (two
could write) is an emergency: take the wrong server's site off the network, then look.
Who approves: the operations lead on duty and the business owner of the day (on a stand: administrators).
Expected time: about 40 s; 6 s of load, the pretender is stopped within seconds, 10 s to look at, 4 s more.
Abort rule: Ctrl-C at any time; the pretender's own agent stops it and lets it follow again.

Steps: check -> load -> promote a cell's standby by hand, past everything that decides -> ask every server of
the cell, twenty times a second, whether it claims to be primary and lets the core in -> its agent stops the
pretender, rewinds it, lets it follow -> in sync at home -> stop the load -> resolve -> read the final rows ->
verify the audit trail -> judge: the suspicion was real, at no look could two write, the pretender was gone in
time, the grant never changed, nothing is lost.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import psycopg

from replication.model import Grant, Site, other_data_site
from replication.postgres.copy import ADMIN, DATABASE
from replication.settings import SiteSettings
from replication.transport import plan_calling
from runbooks.claims import Claim, ask_claims
from runbooks.drills.checkers import Finding, Verdict
from runbooks.drills.one_fault import OneFault, judge_epochs, judge_pauses
from runbooks.drills.records import History
from runbooks.drills.scene import DrillRefused, Scene, find_settings
from runbooks.drills.verdict import PAUSE_LIMIT_S, limit_finding

WATCH_S = 10.0
"""Time to look at. Source: our choice, as long as another primary may be missing twice over."""
STEP_DOWN_S = 5.0
"""Longest time in which two claim it. Source: our choice, the promise of a take-over."""
LOOK_S = 0.05
"""Pause between two looks. Source: our choice, half a failover tick."""
CLAIMS_FILE = "claims.jsonl"
"""Every look, a line: evidence."""
_PROMOTE_S = 10


@dataclass(slots=True)
class Picture:
    """Whether two servers claim it, as known since `at_ns`; a look that began before says nothing new."""

    two: bool = False
    at_ns: int = 0


def make_split_brain(cell: str, home: Site) -> OneFault:
    """Return the drill for `cell`, whose home is `home`."""
    return OneFault(
        drill="split-brain",
        site=str(other_data_site(home)),
        viewer=home,
        title=(f"Split-brain suspicion drill: cell {cell}", f"脑裂疑似演练：单元 {cell}"),
        told=(
            f"The standby of cell {cell} was promoted by hand, past everything that decides, so two servers "
            "claimed to be its primary; each was asked all the time whether it could write.",
            f"绕过一切决策手工提升单元 {cell} 的备库，使两台服务器均自称主库；期间持续逐台询问是否可写。",
        ),
        begin=partial(_promote_by_hand, cell=cell),
        heal=_nothing_to_heal,
        lasts_s=0.0,
        limits=judge_split_brain,
        words=f"split-brain --cell {cell}",
    )


def judge_split_brain(history: History, homes: Mapping[str, str]) -> tuple[Finding, ...]:
    """There were two claims, never two writers; it ended in time; the grant stood; pauses as promised."""
    begun_ns = history.mark_ns("two_claims")
    changes = [mark for mark in history.marks if mark.name in ("two_claims", "one_claim")]
    over_ns = changes[-1].at_ns if changes and changes[-1].name == "one_claim" else None
    never = [] if begun_ns is not None else ["no look found two servers that claim to be primary"]
    writers = [mark.text for mark in history.marks if mark.name == "two_writers"]
    looks = sum(int(mark.text.split()[0]) for mark in history.marks if mark.name == "looked")
    seconds = (over_ns - begun_ns) / 1e9 if begun_ns is not None and over_ns is not None else None
    late = seconds is None or seconds > STEP_DOWN_S
    said = "still there at the last look" if seconds is None else f"{seconds:.2f} s"
    never_two = Finding("never_two_writers", Verdict.UNKNOWN, 0, 0, ("nobody looked",))
    return (
        limit_finding("suspicion_was_real", never, 1),
        limit_finding("never_two_writers", writers, looks) if looks else never_two,
        limit_finding("pretender_stepped_down", [f"{said}, limit {STEP_DOWN_S:g} s"] if late else [], 1),
        judge_epochs(history, homes),
        judge_pauses(history, dict.fromkeys(homes, PAUSE_LIMIT_S)),
    )


async def _promote_by_hand(scene: Scene, cell: str) -> None:
    grant = scene.watch.grants[cell]
    pretender = next((copy for copy in grant.sync_set if copy.site is not grant.primary.site), None)
    if pretender is None:
        raise DrillRefused(f"cell {cell} has no standby at the other site to promote")
    settings = find_settings(scene.options.home, None)
    picture, stop = Picture(), asyncio.Event()
    looking = asyncio.create_task(_look(scene, settings, grant, picture, stop))
    try:
        scene.mark("fault", f"promote {pretender.place} by hand, past agents and grants")
        if await _promote(settings, pretender.place) and not picture.two:
            picture.two, picture.at_ns = True, time.monotonic_ns()
            scene.mark("two_claims", f"{pretender.place} says that it is promoted", cell=cell)
        await asyncio.sleep(WATCH_S)
    finally:
        stop.set()
        await asyncio.wait({looking})
    await looking


async def _promote(settings: SiteSettings, place: str) -> bool:
    """Return whether the server says that it is promoted; its agent may be faster than its answer."""
    try:
        async with await psycopg.AsyncConnection.connect(
            **plan_calling(settings.place(place)),
            dbname=DATABASE,
            user=ADMIN,
            passfile=str(settings.passfile),
            autocommit=True,
            connect_timeout=_PROMOTE_S,
        ) as connection:
            cursor = await connection.execute("select pg_promote(true, %s)", [_PROMOTE_S])
            return await cursor.fetchone() == (True,)
    except psycopg.OperationalError:
        return False


async def _look(
    scene: Scene, settings: SiteSettings, grant: Grant, picture: Picture, stop: asyncio.Event
) -> None:
    """Ask every server of the cell until told to stop; keep each look, mark where the picture changes."""
    looks = 0
    with (scene.folder / CLAIMS_FILE).open("a", encoding="utf-8") as file:
        while not stop.is_set():
            asked_ns = time.monotonic_ns()
            claims = await ask_claims(settings, [grant.cell])
            at_ns = time.monotonic_ns()
            looks += 1
            file.write(json.dumps({"at_ns": at_ns, "claims": [asdict(claim) for claim in claims]}) + "\n")
            if len(writers := [claim.place for claim in claims if claim.writes]) > 1:
                scene.mark("two_writers", f"{' and '.join(writers)} could both write", at_ns, grant.cell)
            two = sum(claim.claims is True for claim in claims) > 1
            if two != picture.two and asked_ns > picture.at_ns:
                scene.mark("two_claims" if two else "one_claim", _say(claims), at_ns, grant.cell)
                picture.two, picture.at_ns = two, at_ns
            await asyncio.sleep(LOOK_S)
    scene.mark("looked", f"{looks} looks at every server of cell {grant.cell}")


def _say(claims: Sequence[Claim]) -> str:
    words = {True: "claims it", False: "does not", None: "is silent"}
    doors = {True: "lets the core in", False: "shut", None: "does not say whom it lets in"}
    return "; ".join(f"{c.place} {words[c.claims]}, {doors[c.admits]}" for c in claims)


async def _nothing_to_heal(scene: Scene) -> None:
    scene.mark("healed", "nothing to heal by hand: its agent sees to the pretender")
