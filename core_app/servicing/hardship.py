"""A debtor in difficulty asks for a rest: nobody is contacted for the days that the product promises.

The debt stays as it is; only the contacts rest (rule collect.hardship), and day-end orders no tasks.
"""

import datetime as dt
from dataclasses import dataclass

from core_app.commands import Answer, Claim, Command, Done, finish_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.errors import Kind, Refused, refuse_conflict
from core_app.ids import Letter
from core_app.loans.reading import ask_locked, fetch_loan
from core_app.outbox import Told
from core_app.products.published import find_version

_RESTS = "select max(rest_until) from core.hardships where loan_id = %s"
_INSERT = """
insert into core.hardships (loan_id, customer_id, asked_on, rest_until, reason, staff, idempotency_key)
values (%(loan_id)s, %(customer_id)s, %(asked_on)s, %(rest_until)s, %(reason)s, %(staff)s, %(key)s)
"""
_NEEDLESS = """
update core.collection_tasks set state = 'needless', changed_by = %s, changed_at = now()
where loan_id = %s and state = 'ordered'
"""


@dataclass(frozen=True, slots=True)
class Hardship:
    """A request as staff takes it: for which loan, why (one of four words)."""

    loan_id: str
    reason: str
    staff: str


async def grant_rest(core: LendingCore, command: Command, wish: Hardship) -> Done:
    """Let a loan rest from the business date on; open tasks of it are needless.

    Refused: 404 when there is no such loan, 409 when it ended or rests already.
    """
    cell = core.cell_of_id(Letter.LOAN, wish.loan_id)
    if cell is None:
        raise Refused(Kind.NOT_FOUND, "There is no such loan.")

    async def work(connection: Connection, claim: Claim) -> Answer:
        asked = await ask_locked(core, connection, wish.loan_id)
        rests = await connection.execute(_RESTS, [wish.loan_id])
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        loan = await fetch_loan(core, connection, wish.loan_id, asked)
        (resting,) = await rests.fetchone() or (None,)
        if loan is None:
            raise Refused(Kind.NOT_FOUND, "There is no such loan.")
        if loan.row.settled_on is not None or loan.row.written_off_on is not None:
            raise refuse_conflict("body.loan_id", "a loan that ended", "a loan that is owed")
        if resting is not None and resting >= loan.today:
            raise refuse_conflict("body.loan_id", f"a loan that rests until {resting}", "one that does not")
        product = await find_version(core, connection, loan.row.product, loan.row.product_version)
        until = loan.today + dt.timedelta(days=product.collection.hardship_days)
        values = {
            "loan_id": wish.loan_id, "customer_id": loan.row.customer_id, "asked_on": loan.today,
            "rest_until": until, "reason": wish.reason, "staff": wish.staff, "key": command.key,
        }  # fmt: skip
        await connection.execute(_INSERT, values)
        await connection.execute(_NEEDLESS, [core.site, wish.loan_id])
        body = {"loan_id": wish.loan_id, "rest_until": until.isoformat(), "reason": wish.reason}
        about = body | {"customer_id": loan.row.customer_id, "staff": wish.staff}
        return await finish_command(
            connection, claim, 201, body, Told("hardship.granted", wish.loan_id, about)
        )

    return await run_command(core, cell, command, work)
