"""Set a campaign: by two people, in every cell by a command of the same key. Whom it tells comes later."""

from dataclasses import asdict
from typing import Any

from core_app.commands import Answer, Claim, Command, Done, finish_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.errors import refuse_conflict, refuse_field
from core_app.marketing.campaign import Campaign
from core_app.marketing.read import read_messages
from core_app.outbox import Told
from core_app.products.references import read_coupon_kinds, read_segments

_INSERT = """
insert into core.campaigns (campaign, segment, message, medium, coupon, least_points, first_day, last_day,
    reason, staff, idempotency_key)
values (%(campaign)s, %(segment)s, %(message)s, %(medium)s, %(coupon)s, %(least_points)s, %(first_day)s,
    %(last_day)s, %(reason)s, %(staff)s, %(key)s)
on conflict (campaign) do nothing returning 1
"""


async def set_campaign(core: LendingCore, command: Command, wish: Campaign, why: dict[str, str]) -> Done:
    """Keep a campaign in every cell; `why` is `reason` and `staff`. A name is used once.

    Refused: 422 names the field, 409 a name that was used. A cell that does not answer is told when the
    request is repeated.
    """
    _check(wish)
    first, *others = core.router.cells
    done = await _keep(core, first, command, wish, why)
    for cell in others:
        await _keep(core, cell, command, wish, why)
    return done


def _check(wish: Campaign) -> None:
    day = wish.first_day
    if wish.last_day < day:
        raise refuse_field("body.last_day", str(wish.last_day), f"{day} or later")
    kinds = [one.id for one in read_coupon_kinds() if one.holds_on(day) and one.holds_on(wish.last_day)]
    for path, found, known in (
        ("body.segment", wish.segment, [one.id for one in read_segments() if one.holds_on(day)]),
        ("body.message", wish.message, [one.id for one in read_messages().values() if one.first_day <= day]),
        ("body.coupon", wish.coupon, [None, *kinds]),
    ):
        if found not in known:
            raise refuse_field(path, str(found), f"one of: {', '.join(name for name in known if name)}")


async def _keep(core: LendingCore, cell: str, command: Command, wish: Campaign, why: dict[str, str]) -> Done:
    async def work(connection: Connection, claim: Claim) -> Answer:
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        if cell == core.router.cells[0] and wish.first_day < command.today:
            raise refuse_field("body.first_day", str(wish.first_day), f"{command.today} or later")
        kept: dict[str, Any] = asdict(wish)
        row = await (await connection.execute(_INSERT, kept | why | {"key": command.key})).fetchone()
        if row is None:
            raise refuse_conflict("body.campaign", "the name of another campaign", "a name that was not used")
        days = {name: kept[name].isoformat() for name in ("first_day", "last_day")}
        body = kept | days
        told = Told("campaign.set", wish.campaign, body | why)
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, cell, command, work)
