"""Runbook: move customers from one cell to another and back under load; nobody may notice.

When: before a cell is relieved of customers, after any change to the move or to a table of the core, and
quarterly.
Who approves: the operations lead on duty.
Expected time: about 30 s; 6 s of load, twelve moves there and back of about 1 s each, 4 s more.
Abort rule: Ctrl-C at any time; a move that is under way is undone or finished, and what was moved is moved
back (by hand: `biyi slot list`, `biyi slot abort`, `biyi slot move SLOTS --to CELL`).

Steps: check -> load -> move the slots of loans in use to the other cell, chunk by chunk -> go on -> move them
back -> stop the load -> resolve -> read the final rows -> verify the audit trail -> judge: no request failed,
every checksum was equal, no pause to speak of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core_app.moving.move import MovedChunk, Step
from core_app.slots import chunk_of_slot
from replication.model import Site
from runbooks.drills.checkers import Finding
from runbooks.drills.one_fault import OneFault, judge_epochs, judge_pauses, judge_requests
from runbooks.drills.records import History
from runbooks.drills.scene import Scene
from runbooks.drills.verdict import limit_finding
from runbooks.slots import make_mover, open_etcd

CHUNKS = 6
"""Chunks moved. Source: our choice; with twelve loans a cell, half of what the load works on."""
STAY_S = 4.0
"""Time in the other cell. Source: our choice, some 100 operations there."""
PAUSE_LIMIT_S = 1.0
"""Longest wait of a moved chunk's customers. Source: our choice, a fifth of what a failover may take; the
measured figure is in docs/scale.md."""


@dataclass(slots=True)
class Moves:
    """What was moved in this run, and back."""

    there: list[MovedChunk] = field(default_factory=list)
    back: list[MovedChunk] = field(default_factory=list)


def make_slot_move() -> OneFault:
    """Return the drill."""
    moves = Moves()

    async def begin(scene: Scene) -> None:
        await _move_there(scene, moves)

    async def heal(scene: Scene) -> None:
        await _move_back(scene, moves)

    def judge(history: History, homes: Mapping[str, str]) -> tuple[Finding, ...]:
        return judge_slot_move(moves, history, homes)

    return OneFault(
        drill="slot-move",
        site=str(Site.IDC),
        viewer=Site.IDC,
        title=("Slot move drill", "客户槽位迁移演练"),
        told=(
            "Customers in use were moved to the other cell and back while they went on; the checksum of "
            "every table was compared on both sides before the cell they went to had them.",
            "客户持续使用期间，其槽位迁至另一单元后迁回；目标单元启用前，每张表的校验和均经两侧比对。",
        ),
        begin=begin,
        heal=heal,
        lasts_s=STAY_S,
        limits=judge,
        words="slot-move",
        pause_limit_s=PAUSE_LIMIT_S,
    )


def judge_slot_move(moves: Moves, history: History, homes: Mapping[str, str]) -> tuple[Finding, ...]:
    """No request failed, no epoch changed, all that went came back with equal sums, waits were short."""
    went, came = ({one.chunk for one in done} for done in (moves.there, moves.back))
    stuck = [f"chunk {chunk} did not come back" for chunk in sorted(went - came)]
    stuck += [] if len(went) >= CHUNKS else [f"{len(went)} chunks moved, {CHUNKS} wanted"]
    slow = [
        f"chunk {one.chunk} to {one.target}: {one.pause_seconds:.2f} s, limit {PAUSE_LIMIT_S:g} s"
        for one in (*moves.there, *moves.back)
        if one.pause_seconds > PAUSE_LIMIT_S
    ]
    return (
        judge_requests(history),
        judge_epochs(history, homes),
        limit_finding("slots_were_moved", stuck, len(went) + len(came)),
        limit_finding("slots_waited_in_limit", slow, len(moves.there) + len(moves.back)),
        judge_pauses(history, dict.fromkeys(homes, PAUSE_LIMIT_S)),
    )


async def _move_there(scene: Scene, moves: Moves) -> None:
    first, second = (cell.name for cell in scene.settings.cells[:2])
    own = [loan.loan_id for loan in scene.load.loans if loan.cell == first]
    chunks = sorted({chunk_of_slot(int(loan_id[1:4], 16)) for loan_id in own} - {0})
    scene.mark("fault", f"{CHUNKS} chunks of slots begin to move to cell {second}")
    for chunk in chunks[:CHUNKS]:
        await _move(scene, chunk, second, moves.there)


async def _move_back(scene: Scene, moves: Moves) -> None:
    first = scene.settings.cells[0].name
    for chunk in sorted({one.chunk for one in moves.there} - {one.chunk for one in moves.back}):
        await _move(scene, chunk, first, moves.back)
    scene.mark("healed", f"all slots are in cell {first} again")


async def _move(scene: Scene, chunk: int, target: str, done: list[MovedChunk]) -> None:
    async def tell(step: Step, name: str, rows: int) -> None:
        """Hear nothing: the finished move is noted."""

    async with open_etcd(scene.settings) as etcd:
        moved = await make_mover(scene.settings, etcd, tell).move(chunk, target)
    if moved is not None:
        done.append(moved)
        text = (
            f"chunk {chunk} to {target}: {sum(moved.rows.values())} rows in {moved.seconds:.2f} s,"
            f" its customers waited {moved.pause_seconds:.3f} s"
        )
        scene.mark("moved", text)
