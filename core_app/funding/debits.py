"""Collect instalments when they are due: agree to it, order it, book what came.

Day-end writes the orders of the next day (PLAN_DEBITS, in the transaction that closes a chunk). A payer
drives them through debit channels as it drives payouts: written down before it is sent, asked for before it
is repeated. What a channel collected is booked on the loan, once; what the loan no longer owed is owed back.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from core_app.commands import (
    Answer,
    Claim,
    Command,
    Done,
    finish_command,
    make_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.customers.command import run_for_customer
from core_app.errors import Kind, Refused
from core_app.funding.payer import OrderBook
from core_app.funding.payout import Order
from core_app.ids import Letter
from core_app.ledger.posting import Event, entry_columns, plan_entries
from core_app.loans.reading import ALL_LINES, ask_unlocked, fetch_loan
from core_app.loans.repay import repay_loan
from core_app.loans.store import INSERT_ENTRIES
from core_app.outbox import Told
from core_app.products.model import Product

PAUSE = dt.timedelta(hours=4)
"""Pause before the next attempt of a day. Source: our choice; wages arrive in the course of a day."""

# Nothing is ordered for a loan while an earlier order is under way or not booked.
PLAN_DEBITS = """
insert into core.debit_orders (order_id, loan_id, on_date, attempt, attempts_most, agreement, channel_kinds,
    due_at, give_up_at, epoch, changed_by, idempotency_key)
select 'D' || substr(s.loan_id, 2, 4)
           || left(encode(sha256(convert_to(s.loan_id || '/' || d.on_date || '/1', 'UTF8')), 'hex'), 32),
       s.loan_id, d.on_date, 1, t.attempts, m.agreement, string_to_array(t.kinds, ','),
       greatest(now(), d.opens), greatest(now(), d.opens) + interval '12 hours', %(epoch)s, %(site)s, %(key)s
from (select %(day)s::date + 1, (%(day)s::date + 1 + time '08:00') at time zone 'Asia/Shanghai')
         as d (on_date, opens),
     core.loan_snapshots s
     join unnest(%(debit_products)s::text[], %(debit_versions)s::integer[], %(debit_attempts)s::smallint[],
                 %(debit_kinds)s::text[]) as t (product, product_version, attempts, kinds)
         using (product, product_version)
     join lateral (select a.agreement from core.debit_agreements a where a.customer_id = s.customer_id
                   order by a.agreement_id desc limit 1) as m on m.agreement is not null
where s.on_date = %(day)s and s.loan_id >= %(first)s and s.loan_id < %(last)s and s.next_due <= d.on_date
    and not exists (select from core.debit_orders o where o.loan_id = s.loan_id
        and (o.state in ('ordered', 'sent', 'unknown') or (o.state = 'paid' and o.booked_at is null)))
"""

_AGREE = """
insert into core.debit_agreements (customer_id, agreement, agreed_on, idempotency_key) values (%s, %s, %s, %s)
"""

_NEW = """
select order_id, loan_id from core.debit_orders
where state = 'ordered' and amount_fen is null and due_at <= now()
order by due_at limit %s for update skip locked
"""

_PRICE = """
update core.debit_orders
set amount_fen = %(amount)s, state = case when %(amount)s::bigint is null then 'needless' else state end,
    note = %(note)s, epoch = %(epoch)s, changed_by = %(site)s, changed_at = now()
where order_id = %(order_id)s
"""

_DUE = """
select order_id, loan_id, amount_fen, 'agreement', agreement, channel_kinds, state, channel, refused_by,
       valid_until, epoch, give_up_at, note, now()
from core.debit_orders
where state in ('ordered', 'sent', 'unknown') and amount_fen is not null and due_at <= now()
order by due_at limit %s for update skip locked
"""

_WRITE = """
update core.debit_orders
set state = %(state)s, channel = %(channel)s, refused_by = %(refused_by)s, valid_until = %(valid_until)s,
    due_at = now() + %(wait)s, note = %(note)s, epoch = %(epoch)s, changed_by = %(site)s, changed_at = now()
