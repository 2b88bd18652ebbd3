"""Show whose money a loan is, instalment by instalment, and where its payout stands."""

from typing import Any

from core_app.commands import Answer, Done
from core_app.core import Connection, LendingCore
from core_app.errors import Kind, Refused
from core_app.ids import Letter
from core_app.loans.schedule import Instalment
from core_app.loans.split import Funder, split_plan

_FUNDERS = "select funder, share from core.loan_funders where loan_id = %s order by place"
_PLAN = (
    "select period, due, principal_fen, interest_fen from core.instalments where loan_id = %s order by period"
)
_PAYOUT = """
select o.state, o.channel, o.amount_fen, o.note, v.reason
from core.payout_orders o left join core.draw_voids v using (loan_id) where o.loan_id = %s
"""


async def show_funding(core: LendingCore, loan_id: str) -> Done:
    """Return each funder's part of every instalment and the payout's state; Refused (404) without a loan.

    A loan from before payouts were kept has none (`payout` is null).
    """
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    if cell is None:
        raise Refused(Kind.NOT_FOUND, "There is no such loan.")

    async def work(connection: Connection, epoch: int) -> Answer:
        asked = [await connection.execute(query, [loan_id]) for query in (_FUNDERS, _PLAN, _PAYOUT)]
        funders, plan, payout = [await rows.fetchall() for rows in asked]
        if not funders:
            raise Refused(Kind.NOT_FOUND, "There is no such loan.")
        body = {
            "loan_id": loan_id,
            "funders": _show_parts([Funder(*row) for row in funders], [Instalment(*row) for row in plan]),
            "payout": _show_payout(payout[0]) if payout else None,
        }
        return Answer(200, body, epoch, replayed=False)

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)


def _show_parts(funders: list[Funder], plan: list[Instalment]) -> list[dict[str, Any]]:
    return [
        {
            "funder": parts.funder,
            "share": str(funder.share.normalize()),
            "principal_fen": sum(parts.principal_fen),
            "interest_fen": sum(parts.interest_fen),
            "instalments": [
                {"period": line.period, "principal_fen": principal_fen, "interest_fen": interest_fen}
                for line, principal_fen, interest_fen in zip(
                    plan, parts.principal_fen, parts.interest_fen, strict=True
                )
            ],
        }
        for funder, parts in zip(funders, split_plan(plan, funders), strict=True)
    ]


def _show_payout(row: tuple[Any, ...]) -> dict[str, Any]:
    state, channel, amount_fen, note, void_reason = row
    plain = {"state": state, "channel": channel, "amount_fen": amount_fen, "note": note}
    return plain | {"voided": void_reason is not None}
