"""Three workloads over both entrances' routers: bank transfers, a unique set, registers by key.

Open loop: operations begin when they are due, however slow the answers are, up to a bound. Each goes the
real way of a command: `core_app.router` with its pools, epochs and fates. An operation whose attempt got
no answer is asked again at the other entrance with the same token; what is unknown in the end is resolved
by asking once more after healing.
"""

import asyncio
import itertools
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from core_app.router import CellUnavailable, Router
from core_app.router_line import Connection
from runbooks.drills.records import Outcome
from runbooks.faults.records import WRITES, Action, Begun, Op, Resolved

ACCOUNTS = 8
"""Accounts a cell. Source: our choice; few enough that transfers meet each other."""
OPENING_FEN = 100_000
"""Opening balance of an account. Source: our choice; transfers of up to a tenth run into refusals, too."""
KEYS = 4
"""Registers a cell and batch. Source: our choice; a few operations a second meet on each."""
ATTEMPT_S = 3.0
"""Patience with one attempt at one entrance. Source: as a drill's customer (runbooks.drills.customer)."""
OP_S = 12.0
"""Patience with an operation. Source: our choice, over twice the 5 s limit for taking over."""
RESOLVE_S = 30.0
"""Patience with resolving one unknown operation. Source: as runbooks.drills.load."""
RESOLVE_AT_ONCE = 10
"""Source: as runbooks.drills.load."""
MOST_IN_FLIGHT = 60
"""Operations at once; more are not begun but counted. Source: our choice, 5 s of 12 operations a second."""
_PAUSE_S, _PAUSE_MOST_S = 0.02, 0.25
_MIX = (
    (Action.ADD, 8.0), (Action.TRANSFER, 6.0), (Action.TOTAL, 1.0),
    (Action.WRITE, 3.0), (Action.CAS, 3.0), (Action.READ, 2.0), (Action.PEEK, 4.0),
)  # fmt: skip

_STATEMENTS: Mapping[Action, bytes] = {
    Action.ADD: b"select faults.add(%(token)s, %(batch)s, %(epoch)s)",
    Action.TRANSFER: b"select faults.transfer"
    b"(%(token)s, %(batch)s, %(epoch)s, %(source)s, %(target)s, %(moved_fen)s)",
    Action.WRITE: b"select faults.write(%(token)s, %(batch)s, %(epoch)s, %(key)s, null)",
    Action.CAS: b"select faults.write(%(token)s, %(batch)s, %(epoch)s, %(key)s, %(expected)s::bigint)",
    Action.READ: b"select faults.read(%(key)s, %(batch)s)",
    Action.PEEK: b"select coalesce((select jsonb_build_object('version', version, 'value', value)"
    b' from faults.registers where key = %(key)s), \'{"version": 0, "value": ""}\')',
    Action.TOTAL: b"select jsonb_build_object('total_fen', sum(balance_fen), 'least_fen', min(balance_fen))"
    b" from faults.accounts",
}


