"""The three-way match at day-end: what channels were paid for, by their files, by our orders, by the ledger.

Files are compared line by line when they come (`clear.py`). Here day-end looks back over the last days, once
a cell and day, and says what is still without a file, without entries, or was found different. It holds no
day-end up: a bank's late file is no reason to close no day; it is an alarm until it is there.
"""

import datetime as dt
from dataclasses import asdict, dataclass

from core_app.commands import Answer, Claim, finish_command, make_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.ledger.posting import Account
from core_app.outbox import Told

DAYS = 7
"""Days that are looked back on, the last of them the eve of the day that ends, whose files are out. Source:
our choice, about the longest run of days without bank business."""

_OPEN = """
with paid as (
    select e.channel, 'payments' as kind, (e.at at time zone 'Asia/Shanghai')::date as day, o.order_id,
           o.amount_fen, -coalesce((select sum(n.amount_fen) from core.entries n
               where n.loan_id = o.loan_id and n.transaction_id = o.loan_id
                   and n.account = %(bank)s), 0) as booked
    from core.payout_events e join core.payout_orders o using (order_id)
    where e.state = 'paid' and e.at >= %(first)s::timestamp at time zone 'Asia/Shanghai'
        and e.at < (%(last)s::date + 1)::timestamp at time zone 'Asia/Shanghai'
    union all
    select e.channel, 'debits', (e.at at time zone 'Asia/Shanghai')::date, o.order_id,
           o.amount_fen, coalesce((select sum(n.amount_fen) from core.entries n
               where n.loan_id = o.loan_id and n.account = %(bank)s
                   and n.idempotency_key in ('debit-' || o.order_id, 'debited-' || o.order_id)), 0)
    from core.debit_events e join core.debit_orders o using (order_id)
    where e.state = 'paid' and e.at >= %(first)s::timestamp at time zone 'Asia/Shanghai'
        and e.at < (%(last)s::date + 1)::timestamp at time zone 'Asia/Shanghai'
), counted as (
    select p.channel, p.kind, p.day, count(*) as orders, sum(p.amount_fen)::bigint as amount_fen,
           count(*) filter (where not exists (
               select from core.clearing_lines c where c.order_id = p.order_id)) as without_file,
           count(*) filter (where p.booked <> p.amount_fen) as without_entries
    from paid p group by p.channel, p.kind, p.day
), cleared as (
    select c.channel, c.kind, c.on_date as day, jsonb_array_length(c.differences) as differences
    from core.clearings c where c.on_date between %(first)s and %(last)s
)
select channel, kind, day, coalesce(n.orders, 0), coalesce(n.amount_fen, 0), coalesce(n.without_file, 0),
       coalesce(n.without_entries, 0), coalesce(c.differences, 0)
from counted n full join cleared c using (channel, kind, day)
where coalesce(n.without_file, 0) + coalesce(n.without_entries, 0) + coalesce(c.differences, 0) > 0
order by channel, kind, day
"""


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A channel's day of payouts or debits that does not agree yet; counts of orders, amount in fen."""

    channel: str
    kind: str
    day: str
    orders: int
    amount_fen: int
    without_file: int
    without_entries: int
    differences: int

    def __str__(self) -> str:
        return (
            f"{self.channel}, {self.kind} of {self.day}: of {self.orders} orders {self.without_file} are in"
            f" no file, {self.without_entries} not in the ledger as ordered; {self.differences} differences"
            " in its file"
        )


async def match_channels(core: LendingCore, cell: str, day: dt.date) -> tuple[Unmatched, ...]:
    """Return what is unmatched when `day` ends, up to its eve; kept as a command, once a cell and day."""
    last = day - dt.timedelta(days=1)
    asked = {"first": last - dt.timedelta(days=DAYS - 1), "last": last, "bank": str(Account.BANK_DEPOSITS)}
    command = make_command(core, f"match-{day:%Y%m%d}-{cell}", "channel-match", {"day": day.isoformat()})

    async def work(connection: Connection, claim: Claim) -> Answer:
        rows = await connection.execute(_OPEN, asked)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        found = [
            Unmatched(channel, kind, on.isoformat(), *counts)
            for channel, kind, on, *counts in await rows.fetchall()
        ]
        body = {"day": day.isoformat(), "unmatched": [asdict(one) for one in found]}
        return await finish_command(connection, claim, 201, body, Told("channels.matched", command.key, body))

    done = await run_command(core, cell, command, work)
    return tuple(Unmatched(**one) for one in done.answer.body["unmatched"])
