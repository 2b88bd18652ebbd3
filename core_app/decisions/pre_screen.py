"""Lists of who is let in to a product: staff puts a customer on one or takes it off, each time with a reason.

A product whose first step is `pre_screen` lets in only whom its list has on the day; others it names as not
offered, and refuses in the step. The newest row of customer and product counts.
"""

import datetime as dt
from dataclasses import dataclass

from core_app.commands import Answer, Claim, Command, Done, finish_command
from core_app.core import Connection, LendingCore
from core_app.customers.command import run_for_customer
from core_app.errors import refuse_field
from core_app.outbox import Told
from core_app.products.published import ask_on_sale

# Of the customer `c` on the day `d.day`: the products whose lists have them.
LISTED_COLUMN = """
array(select n.product
      from (select distinct on (p.product) p.product, p.listed, p.valid_to from core.pre_screens p
            where p.customer_id = c.customer_id
            order by p.product, p.pre_screen_id desc) as n
      where n.listed and d.day <= coalesce(n.valid_to, 'infinity'))
"""

_INSERT = """
insert into core.pre_screens (customer_id, product, listed, valid_from, valid_to, reason, staff,
    idempotency_key)
values (%(customer_id)s, %(product)s, %(listed)s, %(valid_from)s, %(valid_to)s, %(reason)s, %(staff)s,
    %(key)s)
"""


@dataclass(frozen=True, slots=True)
class PreScreen:
    """A customer put on a product's list until a business date (None: no end), or taken off it."""

    customer_id: str
    product: str
    listed: bool
    valid_to: dt.date | None
    reason: str
    staff: str


async def set_pre_screen(core: LendingCore, command: Command, wish: PreScreen) -> Done:
    """Keep it from the customer's business date on; what was applied for before it stands."""

    async def work(connection: Connection, claim: Claim, today: dt.date) -> Answer:
        chunk = core.chunk_of_customer(wish.customer_id)
        on_sale = await ask_on_sale(core, connection, wish.product, command.today, chunk)
        if await on_sale.fetch(today) is None:
            raise refuse_field("body.product", "no product on offer", "a product that is on offer")
        if wish.valid_to is not None and (not wish.listed or wish.valid_to < today):
            raise refuse_field("body.valid_to", str(wish.valid_to), f"with listed, a day from {today} on")
        kept = {"customer_id": wish.customer_id, "product": wish.product, "listed": wish.listed}
        days = {"valid_from": today, "valid_to": wish.valid_to}
        about = {"reason": wish.reason, "staff": wish.staff}
        await connection.execute(_INSERT, kept | days | about | {"key": command.key})
        body = kept | {name: day.isoformat() if day else None for name, day in days.items()}
        told = Told("pre_screen.set", wish.customer_id, body | about)
        return await finish_command(connection, claim, 201, body, told)

    return await run_for_customer(core, command, wish.customer_id, work)
