"""Drives orders to channels: take what is due, write down what is about to be done, do it, write what came.

Payers of both sites work on all cells side by side; `for update skip locked` gives an order to one of them
at a time. None has to be trusted to live: what it was about to do stands in the row, and another one asks.
"""

import asyncio
import datetime as dt
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg.errors import InsufficientPrivilege, UndefinedTable

from core_app.commands import make_command
from core_app.core import Connection, LendingCore
from core_app.errors import Refused
from core_app.funding.breaker import Breaker, BreakerRule
from core_app.funding.channel import Payment, PaymentChannel, Said
from core_app.funding.payout import (
    Action,
    Ask,
    Doubt,
    GiveUp,
    Look,
    Order,
    Pay,
    State,
    Wait,
    after_ask,
    after_pay,
    decide_next,
)
from core_app.funding.service import Void, void_draw
from core_app.funding.settings import PayerSettings
from core_app.router import CellUnavailable

_log = logging.getLogger(__name__)
PROBE_ID = "P000-" + "0" * 32
"""A number that no order has: a channel that knows nothing of it is well."""

_DUE = """
select order_id, loan_id, amount_fen, payee_kind, payee, channel_kinds, state, channel, refused_by,
       valid_until, epoch, give_up_at, note, now()
from core.payout_orders
where state in ('ordered', 'sent', 'unknown') and due_at <= now()
order by due_at limit %s for update skip locked
"""

_WRITE = """
update core.payout_orders
set state = %(state)s, channel = %(channel)s, refused_by = %(refused_by)s, valid_until = %(valid_until)s,
    due_at = now() + %(wait)s, note = %(note)s, epoch = %(epoch)s, changed_by = %(site)s, changed_at = now()
where order_id = %(order_id)s
"""

# Whoever took the order since has another changed_at: what comes this late is not written.
_IF_UNTOUCHED = " and changed_at = %(seen_at)s"

