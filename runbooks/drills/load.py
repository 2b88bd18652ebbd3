"""Open-loop load over both entrances: customers arrive when they arrive, however slow the answers are.

Latency counts from the scheduled arrival, so a stall is felt by everyone who came during it (no
coordinated omission). Only the later steps of one customer's chain (application after customer and
so on) count from the end of the step before, because nobody can ask for them earlier.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from runbooks.drills.arrivals import Arrival, Wish, make_person, plan_arrivals
from runbooks.drills.customer import Customers, Request, Settled, judge_status
from runbooks.drills.history import HistoryWriter
from runbooks.drills.records import Invoke, Kind, Op, Outcome, Resolution

READ_SECONDS = 60
"""How long these customers claim to have read the cost table. Source: our choice, above any product's."""


class LoadError(Exception):
    """The load could not be prepared; the message says what was missing."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """What to ask for, and the bounds."""

    rate: float
    """Operations a second over both entrances together."""
    seed: int
    key_prefix: str
    """Start of every idempotency key of this drill."""
    product: str = "instalment-12"
    """The product every new loan is of."""
    loan_fen: int = 1_000_000
    periods: int = 12
    loans_per_cell: int = 12
    """Loans made before the fault. Source: our choice; enough that row locks do not queue."""
    max_in_flight: int = 2000
    """Arrivals above this are counted as failed, not queued. Source: 40/s for 20 s, twice over."""
    max_ops: int = 200_000
    """The load ends by itself after this many. Source: our choice; over an hour at 40/s."""
    resolve_s: float = 30.0
    """Patience with one unknown operation after the load. Source: our choice, six times the 5 s limit."""
    resolve_at_once: int = 10
    """Operations resolved side by side. Source: our choice, half of a router's connections to a cell."""


@dataclass(frozen=True, slots=True)
class Loan:
    """A loan that may be repaid and read."""

    loan_id: str
    cell: str


@dataclass(slots=True)
class Stats:
    """Running counts for the live view; the judged figures come from the history file."""

    requests: int = 0
    acknowledged: int = 0
    failed: int = 0
    unknown: int = 0
    repeated: int = 0
    in_flight: int = 0
    last_latency_ms: dict[str, float] = field(default_factory=dict)
    recent: dict[str, deque[float]] = field(default_factory=dict)

    def record(self, op: Op) -> None:
        """Count a finished operation."""
        self.requests += 1
        self.repeated += len(op.attempts) > 1
        self.acknowledged += op.outcome is Outcome.OK
        self.failed += op.outcome is Outcome.FAIL
        self.unknown += op.outcome is Outcome.UNKNOWN
        if op.outcome is Outcome.OK and op.cell:
            self.last_latency_ms[op.cell] = op.latency_seconds * 1000
            self.recent.setdefault(op.cell, deque(maxlen=2000)).append(op.completed_ns / 1e9)

    def rate(self, cell: str, now_s: float) -> float:
        """Return acknowledged operations of the cell in the last second."""
        return float(sum(1 for at_s in self.recent.get(cell, ()) if at_s > now_s - 1.0))


@dataclass(frozen=True, slots=True)
class _Step:
    """One operation to do: the request and what the history should say about it."""

    kind: Kind
    request: Request
    entrance: str
    cell: str = ""
    amount_fen: int = 0
    subject: str = ""
    phase: str = "load"


