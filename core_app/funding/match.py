"""The three-way match at day-end: what channels were paid for, by their files, by our orders, by the ledger.

Files are compared line by line when they come (`clear.py`), what is open is looked at anew (`catch_up.py`).
Here day-end says, once a cell and day, what is still without a file, without entries, or was found different,
however old it is. It holds no day-end up: a bank's late file is no reason to close no day; it is an alarm
until it is there.
"""

import datetime as dt
from dataclasses import asdict, dataclass

from core_app.commands import Answer, Claim, finish_command, make_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.funding.custody_rows import ORDER_AND_LEDGER
from core_app.outbox import Told

STALE_DAYS = 7
"""Open for longer, it is more than a late file. Source: our choice, about the longest run of days without
bank business; the metric `custody_stale` counts by the same."""

# Up to the eve of the day that ends, whose files are out.
_OPEN = f"""
select c.channel, c.kind, c.on_date, count(*), coalesce(sum(o.amount_fen), 0)::bigint,
       count(*) filter (where c.standing = 'no_file'),
       count(*) filter (where o.paid_here and o.booked_fen <> o.amount_fen),
       count(*) filter (where c.standing not in ('no_file', 'ledger')),
       %(day)s::date - c.on_date
from core.custody c {ORDER_AND_LEDGER}
where c.standing not in ('agrees', 'withdrawn') and c.on_date < %(day)s
group by c.channel, c.kind, c.on_date order by c.channel, c.kind, c.on_date
"""  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Orders of a channel's day of payouts or debits that do not agree yet; amount in fen."""

    channel: str
    kind: str
    day: str
    orders: int
    amount_fen: int
    without_file: int
    without_entries: int
    differences: int
    days_open: int = 0
    """Calendar days since; answers of earlier versions do not say it."""

    @property
    def stale(self) -> bool:
        """Say whether it is open for longer than a late file explains."""
        return self.days_open > STALE_DAYS

    def __str__(self) -> str:
        return (
            f"{self.channel}, {self.kind} of {self.day}: {self.orders} orders do not agree after"
            f" {self.days_open} days: {self.without_file} in no file, {self.without_entries} not in the"
            f" ledger as ordered, {self.differences} otherwise in its file"
            f"{'; longer than a late file explains, ask the channel' if self.stale else ''}"
        )


async def match_channels(core: LendingCore, cell: str, day: dt.date) -> tuple[Unmatched, ...]:
    """Return what is unmatched when `day` ends, up to its eve; kept as a command, once a cell and day."""
    command = make_command(core, f"match-{day:%Y%m%d}-{cell}", "channel-match", {"day": day.isoformat()})

    async def work(connection: Connection, claim: Claim) -> Answer:
        rows = await connection.execute(_OPEN, {"day": day})
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
