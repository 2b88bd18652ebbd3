"""Judge payouts: the core's orders against the banks' books, and how fast the traffic moved. Pure."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runbooks.drills.checkers import Finding, as_unsure, make_finding
from runbooks.drills.measure import compute_percentile
from runbooks.drills.records import Kind, Op, Outcome
from runbooks.drills.verdict import limit_finding

SWITCH_LIMIT_S = 10.0
"""Loss of a channel until the traffic has moved. Source: our promise; its means:
docs/decisions/013-payouts-are-asked-for-not-repeated.md."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """A payout order as a cell has it."""

    order_id: str
    loan_id: str
    amount_fen: int
    state: str
    channel: str | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One step of an order's history; `at` is the cell's wall clock, aware."""

    order_id: str
    state: str
    channel: str | None
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class BookLine:
    """One payment in a bank's own book; `asked` counts the requests that brought its number."""

    bank: str
    order_id: str
    amount_fen: int
    asked: int


@dataclass(frozen=True, slots=True)
class CellPayouts:
    """Everything about payouts of one cell."""

    orders: tuple[OrderRow, ...]
    events: tuple[EventRow, ...]


Payouts = Mapping[str, CellPayouts | None]


@dataclass(frozen=True, slots=True)
class Loss:
    """When a channel died and when it was started again; aware wall clock."""

    channel: str
    killed_at: dt.datetime
    restarted_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Switch:
    """How the traffic moved, in seconds after the loss; None: it never did.

    `last_sent_s`: last order written down for the dead channel. `first_paid_s`: first one paid elsewhere.
    `in_doubt`: orders that had to wait for the dead channel to say what became of them.
    """

    last_sent_s: float
    first_paid_s: float | None
    in_doubt: int
    paid_while_dead: int
    wait_p50_s: float
    wait_max_s: float

    @property
    def seconds(self) -> float | None:
        """Return when the traffic had moved: nothing goes to the dead channel, orders are paid elsewhere."""
        return None if self.first_paid_s is None else max(self.last_sent_s, self.first_paid_s)


def check_payouts(ops: Sequence[Op], cells: Payouts, books: Sequence[BookLine]) -> tuple[Finding, ...]:
    """Run every check of payouts over settled operations, the cells' orders and the banks' books."""
    return (
        check_each_draw_is_ordered(ops, cells),
        check_nothing_is_paid_twice(cells, books),
        check_every_order_is_paid(cells, books),
        check_no_payment_is_unknown_to_us(cells, books),
    )


def check_each_draw_is_ordered(ops: Sequence[Op], cells: Payouts) -> Finding:
    """Each acknowledged draw has one order of its whole amount."""
    amounts = {order.loan_id: order.amount_fen for order in _orders(cells)}
    draws = [op for op in ops if op.kind is Kind.DRAW and op.outcome is Outcome.OK]
    drawn = [(str(op.answer["loan_id"]), op.answer["balance_fen"]) for op in draws]
    defects = [
        f"{loan_id}: drawn {fen}, ordered {amounts.get(loan_id)}"
        for loan_id, fen in drawn
        if amounts.get(loan_id) != fen
    ]
    return make_finding("each_draw_is_ordered", defects, len(draws), cells)


def check_nothing_is_paid_twice(cells: Payouts, books: Sequence[BookLine]) -> Finding:
    """No order stands in the books of the banks more than once, all banks together."""
    times = Counter(line.order_id for line in books)
    defects = [f"{order_id}: paid {count} times" for order_id, count in times.items() if count > 1]
    return make_finding("nothing_is_paid_twice", defects, len(times), cells)


def check_every_order_is_paid(cells: Payouts, books: Sequence[BookLine]) -> Finding:
    """Each order that is paid by our word stands so in that bank's book; none is left open."""
    booked = {(line.order_id, line.bank): line.amount_fen for line in books}
    orders = list(_orders(cells))
    compared = [(order, booked.get((order.order_id, order.channel or ""))) for order in orders]
    defects = [
        f"{order.order_id}: paid {order.amount_fen} at {order.channel}, its book has {found}"
        for order, found in compared
        if order.state == "paid" and found != order.amount_fen
    ]
    left = [f"{order.order_id}: {order.state}" for order in orders if order.state not in ("paid", "failed")]
    return as_unsure(make_finding("every_order_is_paid", defects, len(orders), cells), left)


def check_no_payment_is_unknown_to_us(cells: Payouts, books: Sequence[BookLine]) -> Finding:
    """Each payment in a bank's book has an order of ours that was sent there, and not given up."""
    sent = ("sent", "unknown", "paid")
    paid = {
        (order.order_id, order.channel): order.amount_fen for order in _orders(cells) if order.state in sent
    }
    compared = [(line, paid.get((line.order_id, line.bank))) for line in books]
    defects = [
        f"{line.bank} paid {line.amount_fen} for {line.order_id}, we have {ours}"
        for line, ours in compared
        if ours != line.amount_fen
    ]
    return make_finding("no_payment_is_unknown_to_us", defects, len(books), cells)


def measure_switch(cells: Payouts, loss: Loss) -> Switch:
    """Measure how the traffic moved away from the dead channel."""
    events = sorted(
        (event for found in cells.values() if found for event in found.events), key=lambda e: e.at
    )
    dead = [event for event in events if loss.killed_at <= event.at < loss.restarted_at]
    sent = [event.at for event in dead if (event.state, event.channel) == ("sent", loss.channel)]
    paid = [event for event in dead if event.state == "paid" and event.channel != loss.channel]
    doubt = {event.order_id for event in dead if (event.state, event.channel) == ("unknown", loss.channel)}
    waits = [wait for order_id, wait in _waits(events, loss) if order_id not in doubt]
    return Switch(
        max((_after(at, loss) for at in sent), default=0.0),
        _after(paid[0].at, loss) if paid else None,
        len(doubt),
        len(paid),
        round(compute_percentile(waits, 0.5), 3),
        round(max(waits, default=0.0), 3),
    )


def check_switch(switch: Switch) -> Finding:
    """Say whether the traffic moved in time, and no order without a doubt waited longer."""
    moved = switch.seconds
    defects = [] if moved is not None and moved <= SWITCH_LIMIT_S else [f"moved after {moved} s"]
    if switch.wait_max_s > SWITCH_LIMIT_S:
        defects.append(f"an order waited {switch.wait_max_s} s for its money")
    return limit_finding("channel_switched_in_time", defects, switch.paid_while_dead)


def _waits(events: Sequence[EventRow], loss: Loss) -> Iterable[tuple[str, float]]:
    """Yield how long each order that was drawn while the channel was dead waited for its money."""
    steps: dict[str, dict[str, dt.datetime]] = defaultdict(dict)
    for event in events:
        steps[event.order_id].setdefault(event.state, event.at)
    for order_id, step in steps.items():
        ordered, paid = step.get("ordered"), step.get("paid")
        if ordered is not None and paid is not None and loss.killed_at <= ordered < loss.restarted_at:
            yield order_id, (paid - ordered).total_seconds()


def _after(at: dt.datetime, loss: Loss) -> float:
    return round((at - loss.killed_at).total_seconds(), 3)


def _orders(cells: Payouts) -> Iterable[OrderRow]:
    return (order for found in cells.values() if found for order in found.orders)
