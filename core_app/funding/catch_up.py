"""What agrees since: at each day-end the open rows of core.custody are looked at anew, in batches, each once.

A file that came before its order was paid or booked, and one that came late, are found here; and so is an
order that agreed and whose entries have changed since.
"""

import datetime as dt
from dataclasses import dataclass

from core_app.commands import Answer, Claim, finish_command, make_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.funding.custody import judge
from core_app.funding.custody_rows import (
    ORDER_AND_LEDGER,
    Place,
    bring_rows,
    lock_rows,
    see_rows,
)
from core_app.outbox import Told
from core_app.router_line import ALLOW_A_MINUTE

AT_ONCE = 2_000
"""Rows of one transaction. Source: our choice; well under the second that a lock may be waited for."""
DAYS = 7
"""Days that orders which agreed are held against the ledger once more. Source: our choice, about the longest
run of days without bank business."""

# An order that waits for its file has nothing to be looked at for: those are as many as a day has orders.
_NEXT = f"""
with open as (
    select c.order_id, c.channel from core.custody c
    where c.standing <> 'agrees' and (c.order_id, c.channel) > (%(order)s, %(channel)s)
        and (c.standing <> 'no_file' or exists (
            select from core.clearing_lines l where l.order_id = c.order_id and l.channel = c.channel))
), paid as (
    select order_id from core.payout_events where state = 'paid' and at >= %(since)s
    union all
    select order_id from core.debit_events where state = 'paid' and at >= %(since)s
), changed as (
    select c.order_id, c.channel from core.custody c {ORDER_AND_LEDGER}
    where c.order_id in (select order_id from paid) and c.standing = 'agrees'
        and (c.order_id, c.channel) > (%(order)s, %(channel)s) and o.booked_fen <> o.amount_fen
)
select order_id, channel from open union select order_id, channel from changed
order by order_id, channel limit %(most)s
"""  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Rows looked at, and orders moved into custody."""

    looked_at: int
    moved: int


async def catch_up(core: LendingCore, cell: str, day: dt.date, at_once: int = AT_ONCE) -> CaughtUp:
    """Look at all that is open when `day` ends; return the totals. A batch has its effect once."""
    total, after = CaughtUp(0, 0), Place("", "")
    for number in range(1_000_000):
        batch, after = await _batch(core, cell, (day, number, at_once), after)
        total = CaughtUp(total.looked_at + batch.looked_at, total.moved + batch.moved)
        if batch.looked_at < at_once:
            break
    return total


async def _batch(
    core: LendingCore, cell: str, which: tuple[dt.date, int, int], after: Place
) -> tuple[CaughtUp, Place]:
    day, number, at_once = which
    key = f"custody-{day:%Y%m%d}-{cell}-{number:06d}"
    command = make_command(core, key, "custody", {"day": day.isoformat(), "at_once": at_once})
    since = dt.datetime.combine(day - dt.timedelta(days=DAYS), dt.time(), dt.timezone(dt.timedelta(hours=8)))
    asked = {"order": after.order_id, "channel": after.channel, "since": since, "most": at_once}

    async def work(connection: Connection, claim: Claim) -> Answer:
        await connection.execute(ALLOW_A_MINUTE)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        rows = await (await connection.execute(_NEXT, asked)).fetchall()
        places = [Place(*row) for row in rows]
        await lock_rows(connection, places)
        found = [judge(one) for one in await see_rows(connection, places, None, {})]
        await bring_rows(connection, found, key, command.today)
        last = places[-1] if places else after
        body = {
            "day": day.isoformat(),
            "looked_at": len(places),
            "moved": sum(one.move for one in found),
            "last": [last.order_id, last.channel],
        }
        return await finish_command(connection, claim, 201, body, Told("custody.caught_up", key, body))

    body = (await run_command(core, cell, command, work)).answer.body
    return CaughtUp(int(body["looked_at"]), int(body["moved"])), Place(*body["last"])
