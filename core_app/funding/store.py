"""The statements of funders, quotas, shares and payout orders written by a draw; rows as values."""

import datetime as dt
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from core_app.core import Connection
from core_app.funding.funder import Funder
from core_app.funding.route import Offer

# The newest version of each funder that has a quota row in this cell.
_OFFERS = """
select v.document, q.total_fen - q.used_fen,
       q.day_fen - case %(day)s::date when q.used_on then q.day_used_fen
                        when q.used_on - 1 then q.eve_used_fen else 0 end, q.stopped
from core.funder_quotas q
     join lateral (select document from core.funder_versions f where f.funder = q.funder
                   order by version desc limit 1) v on true
"""

SELECT_OFFERS = _OFFERS + "order by q.funder"

# Locked in the order of names, so that two draws do not wait for each other. (Where a draw has to lock
# once more, they can: PostgreSQL then ends one, and the router runs it again.) A row that was waited for is
# read as it is after the wait.
LOCK_OFFERS = _OFFERS + "where q.funder = any(%(funders)s::text[]) order by q.funder for update of q"

# While day-end runs, some chunks are on the day that ends and others on the next: both days are counted.
RESERVE = """
update core.funder_quotas q
set used_fen = q.used_fen + w.fen, used_on = greatest(q.used_on, %(day)s::date),
    day_used_fen = case when q.used_on > %(day)s then q.day_used_fen
                        when q.used_on = %(day)s then q.day_used_fen + w.fen else w.fen end,
    eve_used_fen = case when q.used_on > %(day)s then q.eve_used_fen + w.fen
                        when q.used_on = %(day)s then q.eve_used_fen
                        when q.used_on = %(day)s::date - 1 then q.day_used_fen else 0 end
from unnest(%(funders)s::text[], %(principals)s::bigint[]) as w (funder, fen)
where q.funder = w.funder
"""

# Sent behind the lock of the loan's row: the totals are those that the repayment changes.
SELECT_SHARES = """
select f.funder, f.share, l.penalty_paid_fen, l.interest_paid_fen, l.principal_paid_fen, l.fee_paid_fen
from core.loan_funders f join core.loans l using (loan_id)
where f.loan_id = %s order by f.place
"""

LOCK_DRAWN = """
select l.principal_fen, l.principal_paid_fen + l.interest_paid_fen + l.penalty_paid_fen + l.fee_paid_fen,
       l.drawn_on, l.customer_id, core.enter_day(%s::smallint, %s::date)
from core.loans l where l.loan_id = %s for update
"""

SELECT_STAKES = "select funder, principal_fen from core.loan_funders where loan_id = %s order by place"

# Nobody has touched the order since it was found that every channel refuses it.
LOCK_REFUSED = """
select 1 from core.payout_orders where loan_id = %s and changed_at = %s and state = 'ordered' for update
"""

# A void in one statement: entries back, quota back, nothing left to be paid, the order failed, and the row
# that says so.
INSERT_VOID = """
with booked as (
    insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key,
        booked_on, funder)
    select %(key)s, e.account, e.amount_fen, 'CNY', %(loan_id)s, %(key)s, %(day)s, e.funder
    from unnest(%(accounts)s::text[], %(amounts)s::bigint[], %(entry_funders)s::text[])
         as e (account, amount_fen, funder)
), freed as (
    update core.funder_quotas q
    set used_fen = q.used_fen - w.fen,
        day_used_fen = q.day_used_fen - case when q.used_on = %(drawn_on)s then w.fen else 0 end,
        eve_used_fen = greatest(0, q.eve_used_fen
            - case when q.used_on = %(drawn_on)s::date + 1 then w.fen else 0 end)
    from unnest(%(funders)s::text[], %(principals)s::bigint[]) as w (funder, fen)
    where q.funder = w.funder
), failed as (
    update core.payout_orders
    set state = 'failed', note = %(reason)s, changed_by = %(site)s, changed_at = now(), epoch = %(epoch)s
    where loan_id = %(loan_id)s
), closed as (
    update core.loans l
    set principal_paid_fen = principal_fen, interest_paid_fen = interest_fen, fee_paid_fen = fee_fen,
        settled_on = %(day)s,
        open_period = (select max(i.period) + 1 from core.instalments i where i.loan_id = l.loan_id)
    where loan_id = %(loan_id)s
)
insert into core.draw_voids (loan_id, reason, voided_on, idempotency_key)
values (%(loan_id)s, %(reason)s, %(day)s, %(key)s)
"""

_FUNDER = TypeAdapter(Funder)


@lru_cache(maxsize=1024)
def read_funder(text: str) -> Funder:
    """Return the funder of a published document, which was checked when it was published."""
    return _FUNDER.validate_json(text)


def read_offers(rows: Iterable[tuple[Any, ...]]) -> dict[str, Offer]:
    """Turn rows of SELECT_OFFERS or LOCK_OFFERS into offers by funder."""
    offers = (Offer(read_funder(text), left, day_left, stopped) for text, left, day_left, stopped in rows)
    return {offer.funder.id: offer for offer in offers}


async def select_offers(connection: Connection, day: dt.date) -> dict[str, Offer]:
    """Return every funder of this cell with what is left to it; nothing is locked."""
    rows = await connection.execute(SELECT_OFFERS, {"day": day})
    return read_offers(await rows.fetchall())


async def lock_offers(connection: Connection, day: dt.date, funders: Iterable[str]) -> dict[str, Offer]:
    """Return these funders with what is left to them until this transaction ends."""
    rows = await connection.execute(LOCK_OFFERS, {"day": day, "funders": sorted(funders)})
    return read_offers(await rows.fetchall())
