"""Settle a partner's business day in one cell, once; read its lines from the ledger and from loans' rows."""

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

from core_app.commands import (
    Answer,
    Claim,
    Done,
    finish_command,
    make_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.errors import refuse_conflict
from core_app.funding.settlement import Line, LoanDay, digest_lines, expect_line, sum_lines
from core_app.funding.shares import Paid, Share
from core_app.ledger.posting import Account
from core_app.outbox import Told

# A draw's transaction bears the loan's id, a void's the key of its command.
_LINES = """
select e.loan_id, %(day)s + min(f.settle_in_days),
       coalesce(sum(e.amount_fen) filter (where e.account = %(held)s and (e.transaction_id = e.loan_id
           or v.loan_id is not null)), 0)::bigint,
       -coalesce(sum(e.amount_fen) filter (where e.account = %(held)s and e.transaction_id <> e.loan_id
           and v.loan_id is null), 0)::bigint,
       -coalesce(sum(e.amount_fen) filter (where e.account = %(interest)s), 0)::bigint,
       -coalesce(sum(e.amount_fen) filter (where e.account = %(penalty)s), 0)::bigint
from core.entries e join core.loan_funders f on f.loan_id = e.loan_id and f.funder = e.funder
     left join core.draw_voids v on v.loan_id = e.loan_id and v.idempotency_key = e.transaction_id
where e.funder = %(funder)s and e.funder <> 'own' and e.booked_on = %(day)s
group by e.loan_id order by e.loan_id
"""

# By the business rows alone: no ledger line is read.
_LOAN_DAYS = """
with paid as (
    select loan_id, bool_or(booked_on = %(day)s) as today,
           array[coalesce(sum(penalty_fen) filter (where booked_on < %(day)s), 0),
                 coalesce(sum(interest_fen) filter (where booked_on < %(day)s), 0),
                 coalesce(sum(principal_fen) filter (where booked_on < %(day)s), 0)]::bigint[] as before,
           array[sum(penalty_fen), sum(interest_fen), sum(principal_fen)]::bigint[] as after
    from (
        select loan_id, booked_on, penalty_fen, interest_fen, principal_fen from core.repayments
        union all
        select r.loan_id, c.corrected_on, c.penalty_fen, c.interest_fen, c.principal_fen
        from core.corrections c join core.repayments r using (repayment_id)
    ) as moved
    where booked_on <= %(day)s group by loan_id
)
select l.loan_id, %(day)s + f.settle_in_days, s.funders, s.shares,
       coalesce(p.before, '{0,0,0}'), coalesce(p.after, '{0,0,0}'),
       f.principal_fen * ((l.drawn_on = %(day)s)::int - coalesce((v.voided_on = %(day)s)::int, 0))
from core.loan_funders f join core.loans l using (loan_id)
     left join paid p using (loan_id) left join core.draw_voids v using (loan_id),
     lateral (select array_agg(funder order by place), array_agg(share order by place)
              from core.loan_funders o where o.loan_id = l.loan_id) as s (funders, shares)
where f.funder = %(funder)s and (p.today or l.drawn_on = %(day)s or v.voided_on = %(day)s)
"""

# What borrowers repaid may be lent again from now on: once a day, so that no repayment touches this row.
_INSERT = """
with freed as (
    update core.funder_quotas set used_fen = used_fen - %(principal_fen)s where funder = %(funder)s
)
insert into core.settlements (funder, on_date, lines, drawn_fen, principal_fen, interest_fen, penalty_fen,
    lines_sm3, idempotency_key)
values (%(funder)s, %(day)s, %(lines)s, %(drawn_fen)s, %(principal_fen)s, %(interest_fen)s, %(penalty_fen)s,
    %(lines_sm3)s, %(key)s)
"""

_SELECT_SETTLED = "select lines_sm3 from core.settlements where funder = %(funder)s and on_date = %(day)s"


@dataclass(frozen=True, slots=True)
class CellDay:
    """A partner's day in one cell: by the ledger, by the loans' rows, and what was settled, if it was."""

    ledger: tuple[Line, ...]
    business: tuple[Line, ...]
    settled_sm3: bytes | None


async def settle_cell(core: LendingCore, cell: str, funder: str, day: dt.date) -> Done:
    """Settle a day that is over, once: keep its totals and give back the quota that was repaid.

    Repeated, it answers as before. Refused (409) while the business day is not over.
    """
    key = f"settle-{funder}-{day:%Y%m%d}"
    command = make_command(core, key, "settlement", {"funder": funder, "day": day.isoformat()})

    async def work(connection: Connection, claim: Claim) -> Answer:
        dates = await connection.execute(
            "select coalesce(on_date, %s::date) from core.business_date", [command.today]
        )
        rows = await connection.execute(_LINES, _values(funder, day))
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        date = await dates.fetchone()
        if date is None or date[0] <= day:
            raise refuse_conflict("day", f"{day}, which is not over", "a business day before today's")
        lines = [Line(*row) for row in await rows.fetchall()]
        totals = asdict(sum_lines(lines))
        sm3 = digest_lines(lines)
        written = totals | {"funder": funder, "day": day, "lines_sm3": sm3, "key": command.key}
        await connection.execute(_INSERT, written)
        body = {"funder": funder, "day": day.isoformat(), **totals, "lines_sm3": sm3.hex()}
        told = Told("funder.settled", funder, body)
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, cell, command, work)


async def read_cell_day(core: LendingCore, cell: str, funder: str, day: dt.date) -> CellDay:
    """Return a partner's day in one cell; of a day that is over, whose rows do not change any more."""

    async def work(connection: Connection, _: int) -> CellDay:
        values = _values(funder, day)
        lines = await (await connection.execute(_LINES, values)).fetchall()
        loans = await (await connection.execute(_LOAN_DAYS, values)).fetchall()
        settled = await (await connection.execute(_SELECT_SETTLED, values)).fetchone()
        business = (expect_line(_read_loan_day(row), funder) for row in loans)
        return CellDay(
            tuple(Line(*row) for row in lines),
            tuple(sorted(business)),
            None if settled is None else bytes(settled[0]),
        )

    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value


def _values(funder: str, day: dt.date) -> dict[str, Any]:
    return {
        "funder": funder,
        "day": day,
        "held": str(Account.HELD_FOR_FUNDERS),
        "interest": str(Account.INTEREST_OWED_TO_FUNDERS),
        "penalty": str(Account.PENALTY_OWED_TO_FUNDERS),
    }


def _read_loan_day(row: tuple[Any, ...]) -> LoanDay:
    loan_id, due, funders, shares, before, after, drawn_fen = row
    by_place = tuple(Share(*pair) for pair in zip(funders, shares, strict=True))
    return LoanDay(loan_id, due, by_place, Paid(*before), Paid(*after), drawn_fen)
