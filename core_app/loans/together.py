"""Commands that arrive together are posted together: one transaction, one flush, each its own outcome.

Nobody waits for company: what is there when a transaction ends goes with the next, so at rest a command goes
alone. A group fails only as a whole by what it has in common, the cell; otherwise each of it is tried alone.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from psycopg.errors import UniqueViolation

from core_app.acting import ACTOR, act_for_each
from core_app.commands import Answer, Done
from core_app.core import Connection, LendingCore
from core_app.errors import Refused
from core_app.router import MAX_WAITING, CellUnavailable
from core_app.slots import Home

AT_ONCE = 2
"""Transactions of one kind, of one process on one cell. Source: our choice; while one commits the next is
decided on, and more of them would only make the groups smaller."""
MOST = 32
"""Commands in one transaction. Source: our choice; from 8 to 16 a repayment gets a quarter cheaper, from 1 to
8 it got three quarters (docs/performance.md), and all of a group wait for whatever lock one of them waits
for."""
_log = logging.getLogger(__name__)


Outcomes = dict[str, Answer | Refused]
"""By key of the command."""


class Groupable(Protocol):
    """A command that may share a transaction with others of its kind, where their names differ."""

    @property
    def cell(self) -> str:
        """Return the cell it is for."""

    @property
    def names(self) -> Collection[str]:
        """Return its key and what it locks."""


W = TypeVar("W", bound=Groupable)
Outcome = Done | Refused | CellUnavailable
Post = Callable[[LendingCore, Sequence[W], float], Awaitable[Sequence[Outcome]]]
"""Posts commands of one cell in so many seconds and returns what became of each, in their order."""


class _AllRefused(Exception):
    """Raised inside a transaction that has nothing to write: it is rolled back and waits for no copy."""

    def __init__(self, outcomes: Outcomes) -> None:
        super().__init__()
        self.outcomes = outcomes


async def write_together(
    core: LendingCore, cell: str, work: Callable[[Connection, int], Awaitable[Outcomes]], seconds: float
) -> Outcomes:
    """Run `work` as one transaction of `cell` and return its outcomes, committed unless all are refused.

    `work` looks its keys up under the locks of what they change, and writes them with their answers. The
    key of a command on something else, claimed at the same moment, is a UniqueViolation: it runs once more
    and finds it.
    """

    async def whole(connection: Connection, epoch: int) -> Outcomes:
        outcomes = await work(connection, epoch)
        refused = [outcome for outcome in outcomes.values() if isinstance(outcome, Refused)]
        for refusal in refused:
            refusal.cell, refusal.epoch = cell, epoch
        if outcomes and len(refused) == len(outcomes):
            raise _AllRefused(outcomes)
        return outcomes

    ends = time.monotonic() + seconds
    try:
        try:
            return (await core.router.write(cell, whole, deadline_seconds=seconds)).value
        except UniqueViolation:
            left = max(ends - time.monotonic(), 0.001)
            return (await core.router.write(cell, whole, deadline_seconds=left)).value
    except _AllRefused as found:
        return found.outcomes


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[W]):
    wanted: W
    deadline: float
    outcome: "asyncio.Future[Done]"
    actor: str


@dataclass(slots=True)
class _Cell(Generic[W]):
    waiting: deque[_Waiting[W]] = field(default_factory=deque)
    running: set["asyncio.Task[None] | None"] = field(default_factory=set)
    busy: set[str] = field(default_factory=set)
    """Names of the groups under way: groups of one process never wait for each other."""

    def take(self) -> list[_Waiting[W]]:
        """Take the next group: the first come of each name that is not under way."""
        group: list[_Waiting[W]] = []
        left: deque[_Waiting[W]] = deque()
        seen = set(self.busy)
        while self.waiting and len(group) < MOST:
            one = self.waiting.popleft()
            if one.outcome.done():  # its caller has left: nothing is done for it
                continue
            if seen.isdisjoint(one.wanted.names):
                group.append(one)
            else:
                left.append(one)
            seen.update(one.wanted.names)
        self.waiting.extendleft(reversed(left))
        return group


class GroupQueue(Generic[W]):
    """The commands of one kind of one process, cell by cell, those of a chunk on its way apart."""

    def __init__(self, core: LendingCore, post: Post[W]) -> None:
        self._core = core
        self._send = post
        self._cells: dict[str, _Cell[W]] = {}

    async def post(self, wanted: W) -> Done:
        """Post a command in one transaction with those that wait beside it.

        Refused and CellUnavailable as when it goes alone. A caller that leaves takes back only what was not
        begun.
        """
        cell = self._cells.setdefault(self._queue_of(wanted.cell), _Cell())
        if len(cell.waiting) >= MAX_WAITING:
            raise CellUnavailable(wanted.cell, "not_done")
        outcome: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        deadline = time.monotonic() + self._core.deadline_seconds
        cell.waiting.append(_Waiting(wanted, deadline, outcome, ACTOR.get()))
        if len(cell.running) < AT_ONCE:
            task = asyncio.create_task(self._work(cell))
            cell.running.add(task)
        return await outcome

    def _queue_of(self, cell: str) -> str:
        """Return the queue of a command: its cell's, or its chunk's own while that is on its way elsewhere.

        Who has to wait for a chunk that nobody may write holds up nobody of another one.
        """
        moving = self._core.router.directory.moving
        apart = moving is not None and isinstance(cell, Home) and moving.chunk in cell.chunks
        return f"{cell}/{moving.chunk}" if moving is not None and apart else str(cell)

    async def _work(self, cell: _Cell[W]) -> None:
        """Post groups until none is left that can go."""
        try:
            while group := cell.take():
                names = {name for one in group for name in one.wanted.names}
                cell.busy |= names
                try:
                    await self._post(cell, group)
                finally:
                    cell.busy -= names
        finally:  # at once, not when the task is seen to have ended: who comes between would wait for nobody
            cell.running.discard(asyncio.current_task())

    async def _post(self, cell: _Cell[W], group: list[_Waiting[W]]) -> None:
        deadline = min(one.deadline for one in group)
        seconds = max(deadline - time.monotonic(), 0.001)
        act_for_each({name: one.actor for one in group for name in one.wanted.names})
        try:
            found = await self._send(self._core, [one.wanted for one in group], seconds)
        except CellUnavailable as error:
            # Nothing was done, and those that came later may wait longer: they are tried again.
            again = error.outcome == "not_done" and time.monotonic() >= deadline
            later = [one for one in group if again and one.deadline > time.monotonic() + 0.001]
            cell.waiting.extendleft(reversed(later))
            for one in group:
                if one not in later:
                    _end(one, CellUnavailable(error.cell, error.outcome))
        except Exception as error:  # noqa: BLE001 - its callers are told, the others are not made to suffer
            if len(group) == 1:
                _end(group[0], error)
                return
            _log.warning("%d commands together failed, each is tried alone: %r", len(group), error)
            for one in group:
                await self._post(cell, [one])
        else:
            for one, outcome in zip(group, found, strict=True):
                _end(one, outcome)


def _end(waiting: _Waiting[W], outcome: Done | Exception) -> None:
    """Tell the caller, if it is still there."""
    if waiting.outcome.done():
        return
    if isinstance(outcome, Exception):
        waiting.outcome.set_exception(outcome)
    else:
        waiting.outcome.set_result(outcome)