class Load:
    """The load of one drill. `prepare`, then `run` until told to stop, then `resolve`."""

    def __init__(self, customers: Customers, history: HistoryWriter, settings: LoadSettings) -> None:
        self.settings = settings
        self.stats = Stats()
        self.loans: list[Loan] = []
        self._customers = customers
        self._history = history
        self._ids = itertools.count(1)
        self._people = itertools.count(1)
        self._unknown: dict[int, Request] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = sorted(customers.entrances)

    @property
    def entrances(self) -> dict[str, str]:
        """Return each site's base URL, as customers have it."""
        return dict(self._customers.entrances)

    def open_entrance(self, name: str, url: str) -> None:
        """From now on let customers come by this entrance too."""
        self._customers.entrances[name] = url
        self._open.append(name)

    def close_entrance(self, name: str) -> None:
        """Let nobody come by this entrance any more, as a balancer does; who is inside gets an answer."""
        self._open.remove(name)
        del self._customers.entrances[name]

    async def prepare(self, cells: Iterable[str], within_s: float = 60.0) -> None:
        """Lend until every cell has its working set; LoadError when that takes longer than `within_s`."""
        wanted = {cell: self.settings.loans_per_cell for cell in cells}
        deadline = time.monotonic() + within_s
        entrances = sorted(self._customers.entrances)
        while self._missing(wanted):
            if time.monotonic() > deadline:
                raise LoadError(f"no working set of loans within {within_s:.0f} s: {self._why_not(wanted)}")
            await asyncio.gather(*(self._lend(entrances[n % len(entrances)], "prepare") for n in range(6)))

    async def run(self, stop: asyncio.Event, *, rate: float | None = None, seed: int | None = None) -> None:
        """Let customers arrive on schedule until `stop`, then wait until everyone has an answer.

        It may run again beside itself, at another rate, with a seed of its own.
        """
        start_s = time.monotonic()
        plan = plan_arrivals(
            self.settings.seed if seed is None else seed, rate or self.settings.rate, self._open
        )
        for arrival in plan:
            if (
                await _stopped_before(stop, start_s + arrival.at_s)
                or self.stats.requests >= self.settings.max_ops
            ):
                break
            scheduled_ns = int((start_s + arrival.at_s) * 1e9)
            self._start(self._serve(arrival, scheduled_ns))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=4 * self._customers.patience.op_s)

    async def resolve(self) -> None:
        """Repeat the key of every unknown operation until its outcome is definite or patience ends.

        A few at a time: after a long outage there are hundreds, and asked all at once each would time out.
        """
        unknown, self._unknown = self._unknown, {}
        turn = asyncio.Semaphore(self.settings.resolve_at_once)

        async def take_turn(op_id: int, request: Request) -> None:
            async with turn:
                await self._resolve(op_id, request)

        await asyncio.gather(*(take_turn(op_id, request) for op_id, request in unknown.items()))

    async def close(self) -> None:
        """Give up whatever is still in flight; the history keeps it as unknown."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _missing(self, wanted: dict[str, int]) -> dict[str, int]:
        have = {cell: sum(loan.cell == cell for loan in self.loans) for cell in wanted}
        return {cell: count - have[cell] for cell, count in wanted.items() if have[cell] < count}

    def _why_not(self, wanted: dict[str, int]) -> str:
        return ", ".join(f"cell {cell} lacks {count}" for cell, count in self._missing(wanted).items())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, arrival: Arrival, scheduled_ns: int) -> None:
        if arrival.wish is Wish.NEW_LOAN:
            await self._lend(arrival.entrance, "load", scheduled_ns)
            return
        loan = self.loans[int(arrival.pick * len(self.loans))]
        if arrival.wish is Wish.READ:
            request = Request("GET", f"/v1/loans/{loan.loan_id}")
            step = _Step(Kind.BALANCE, request, arrival.entrance, loan.cell, 0, loan.loan_id)
        else:
            body = {"loan_id": loan.loan_id, "amount_fen": arrival.amount_fen}
            request = Request("POST", "/v1/repayments", "", body)
            step = _Step(
                Kind.REPAYMENT, request, arrival.entrance, loan.cell, arrival.amount_fen, loan.loan_id
            )
        await self._do(step, scheduled_ns)

    async def _lend(self, entrance: str, phase: str, scheduled_ns: int | None = None) -> None:
        """Take one new person from application to money; ends early when a step is not acknowledged."""
        person = make_person(self.settings.key_prefix, next(self._people))
        body: dict[str, Any] = {"name": person.name, "id_number": person.id_number, "phone": person.phone}
        step = _Step(Kind.CUSTOMER, Request("POST", "/v1/customers", "", body), entrance, phase=phase)
        done = await self._do(step, scheduled_ns)
        for kind, path, body in self._later_steps():
            if done.outcome is not Outcome.OK or done.answer.get("decision") == "refused":
                return
            subject = next((str(done.answer[name]) for name in body if name in done.answer), "")
            body |= {name: done.answer[name] for name in body if name in done.answer}
            # Only what was asked for by amount is checked by amount; a draw takes the whole contract.
            amount_fen = self.settings.loan_fen if kind in (Kind.APPLICATION, Kind.DRAW) else 0
            request = Request("POST", path, "", body)
            done = await self._do(_Step(kind, request, entrance, done.cell, amount_fen, subject, phase))
        if done.outcome is Outcome.OK:
            self.loans.append(Loan(str(done.answer["loan_id"]), done.cell))

    def _later_steps(self) -> tuple[tuple[Kind, str, dict[str, Any]], ...]:
        wish = {"product": self.settings.product, "amount_fen": self.settings.loan_fen}
        return (
            (
                Kind.APPLICATION,
                "/v1/applications",
                {"customer_id": "", **wish, "periods": self.settings.periods},
            ),
            (
                Kind.CONTRACT,
                "/v1/contracts",
                {"application_id": "", "cost_table_sm3": "", "cost_table_read_seconds": READ_SECONDS},
            ),
            (Kind.DRAW, "/v1/draws", {"contract_id": ""}),
        )

    async def _do(self, step: _Step, scheduled_ns: int | None = None) -> Op:
        op_id = next(self._ids)
        key = f"{self.settings.key_prefix}-{op_id}" if step.request.method == "POST" else ""
        invoked_ns = time.monotonic_ns()
        scheduled_ns = scheduled_ns or invoked_ns
        known = (op_id, step.kind, key, step.entrance, step.cell, scheduled_ns, invoked_ns)
        self._history.write(Invoke(*known, step.amount_fen, step.subject, step.phase))
        request = Request(step.request.method, step.request.path, key, step.request.body)
        if self.stats.in_flight >= self.settings.max_in_flight:
            settled = Settled(Outcome.FAIL, ())
        else:
            self.stats.in_flight += 1
            try:
                settled = await self._customers.settle(request, step.entrance)
            finally:
                self.stats.in_flight -= 1
        op = Op(
            *known[:4], settled.cell or step.cell, scheduled_ns, invoked_ns, time.monotonic_ns(),
            settled.outcome, settled.epoch, settled.status, settled.replayed, step.amount_fen, step.subject,
            step.phase, settled.answer, settled.attempts,
        )  # fmt: skip
        self._history.write(op)
        self.stats.record(op)
        if op.outcome is Outcome.UNKNOWN:
            self._unknown[op_id] = request
        return op

    async def _resolve(self, op_id: int, request: Request) -> None:
        entrance = min(self._customers.entrances)
        settled = await self._customers.settle(request, entrance, self.settings.resolve_s)
        # Not getting through says nothing about the attempts before: only an answer is definite.
        _, definite = judge_status(settled.status, {})
        found = Resolution(
            op_id, settled.outcome if definite else Outcome.UNKNOWN, time.monotonic_ns(), settled.cell,
            settled.epoch, settled.status, settled.replayed, settled.answer, settled.attempts,
        )  # fmt: skip
        self._history.write(found)
        if found.outcome is Outcome.UNKNOWN:
            self._unknown[op_id] = request


async def _stopped_before(stop: asyncio.Event, at_s: float) -> bool:
    """Wait until the monotonic instant `at_s`; return at once and True when told to stop."""
    try:
        async with asyncio.timeout(max(0.0, at_s - time.monotonic())):
            await stop.wait()
    except TimeoutError:
        return stop.is_set()
    return True
