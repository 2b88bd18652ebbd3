"""Rows of core.custody: locked, seen beside orders, files and ledger, and brought to what was found."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core_app.core import Connection
from core_app.funding.custody import Found, Line, Seen
from core_app.ledger.posting import Account

# Whoever is to look at an order with a channel waits here for who does: what both read next is the same.
_LOCK = """
select c.order_id from core.custody c
join unnest(%(orders)s::text[], %(channels)s::text[]) as w (order_id, channel) using (order_id, channel)
order by c.order_id, c.channel for update of c
"""

# Of a draw the ledger has the bank's side of its transaction, of a debit what was booked by the order's own
# keys (on the loan, and as owed back).
ORDER_AND_LEDGER = f"""
left join lateral (
    select p.amount_fen, p.state = 'paid' and p.channel = c.channel as paid_here,
           -coalesce((select sum(e.amount_fen) from core.entries e
                      where e.loan_id = p.loan_id and e.transaction_id = p.loan_id
                          and e.account = '{Account.BANK_DEPOSITS}'), 0)::bigint as booked_fen
    from core.payout_orders p where c.kind = 'payments' and p.order_id = c.order_id
    union all
    select d.amount_fen, d.state = 'paid' and d.channel = c.channel,
           coalesce((select sum(e.amount_fen) from core.entries e
                     where e.loan_id = d.loan_id and e.account = '{Account.BANK_DEPOSITS}'
                         and e.idempotency_key in ('debit-' || d.order_id, 'debited-' || d.order_id)
           ), 0)::bigint
    from core.debit_orders d where c.kind = 'debits' and d.order_id = c.order_id
) as o on true
"""  # noqa: S608 - our own text

# Of each day the newest file, but none of the file that is being read (`file_day`): its lines are at hand.
_SEE = f"""
select c.order_id, c.channel, o.amount_fen, coalesce(o.paid_here, false), coalesce(o.booked_fen, 0),
       f.days, f.fens, exists (
           select from core.custody r where r.order_id = c.order_id and r.reported_on is not null)
from core.custody c
join unnest(%(orders)s::text[], %(channels)s::text[]) as w (order_id, channel) using (order_id, channel)
{ORDER_AND_LEDGER}
left join lateral (
    select array_agg(l.on_date order by l.on_date) as days, array_agg(l.amount_fen order by l.on_date) as fens
    from core.clearing_lines l
    where l.order_id = c.order_id and l.channel = c.channel and l.kind = c.kind
        and l.on_date is distinct from %(file_day)s::date
        and l.revision = (select max(n.revision) from core.clearings n
                          where (n.channel, n.kind, n.on_date) = (l.channel, l.kind, l.on_date))
) as f on true
order by c.order_id, c.channel
"""  # noqa: S608 - our own text

# What newly agrees is moved by funder and dimensions, few lines a file: the bank's side of each order.
_BRING = f"""
with found as (
    select * from unnest(%(orders)s::text[], %(channels)s::text[], %(standings)s::text[], %(notes)s::text[],
        %(moves)s::boolean[]) as f (order_id, channel, standing, note, move)
), fresh as (
    select c.order_id, c.kind from core.custody c join found f using (order_id, channel)
    where f.move and c.reported_on is null
), brought as (
    update core.custody c
    set standing = f.standing, note = f.note, idempotency_key = %(key)s,
        since = case when c.standing = f.standing then c.since else now() end,
        reported_on = case when f.move then coalesce(c.reported_on, b.on_date, %(today)s::date)
                      else c.reported_on end
    from found f, core.business_date b
    where c.order_id = f.order_id and c.channel = f.channel
        and (f.move or (c.standing, c.note) is distinct from (f.standing, f.note))
), bank as (
    select e.funder, e.loan_id, e.amount_fen
    from fresh join core.payout_orders o using (order_id)
        join core.entries e on e.loan_id = o.loan_id and e.transaction_id = o.loan_id
    where fresh.kind = 'payments' and e.account = '{Account.BANK_DEPOSITS}'
    union all
    select e.funder, e.loan_id, e.amount_fen
    from fresh join core.debit_orders o using (order_id)
        join core.entries e on e.loan_id = o.loan_id
            and e.idempotency_key in ('debit-' || o.order_id, 'debited-' || o.order_id)
    where fresh.kind = 'debits' and e.account = '{Account.BANK_DEPOSITS}'
), moved as (
    select m.funder, l.product, l.channel, l.region, sum(m.amount_fen)::bigint as fen
    from bank as m join core.loans l using (loan_id)
    group by m.funder, l.product, l.channel, l.region
)
insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key, booked_on,
    funder, product, channel, region)
select concat_ws('/', 'custody', %(key)s::text, m.product, m.channel, m.region),
       a.account, a.fen, 'CNY', '', %(key)s, coalesce(b.on_date, %(today)s::date), m.funder, m.product,
       m.channel, m.region
from core.business_date b, moved m,
    lateral (values ('{Account.CUSTODY}', m.fen), ('{Account.BANK_DEPOSITS}', -m.fen)) as a (account, fen)
where a.fen <> 0
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Place:
    """A row's key."""

    order_id: str
    channel: str


async def lock_rows(connection: Connection, places: Sequence[Place]) -> None:
    """Take the rows, in one order, so that two who look at them take turns."""
    await connection.execute(_LOCK, _columns(places))


async def see_rows(
    connection: Connection, places: Sequence[Place], day: dt.date | None, lines: Mapping[str, int]
) -> list[Seen]:
    """Return what is known of each row that is there; of the file of `day` by its `lines`, not kept yet."""
    rows = await connection.execute(_SEE, _columns(places) | {"file_day": day})
    return [_read(row, day, lines) for row in await rows.fetchall()]


def _read(row: Sequence[Any], day: dt.date | None, lines: Mapping[str, int]) -> Seen:
    order_id, channel, ordered_fen, paid_here, booked_fen, days, fens, reported = row
    known = [Line(*pair) for pair in zip(days or (), fens or (), strict=True)]
    if day is not None and order_id in lines:
        known.append(Line(day, lines[order_id]))
    return Seen(order_id, channel, ordered_fen, paid_here, booked_fen, tuple(known), reported)


async def bring_rows(connection: Connection, found: Sequence[Found], key: str, today: dt.date) -> None:
    """Write what was found of rows that are locked, and book what is to be moved, under a command's key."""
    columns = {
        "orders": [one.order_id for one in found],
        "channels": [one.channel for one in found],
        "standings": [str(one.standing) for one in found],
        "notes": [one.note for one in found],
        "moves": [one.move for one in found],
    }
    await connection.execute(_BRING, columns | {"key": key, "today": today})


def _columns(places: Sequence[Place]) -> dict[str, list[Any]]:
    return {"orders": [one.order_id for one in places], "channels": [one.channel for one in places]}
