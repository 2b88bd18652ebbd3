"""Compare a channel's clearing file with one cell's orders and ledger, once, and keep what was found.

What agrees three ways is moved from bank deposits to those in custody of channels: what is left on the former
is on its way, or disputed.
"""

from typing import Any

from psycopg.types.json import Jsonb

from core_app.commands import (
    Answer,
    Claim,
    Done,
    finish_command,
    make_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.documents import compute_sm3
from core_app.funding.clearing import Clearing, OrderSeen, agrees, find_differences, write_clearing
from core_app.ledger.posting import Account
from core_app.outbox import Told

# What the ledger has of an order: of a draw the bank's side of its transaction, of a debit what was booked by
# the order's own keys (on the loan, and as owed back).
_ORDERS = {
    "payments": """
select o.order_id, o.amount_fen, o.state = 'paid' and o.channel = %(channel)s,
       -coalesce((select sum(e.amount_fen) from core.entries e
                  where e.loan_id = o.loan_id and e.transaction_id = o.loan_id
                      and e.account = %(bank)s), 0)::bigint,
       (select c.on_date from core.clearing_lines c where c.order_id = o.order_id)
from core.payout_orders o where o.order_id = any(%(orders)s)
""",
    "debits": """
select o.order_id, o.amount_fen, o.state = 'paid' and o.channel = %(channel)s,
       coalesce((select sum(e.amount_fen) from core.entries e
                 where e.loan_id = o.loan_id and e.account = %(bank)s
                     and e.idempotency_key in ('debit-' || o.order_id, 'debited-' || o.order_id)), 0)::bigint,
       (select c.on_date from core.clearing_lines c where c.order_id = o.order_id)
from core.debit_orders o where o.order_id = any(%(orders)s)
""",
}

# We learn of a booking a little after the channel made it: what we learnt in a day's last hour may stand in
# this file or the next, and is looked for with the next.
_EXPECTED = """
select e.order_id from core.{events} e
where e.state = 'paid' and e.channel = %(channel)s
    and e.at >= (%(day)s::date - time '01:00') at time zone 'Asia/Shanghai'
    and e.at < (%(day)s::date + time '23:00') at time zone 'Asia/Shanghai'
    and not exists (select from core.clearing_lines c where c.order_id = e.order_id)
"""
_EVENTS = {"payments": "payout_events", "debits": "debit_events"}

# The bank's side of agreed orders, the same entries as above, by funder and dimensions: few lines a file.
_MOVED = {
    "payments": """
select e.funder, e.loan_id, e.amount_fen
from core.payout_orders o join core.entries e on e.loan_id = o.loan_id and e.transaction_id = o.loan_id
where o.order_id = any(%(agreed)s::text[]) and o.order_id in (select order_id from noted)
    and e.account = %(bank)s
""",
    "debits": """
select e.funder, e.loan_id, e.amount_fen
from core.debit_orders o join core.entries e on e.loan_id = o.loan_id
    and e.idempotency_key in ('debit-' || o.order_id, 'debited-' || o.order_id)
where o.order_id = any(%(agreed)s::text[]) and o.order_id in (select order_id from noted)
    and e.account = %(bank)s
""",
}

_KEEP = """
with cleared as (
    insert into core.clearings (channel, kind, on_date, lines, amount_fen, differences, file_sm3,
        idempotency_key)
    values (%(channel)s, %(kind)s, %(day)s, %(lines)s, %(amount_fen)s, %(differences)s, %(sm3)s, %(key)s)
), noted as (
    insert into core.clearing_lines (order_id, channel, kind, on_date, amount_fen)
    select l.order_id, %(channel)s, %(kind)s, %(day)s, l.fen
    from unnest(%(orders)s::text[], %(fens)s::bigint[]) as l (order_id, fen)
    on conflict (order_id) do nothing
    returning order_id
), moved as (
    select m.funder, l.product, l.channel, l.region, sum(m.amount_fen)::bigint as fen
    from ({moved}) as m join core.loans l using (loan_id)
    group by m.funder, l.product, l.channel, l.region
)
insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key, booked_on,
    funder, product, channel, region)
select concat_ws('/', 'custody', %(channel)s::text, %(kind)s::text, %(day)s::date, m.product, m.channel,
           m.region),
       a.account, a.fen, 'CNY', '', %(key)s, coalesce(b.on_date, %(today)s::date), m.funder, m.product,
       m.channel, m.region
from core.business_date b, moved m,
    lateral (values (%(custody)s, m.fen), (%(bank)s, -m.fen)) as a (account, fen)
where a.fen <> 0
"""


def lines_of_cell(core: LendingCore, cell: str, clearing: Clearing) -> dict[str, int]:
    """Return the lines whose numbers point to a cell; the first cell takes those that point nowhere."""
    cells = core.router.cells

    def place(order_id: str) -> str:
        try:
            slot = int(order_id[1:4], 16)
        except ValueError:
            return cells[0]
        return core.cell_of_slot(slot) if slot < 1024 else cells[0]

    return {order_id: fen for order_id, fen in clearing.lines.items() if place(order_id) == cell}


async def clear_cell(core: LendingCore, cell: str, clearing: Clearing) -> Done:
    """Compare a file with a cell, once; repeated it answers as before, and refuses another file (409)."""
    key = f"clear-{clearing.kind}-{clearing.channel}-{clearing.day:%Y%m%d}"
    sm3 = compute_sm3(write_clearing(clearing).encode())
    command = make_command(core, key, "clearing", {"file_sm3": sm3.hex()})
    lines = lines_of_cell(core, cell, clearing)
    asked = {
        "channel": clearing.channel,
        "bank": str(Account.BANK_DEPOSITS),
        "orders": list(lines),
        "day": clearing.day,
    }

    async def work(connection: Connection, claim: Claim) -> Answer:
        orders = await connection.execute(_ORDERS[clearing.kind].encode(), asked)
        expected = await connection.execute(_EXPECTED.format(events=_EVENTS[clearing.kind]).encode(), asked)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        known = [OrderSeen(*row) for row in await orders.fetchall()]
        missing = [order_id for (order_id,) in await expected.fetchall()]
        differences = list(find_differences(lines, known, missing))
        # Only the channel that paid an order takes its line: another's claim must not stand in its way.
        ours = {order.order_id for order in known if order.paid_here}
        body = _body(clearing, lines, differences)
        kept = {
            "kind": clearing.kind,
            "lines": len(lines),
            "amount_fen": sum(lines.values()),
            "differences": Jsonb(differences),
            "sm3": sm3,
            "key": key,
            "orders": [order for order in lines if order in ours],
            "fens": [fen for order, fen in lines.items() if order in ours],
            "agreed": [order.order_id for order in known if agrees(order, lines[order.order_id])],
            "custody": str(Account.CUSTODY),
            "today": command.today,
        }
        await connection.execute(_KEEP.format(moved=_MOVED[clearing.kind]).encode(), asked | kept)
        return await finish_command(connection, claim, 201, body, Told("channel.cleared", key, body))

    return await run_command(core, cell, command, work)


def _body(clearing: Clearing, lines: dict[str, int], differences: list[str]) -> dict[str, Any]:
    return {
        "channel": clearing.channel,
        "kind": clearing.kind,
        "day": clearing.day.isoformat(),
        "lines": len(lines),
        "amount_fen": sum(lines.values()),
        "differences": differences,
    }