where order_id = %(order_id)s
"""

# The next attempt has a number of its own: what a channel refused it never books under the old one.
_FAIL = """
with failed as (
    update core.debit_orders o
    set state = 'failed', note = %(why)s, changed_by = %(site)s, changed_at = now()
    where o.order_id = %(order_id)s and o.changed_at = %(seen_at)s and o.state = 'ordered'
    returning o.*
)
insert into core.debit_orders (order_id, loan_id, on_date, attempt, attempts_most, agreement, channel_kinds,
    due_at, give_up_at, epoch, changed_by, idempotency_key)
select 'D' || substr(f.loan_id, 2, 4) || left(encode(sha256(convert_to(
           f.loan_id || '/' || f.on_date || '/' || (f.attempt + 1), 'UTF8')), 'hex'), 32),
       f.loan_id, f.on_date, f.attempt + 1, f.attempts_most, f.agreement, f.channel_kinds,
       now() + %(pause)s, f.give_up_at, f.epoch, %(site)s, f.idempotency_key
from failed f where f.attempt < f.attempts_most and now() + %(pause)s < f.give_up_at
"""

_TO_BOOK = """
select order_id, loan_id, amount_fen from core.debit_orders
where state = 'paid' and booked_at is null order by order_id limit %s
"""

# The first to find the part fixes it; the row's lock makes the next one read what was fixed.
_FIX_PART = """
update core.debit_orders o set part_fen = coalesce(o.part_fen, %s) where o.order_id = %s returning o.part_fen
"""

# Only while nothing was booked by it: a refused repayment has left no row.
_FORGET_PART = """
update core.debit_orders o set part_fen = null
where o.order_id = %s and o.booked_at is null
    and not exists (select from core.commands c where c.idempotency_key = 'debit-' || o.order_id)
"""

_BOOKED = """
update core.debit_orders set booked_at = now()
where order_id = %s and booked_at is null returning amount_fen - part_fen
"""


def debit_columns(products: Iterable[Product]) -> dict[str, list[Any]]:
    """Return the product versions whose instalments are collected when due, as PLAN_DEBITS takes them."""
    known = sorted(
        (product for product in products if product.channels.auto_debit and product.channels.debits_per_day),
        key=lambda product: (product.id, product.version),
    )
    return {
        "debit_products": [product.id for product in known],
        "debit_versions": [product.version for product in known],
        "debit_attempts": [product.channels.debits_per_day for product in known],
        "debit_kinds": [",".join(product.channels.repay_channels) for product in known],
    }


async def agree_to_debits(
    core: LendingCore, command: Command, customer_id: str, agreement: str | None
) -> Done:
    """Keep the agreement by which a customer's instalments are collected, or its end (None)."""

    async def work(connection: Connection, claim: Claim, today: dt.date) -> Answer:
        await connection.execute(_AGREE, [customer_id, agreement, today, command.key])
        body = {"customer_id": customer_id, "agreed_on": today.isoformat(), "active": agreement is not None}
        told = Told("debits.agreed", customer_id, body)
        return await finish_command(connection, claim, 201, body, told)

    return await run_for_customer(core, command, customer_id, work)


async def price_debits(core: LendingCore, cell: str, batch: int) -> int:
    """Put what is due today into the cell's new orders, `batch` at most; return how many were looked at.

    An order of which nothing is due any more is needless, and stays so.
    """

    async def work(connection: Connection, epoch: int) -> int:
        rows = await (await connection.execute(_NEW, [batch])).fetchall()
        for order_id, loan_id in rows:
            asked = await ask_unlocked(core, connection, loan_id)
            loan = await fetch_loan(core, connection, loan_id, asked, ALL_LINES)
            due_fen = sum(due.total_fen for due in loan.dues[: loan.fallen]) if loan else 0
            values = {"order_id": order_id, "amount": due_fen or None, "epoch": epoch, "site": core.site}
            await connection.execute(_PRICE, values | {"note": "" if due_fen else "nothing is due"})
        return len(rows)

    return (await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)).value


