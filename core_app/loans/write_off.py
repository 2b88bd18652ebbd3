"""Write a loan off: it leaves the books against the provision, and the debt stays.

What is paid on it later is a recovery (`repay_loan`).
"""

from core_app.commands import (
    Answer,
    Claim,
    Command,
    Done,
    finish_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.errors import refuse_conflict, refuse_field
from core_app.funding.service import ask_shares, fetch_shares
from core_app.ids import Letter
from core_app.ledger.posting import Event, entry_columns, plan_entries
from core_app.loans import store
from core_app.loans.fees import NO_LOAN_FEES
from core_app.loans.loan import show_loan_row
from core_app.loans.reading import ALL_LINES, ask_locked, fetch_loan
from core_app.outbox import Told
from core_app.products.published import find_version


async def write_off_loan(core: LendingCore, command: Command, loan_id: str, reason: str) -> Done:
    """Write a loan off, once. Refused (409) before the product's days past due, or without principal left."""
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    if cell is None:
        raise refuse_field("body.loan_id", "no loan id", "the id of a loan")

    async def work(connection: Connection, claim: Claim) -> Answer:
        asked = await ask_locked(core, connection, loan_id, ALL_LINES)
        asked_shares = await ask_shares(connection, loan_id)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        loan = await fetch_loan(core, connection, loan_id, asked, ALL_LINES)
        if loan is None:
            raise refuse_field("body.loan_id", "no such loan", "the id of a loan")
        if loan.row.written_off_on is not None or not loan.balance_fen:
            found = "a loan that was written off" if loan.balance_fen else "a loan without principal left"
            raise refuse_conflict("body.loan_id", found, "a loan in the books")
        product = await find_version(core, connection, loan.row.product, loan.row.product_version)
        needed = product.accounting.write_off_after_days
        if loan.days_past_due <= needed:
            found = f"a loan {loan.days_past_due} days past due"
            raise refuse_conflict("body.loan_id", found, f"one more than {needed} (write_off_after_days)")
        # A partner's share stays what we hold for it: whether it is a loss is for the partner to say.
        own_fen = (await fetch_shares(asked_shares, NO_LOAN_FEES)).own_principal_left(loan.row.principal_fen)
        values = {
            "loan_id": loan_id,
            "principal_fen": loan.balance_fen,
            "own_fen": own_fen,
            "days_past_due": loan.days_past_due,
            "reason": reason,
            "day": loan.today,
            "key": command.key,
        }
        await connection.execute(store.WRITE_OFF, values)
        if own_fen:
            entries = plan_entries(Event.WRITE_OFF, {"principal": own_fen})
            columns = entry_columns(entries) | {"transactions": [f"{loan_id}/write-off"] * len(entries)}
            await connection.execute(store.INSERT_ENTRIES, columns | values)
        body = {
            "loan_id": loan_id,
            "principal_fen": loan.balance_fen,
            "days_past_due": loan.days_past_due,
            "written_off_on": loan.today.isoformat(),
        }
        shown = show_loan_row(loan) | {"status": "written_off"}
        told = Told("loan.written_off", loan_id, body | {"loan": shown})
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, cell, command, work)
