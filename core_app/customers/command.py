"""Commands about one customer: in the customer's cell, on the business date of the customer's chunk."""

import datetime as dt
from collections.abc import Awaitable, Callable

from core_app.commands import Answer, Claim, Command, Done, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.errors import refuse_field
from core_app.ids import is_customer_id

Work = Callable[[Connection, Claim, dt.date], Awaitable[Answer]]
"""What is done, once, with the business date; it ends with `finish_command`."""

_ASK = """
select d.day, c.customer_id
from core.enter_day(%(chunk)s::smallint, %(today)s::date) as d (day)
left join core.customers c on c.customer_id = %(customer_id)s
"""


async def run_for_customer(core: LendingCore, command: Command, customer_id: str, work: Work) -> Done:
    """Run `work` as one command of the customer's cell; Refused (422) unless the customer is registered."""
    if not is_customer_id(customer_id):
        raise refuse_field("body.customer_id", "a text that is no customer id", "a customer id")

    async def whole(connection: Connection, claim: Claim) -> Answer:
        chunk = core.chunk_of_customer(customer_id)
        who = {"today": command.today, "chunk": chunk, "customer_id": customer_id}
        asked = await connection.execute(_ASK, who)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        today, known = await asked.fetchone() or (command.today, None)
        if known is None:
            raise refuse_field("body.customer_id", "no such customer", "a registered customer")
        return await work(connection, claim, today)

    return await run_command(core, core.cell_of_customer(customer_id), command, whole)