async def book_debits(core: LendingCore, cell: str, batch: int) -> int:
    """Book what channels have collected in the cell, `batch` at most; return how many orders are booked.

    Repeated after any kind of end, it books each once: the part that goes to the loan stands in the order
    before it is booked there, under the order's own key.
    """

    async def read(connection: Connection, _: int) -> list[tuple[str, str, int]]:
        return await (await connection.execute(_TO_BOOK, [batch])).fetchall()

    booked = 0
    for order in (await core.router.read(cell, read, deadline_seconds=core.deadline_seconds)).value:
        booked += await _book(core, cell, order)
    return booked


async def _book(core: LendingCore, cell: str, order: tuple[str, str, int]) -> bool:
    order_id, loan_id, _ = order
    part_fen = await _fix_part(core, cell, order)
    if part_fen:
        command = make_command(
            core, f"debit-{order_id}", "repayment", {"loan_id": loan_id, "amount_fen": part_fen}
        )
        try:
            await repay_loan(core, command, loan_id, part_fen)
        except Refused as refusal:
            if refusal.kind is Kind.KEY_REUSED:
                raise
            # Somebody paid since: the part is found anew at the next look.
            await _forget_part(core, cell, order_id)
            return False
    await _finish(core, cell, order_id, loan_id)
    return True


async def _fix_part(core: LendingCore, cell: str, order: tuple[str, str, int]) -> int:
    """Write down how much of a collected order the loan takes, unless that is written, and return it."""
    order_id, loan_id, amount_fen = order

    async def work(connection: Connection, _: int) -> int:
        asked = await ask_unlocked(core, connection, loan_id)
        loan = await fetch_loan(core, connection, loan_id, asked, ALL_LINES)
        most_fen = min(amount_fen, loan.outstanding_fen) if loan else 0
        fixed = await (await connection.execute(_FIX_PART, [most_fen, order_id])).fetchone()
        if fixed is None:
            raise RuntimeError(f"debit {order_id}: an order that was read cannot be gone")
        return int(fixed[0])

    return (await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)).value


async def _forget_part(core: LendingCore, cell: str, order_id: str) -> None:
    async def work(connection: Connection, _: int) -> None:
        await connection.execute(_FORGET_PART, [order_id])

    await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)


async def _finish(core: LendingCore, cell: str, order_id: str, loan_id: str) -> None:
    """Mark an order as booked, once, and book as owed back what the loan did not take."""
    command = make_command(core, f"debited-{order_id}", "debit", {"order_id": order_id})

    async def work(connection: Connection, claim: Claim) -> Answer:
        asked = await ask_unlocked(core, connection, loan_id)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        loan = await fetch_loan(core, connection, loan_id, asked, ALL_LINES)
        marked = await (await connection.execute(_BOOKED, [order_id])).fetchone()
        if loan is None or marked is None:
            raise RuntimeError(f"debit {order_id}: booked already, under no key of its own")
        if surplus_fen := int(marked[0]):
            entries = plan_entries(Event.SURPLUS, {"amount": surplus_fen})
            columns = entry_columns(entries) | {"transactions": [f"{order_id}/surplus"] * len(entries)}
            when = {"loan_id": loan_id, "key": command.key, "day": loan.today}
            await connection.execute(INSERT_ENTRIES, columns | when)
        body = {"order_id": order_id, "loan_id": loan_id, "surplus_fen": surplus_fen}
        told = Told("debit.booked", loan_id, body | {"customer_id": loan.row.customer_id})
        return await finish_command(connection, claim, 201, body, told)

    await run_command(core, cell, command, work)


async def _give_up(core: LendingCore, order: Order, why: str, seen_at: dt.datetime) -> None:
    cell = core.cell_of_id(Letter.LOAN, order.loan_id)
    values = {"order_id": order.order_id, "seen_at": seen_at, "why": why, "site": core.site, "pause": PAUSE}

    async def work(connection: Connection, _: int) -> None:
        await connection.execute(_FAIL, values)

    if cell is not None:
        await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)


DEBITS = OrderBook(_DUE, _WRITE, _give_up, price_debits, book_debits)