@dataclass(slots=True)
class Counts:
    """Running counts for the live view; the judged figures come from the history."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    not_begun: int = 0
    in_flight: int = 0
    recent: deque[tuple[float, Outcome]] = field(default_factory=lambda: deque(maxlen=4000))


@dataclass(frozen=True, slots=True)
class Planned:
    """An operation as the seed has it; the rest of its arguments depend on what was seen."""

    at_s: float
    action: Action
    cell: str
    entrance: str
    arguments: dict[str, Any]


def plan_ops(
    seed: str, rate: float, cells: Sequence[str], entrances: Sequence[str], batch: int
) -> Iterator[Planned]:
    """Yield Poisson arrivals without end, `rate` a second on average over all workloads and cells."""
    draw = random.Random(seed)  # noqa: S311 - reproducible load, nothing secret
    actions, weights = zip(*_MIX, strict=True)
    at_s = 0.0
    while True:
        at_s += draw.expovariate(rate)
        (action,) = draw.choices(actions, weights)
        cell = draw.choice(cells)
        source, target = draw.sample(range(ACCOUNTS), 2)
        arguments: dict[str, Any] = {}
        if action is Action.TRANSFER:
            arguments = {"source": source, "target": target, "moved_fen": draw.randint(1, OPENING_FEN // 10)}
        elif action not in (Action.ADD, Action.TOTAL):
            arguments = {"key": f"{cell}-{batch}-{draw.randrange(KEYS)}"}
        yield Planned(at_s, action, cell, draw.choice(entrances), arguments)


class Workloads:
    """All three workloads; `run` one batch at a time, then `resolve` what it left unknown."""

    def __init__(
        self, routers: Mapping[str, Router], record: Callable[[Begun | Op | Resolved], None], prefix: str
    ) -> None:
        self.counts = Counts()
        self._routers = routers
        self._record = record
        self._prefix = prefix
        self._ids = itertools.count(1)
        self._versions: dict[str, int] = {}
        self._unknown: dict[int, Begun] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, seed: str, rate: float, batch: int, stop: asyncio.Event) -> None:
        """Begin operations when they are due until `stop`; returns when the last one has ended."""
        cells = next(iter(self._routers.values())).cells
        begun_s = time.monotonic()
        for planned in plan_ops(seed, rate, cells, sorted(self._routers), batch):
            try:
                async with asyncio.timeout(max(0.0, begun_s + planned.at_s - time.monotonic())):
                    await stop.wait()
            except TimeoutError:
                pass
            if stop.is_set():
                break
            if len(self._tasks) >= MOST_IN_FLIGHT:
                self.counts.not_begun += 1
                continue
            task = asyncio.create_task(self._do(planned, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.gather(*self._tasks)

    async def resolve(self) -> None:
        """Repeat the token of every unknown operation, a few at a time, until definite or patience ends."""
        unknown, self._unknown = self._unknown, {}
        turn = asyncio.Semaphore(RESOLVE_AT_ONCE)

        async def take_turn(begun: Begun) -> None:
            async with turn:
                await self._resolve(begun)

        await asyncio.gather(*(take_turn(begun) for begun in unknown.values()))

    async def close(self) -> None:
        """Give up whatever is in flight; the history keeps it as unknown."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _do(self, planned: Planned, batch: int) -> None:
        op_id = next(self._ids)
        arguments = dict(planned.arguments)
        if planned.action is Action.CAS:
            arguments["expected"] = self._versions.get(arguments["key"], 0)
        begun = Begun(
            op_id, batch, planned.action, f"{self._prefix}-{op_id}", planned.cell, planned.entrance,
            time.monotonic_ns(), arguments,
        )  # fmt: skip
        self._record(begun)
        self.counts.in_flight += 1
        try:
            outcome, epoch, answer, tries, note = await self._settle(begun, planned.entrance, OP_S)
        finally:
            self.counts.in_flight -= 1
        if outcome is Outcome.UNKNOWN and planned.action not in WRITES:
            outcome = Outcome.FAIL  # a read has no effect, whatever became of its commit
        op = Op(
            op_id, batch, planned.action, begun.token, planned.cell, planned.entrance, begun.invoked_ns,
            time.monotonic_ns(), outcome, epoch, tries, note, arguments, answer,
        )  # fmt: skip
        self._record(op)
        self.counts.outcomes[outcome] += 1
        self.counts.recent.append((time.monotonic(), outcome))
        if "version" in answer:
            key = arguments["key"]
            self._versions[key] = max(self._versions.get(key, 0), answer["version"])
        if outcome is Outcome.UNKNOWN:
            self._unknown[op_id] = begun

    async def _settle(
        self, begun: Begun, entrance: str, patience_s: float
    ) -> tuple[Outcome, int, dict[str, Any], int, str]:
        """Ask at one entrance after the other until there is an answer, a refusal, or no time left."""
        end = time.monotonic() + patience_s
        pause_s, maybe, tries, note = _PAUSE_S, False, 0, ""
        names = sorted(self._routers)
        while True:
            tries += 1
            try:
                value, epoch = await self._attempt(begun, entrance, min(ATTEMPT_S, end - time.monotonic()))
                return Outcome.OK, int(value.pop("epoch", epoch)), value, tries, note
            except CellUnavailable as error:
                maybe, note = maybe or error.outcome == "unknown", str(error)
            except psycopg.Error as error:
                # The router lets through only what was certainly rolled back and would be again.
                note = f"{type(error).__name__} {error.sqlstate}: {error}"[:200]
                return (Outcome.UNKNOWN if maybe else Outcome.FAIL), 0, {}, tries, note
            if time.monotonic() + pause_s >= end:
                return (Outcome.UNKNOWN if maybe else Outcome.FAIL), 0, {}, tries, note
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MOST_S)
            entrance = names[(names.index(entrance) + 1) % len(names)]

    async def _attempt(self, begun: Begun, entrance: str, seconds: float) -> tuple[dict[str, Any], int]:
        async def work(connection: Connection, epoch: int) -> dict[str, Any]:
            parameters = {"token": begun.token, "batch": begun.batch, "epoch": epoch, **begun.arguments}
            cursor = await connection.execute(_STATEMENTS[begun.action], parameters)
            row = await cursor.fetchone()
            return dict(row[0]) if row else {}

        router = self._routers[entrance]
        if begun.action in (Action.PEEK, Action.TOTAL):
            seen = await router.read(begun.cell, work, deadline_seconds=seconds)
        else:
            seen = await router.write(begun.cell, work, deadline_seconds=seconds)
        return seen.value, seen.epoch

    async def _resolve(self, begun: Begun) -> None:
        outcome, epoch, answer, _, _ = await self._settle(begun, min(self._routers), RESOLVE_S)
        # Not getting through says nothing about the attempts before: only an answer is definite.
        known = outcome if outcome is Outcome.OK else Outcome.UNKNOWN
        self._record(Resolved(begun.op_id, time.monotonic_ns(), known, epoch, answer))
        if known is Outcome.UNKNOWN:
            self._unknown[begun.op_id] = begun