Beside = Callable[[LendingCore, str, int], Awaitable[int]]
GiveUpOrder = Callable[[LendingCore, Order, str, dt.datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class OrderBook:
    """Where orders of a kind stand: how those due are read and one is written, and what giving one up does.

    `due` has the columns of `Order` in `_read_order`'s order, then now(); `write` takes those of `_columns`.
    `before` and `after` are done at each look at a cell, for so many orders at most.
    """

    due: str
    write: str
    give_up: GiveUpOrder
    before: Beside | None = None
    after: Beside | None = None


async def _void(core: LendingCore, order: Order, reason: str, seen_at: dt.datetime) -> None:
    """Void the draw of an order that is booked nowhere; a person has to look where that is refused."""
    command = make_command(core, f"void-{order.order_id}", "void", {"loan_id": order.loan_id})
    try:
        await void_draw(core, command, Void(order.loan_id, reason, seen_at))
    except Refused as refusal:
        _log.error("payout %s: %s, draw not voided: %s", order.order_id, reason, refusal.detail)


PAYOUTS = OrderBook(_DUE, _WRITE, _void)


@dataclass(frozen=True, slots=True)
class Taken:
    """An order in our hands: as it stands in its row, what is to be done, and when the row was written."""

    order: Order
    action: Action
    seen_at: dt.datetime


class Payer:
    """The payer of one process. `read_clock` is monotonic, in seconds."""

    def __init__(
        self,
        core: LendingCore,
        settings: PayerSettings,
        channels: Mapping[str, PaymentChannel],
        read_clock: Callable[[], float],
        book: OrderBook = PAYOUTS,
    ) -> None:
        self.breakers = {name: Breaker() for name in channels}
        self.written: Counter[State] = Counter()
        """Orders written since the start, by the state they were brought to."""
        self._core = core
        self._settings = settings
        self._channels = channels
        self._read_clock = read_clock
        self._book = book
        self._rule = BreakerRule(settings.failures, settings.probe_every_s)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._probe_for_ever())
            for cell in self._core.router.cells:
                group.create_task(self._work_for_ever(cell))

    async def look(self, cell: str) -> int:
        """Take the orders that are due in a cell, do what they need, and return how many were taken."""
        core, book, batch = self._core, self._book, self._settings.batch
        if book.before is not None:
            await book.before(core, cell, batch)
        taken = await self._take(cell)
        working = [one for one in taken if isinstance(one.action, Pay | Ask)]
        outcomes = await asyncio.gather(*(self._act(one) for one in working))
        if working:
            await self._settle(cell, list(zip(working, outcomes, strict=True)))
        for one in taken:
            if isinstance(one.action, GiveUp):
                await book.give_up(core, one.order, one.action.why, one.seen_at)
        if book.after is not None:
            await book.after(core, cell, batch)
        return len(taken)

    async def probe(self) -> None:
        """Ask every channel that is left alone and is due for a question."""
        now_s = self._read_clock()
        due = [name for name, breaker in self.breakers.items() if breaker.wants_probe(now_s)]
        for name, said in zip(
            due, await asyncio.gather(*(self._channels[name].query(PROBE_ID) for name in due)), strict=True
        ):
            self._note(name, said)

    async def _work_for_ever(self, cell: str) -> None:
        while True:
            try:
                taken = await self.look(cell)
            except (CellUnavailable, UndefinedTable, InsufficientPrivilege) as error:
                # While a cell is migrated its tables, and the rights on them, come one after another.
                _log.warning("cell %s cannot be worked on yet: %s", cell, str(error).splitlines()[0])
                taken = 0
            if taken < self._settings.batch:
                await asyncio.sleep(self._settings.poll_s)

    async def _probe_for_ever(self) -> None:
        while True:
            await self.probe()
            await asyncio.sleep(self._settings.probe_every_s / 4)

    async def _take(self, cell: str) -> list[Taken]:
        closed = frozenset(name for name, breaker in self.breakers.items() if breaker.is_closed)

        async def work(connection: Connection, epoch: int) -> list[Taken]:
            rows = await connection.execute(self._book.due, [self._settings.batch])
            taken = []
            for *columns, now in await rows.fetchall():
                order = _read_order(columns)
                ranked = self._settings.ranked(order.channel_kinds)
                action = decide_next(order, Look(ranked, closed, epoch, now))
                order, wait_s = self._prepare(order, action, now, epoch)
                await connection.execute(self._book.write, self._columns(order, wait_s))
                taken.append(Taken(order, action, now))
            return taken

        core = self._core
        return (await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)).value

    def _prepare(self, order: Order, action: Action, now: dt.datetime, epoch: int) -> tuple[Order, float]:
        """Return the row to write before anything is done, and the seconds until others may look at it."""
        limits = self._settings
        until = now + dt.timedelta(seconds=limits.answer_s)
        match action:
            case Pay(channel):
                sent = replace(
                    order, state=State.SENT, channel=channel, valid_until=until, note="", epoch=epoch
                )
                return sent, limits.lease_s
            case Doubt():
                why = f"ordered in epoch {order.epoch}: asked for everywhere first"
                return replace(order, state=State.UNKNOWN, valid_until=until, note=why), limits.answer_s
            case Wait(why):
                return replace(order, note=why), limits.again_s
            case _:
                return order, limits.lease_s

    async def _act(self, taken: Taken) -> Mapping[str, Said]:
        order = taken.order
        if isinstance(taken.action, Pay) and order.valid_until is not None:
            payment = Payment(
                order.order_id, order.amount_fen, order.payee_kind, order.payee, order.valid_until
            )
            said = {taken.action.channel: await self._channels[taken.action.channel].pay(payment)}
        else:
            names = taken.action.channels if isinstance(taken.action, Ask) else ()
            answers = await asyncio.gather(*(self._channels[name].query(order.order_id) for name in names))
            said = dict(zip(names, answers, strict=True))
        for name, one in said.items():
            self._note(name, one)
        return said

    def _note(self, channel: str, said: Said) -> None:
        breaker = self.breakers[channel]
        answered = said.as_of is not None
        after = breaker.answered() if answered else breaker.failed(self._rule, self._read_clock())
        if after.is_closed != breaker.is_closed:
            _log.warning(
                "channel %s: %s", channel, "in use again" if answered else f"left alone ({said.note})"
            )
        self.breakers[channel] = after

    async def _settle(self, cell: str, outcomes: Sequence[tuple[Taken, Mapping[str, Said]]]) -> None:
        settle = self._book.write + _IF_UNTOUCHED

        async def work(connection: Connection, epoch: int) -> list[State]:
            states = []
            for taken, said in outcomes:
                if isinstance(taken.action, Pay):
                    order = after_pay(taken.order, taken.action.channel, said[taken.action.channel])
                else:
                    order = after_ask(taken.order, said, epoch)
                wait_s = self._settings.again_s if order.state is State.UNKNOWN else 0.0
                await connection.execute(settle, self._columns(order, wait_s) | {"seen_at": taken.seen_at})
                states.append(order.state)
            return states

        done = await self._core.router.write(cell, work, deadline_seconds=self._core.deadline_seconds)
        self.written.update(done.value)

    def _columns(self, order: Order, wait_s: float) -> dict[str, Any]:
        return {
            "order_id": order.order_id,
            "state": str(order.state),
            "channel": order.channel,
            "refused_by": list(order.refused_by),
            "valid_until": order.valid_until,
            "wait": dt.timedelta(seconds=wait_s),
            "note": order.note,
            "epoch": order.epoch,
            "site": self._core.site,
        }


def _read_order(columns: Sequence[Any]) -> Order:
    order_id, loan_id, amount_fen, payee_kind, payee, kinds, state, channel, refused_by, *rest = columns
    return Order(
        order_id, loan_id, amount_fen, payee_kind, payee, tuple(kinds), State(state), channel,
        tuple(refused_by), *rest,
    )  # fmt: skip
